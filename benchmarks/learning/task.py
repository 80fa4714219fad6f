"""A few-shot task: what the features have seen, and what they have not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

import spica
from spica.learning import Learner, propose_weights
from spica.learning.learner import features_of

SHOTS = (1, 5, 20)


@dataclass
class Task:
    """Samples of old classes (numbers below ``known``) and of new ones, and a network with binary features.

    Attributes:
        extractor: an integer network whose features were made for the old classes.
        train, test: the features of all samples, 0 or 1.
        proposed: connections that are proposed for a neuron.
    """

    extractor: spica.Network
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    known: int
    train: np.ndarray = field(init=False)
    test: np.ndarray = field(init=False)
    proposed: int = field(init=False)

    def __post_init__(self) -> None:
        probe = spica.learn(self.extractor, 1, weights_per_neuron=1)
        self.train, self.test = probe.features(self.train_x), probe.features(self.test_x)
        layers, source = features_of(self.extractor)
        self.proposed = propose_weights(spica.Network(layers, (source,)), self.train_x[self.old][:1000])

    @property
    def classes(self) -> int:
        return int(self.train_y.max()) + 1

    @property
    def old(self) -> np.ndarray:
        return self.train_y < self.known

    def learner(self, connections: float = 1.0, **options: Any) -> Learner:
        """A learner that knows the old classes; ``connections`` is a factor on what is proposed."""
        made = spica.learn(self.extractor, self.known, weights_per_neuron=round(self.proposed * connections), **options)
        return made.fit(self.train_x[self.old], self.train_y[self.old])

    def few(self, shots: int, seed: int) -> np.ndarray:
        """Indices of ``shots`` training samples of each new class, in random order."""
        random = np.random.default_rng(seed)
        chosen = [
            random.choice(np.flatnonzero(self.train_y == c), shots, replace=False)
            for c in range(self.known, self.classes)
        ]
        return random.permutation(np.concatenate(chosen))

    def scores(self, predicted: np.ndarray) -> dict[str, float]:
        right, old = predicted == self.test_y, self.test_y < self.known
        return {"new": float(right[~old].mean()), "old": float(right[old].mean())}
