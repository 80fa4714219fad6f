"""Training the temporal network that tells digits by the events that they cause when they move."""

from __future__ import annotations

from typing import Any

import numpy as np

from spica.data import Digits, seen_moving
from spica.zoo.builders.moving import build_moving_digit_classifier
from spica.zoo.recipes.training import train_classifier

TRAINED_CLIPS = 4000
LEARNING_RATE = 3e-3


def train_moving_digit_classifier(digits: Digits, epochs: int = 4, seed: int = 0, show: bool | None = None) -> Any:
    """Train the classifier on half of ``digits.train_x``, moved; never on the test split.

    Args and result are those of ``train_digit_classifier``, but clips are not shifted.
    """
    clips = seen_moving(digits.train_x[:TRAINED_CLIPS])
    labels = np.repeat(digits.train_y[:TRAINED_CLIPS, None], clips.shape[1], axis=1)
    return train_classifier(
        build_moving_digit_classifier, clips, labels, epochs=epochs, seed=seed, rate=LEARNING_RATE, show=show
    )
