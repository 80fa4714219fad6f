"""Learning on the chip: a last layer that learns classes from single samples, by integer and local rules."""

from spica.learning.binarization import binarize
from spica.learning.learner import Learner, learn
from spica.learning.propose import elbow, propose_weights

__all__ = ["Learner", "binarize", "elbow", "learn", "propose_weights"]
