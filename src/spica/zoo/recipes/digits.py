"""Training the classifier of handwritten digits, in well under a minute."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.data import Digits
from spica.zoo.builders.digits import build_digit_classifier
from spica.zoo.recipes.training import train_classifier

LEARNING_RATE = 4e-3
MAX_SHIFT = 2
"""Pixels by which images are shifted at most, each way."""


def train_digit_classifier(digits: Digits, epochs: int = 12, seed: int = 0, show: bool | None = None) -> Any:
    """Train the classifier on ``digits.train_x``, never on the test split.

    Args:
        digits: the data.
        epochs: passes over the training split, each with the images shifted anew by up to two pixels.
        seed: of the weights, the order and the shifts.
        show: whether to show a progress bar; by default only in a terminal.

    Returns:
        The trained ``keras.Model``.
    """
    options: dict[str, Any] = {"rate": LEARNING_RATE, "warm_up": True, "augment": shifted}
    x, y = digits.train_x, digits.train_y
    return train_classifier(build_digit_classifier, x, y, epochs=epochs, seed=seed, show=show, **options)


def shifted(x: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Return each image (N, H, W, C) moved by a random whole number of pixels both ways, zeros coming in."""
    padded = np.pad(x, ((0, 0), (MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT), (0, 0)))
    down, right = random.integers(0, 2 * MAX_SHIFT + 1, (2, len(x), 1, 1))
    rows, columns = np.arange(x.shape[1])[:, None], np.arange(x.shape[2])
    return padded[np.arange(len(x))[:, None, None], down + rows, right + columns]
