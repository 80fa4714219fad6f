"""A small classifier of handwritten digits, and the recipe that trains it in well under a minute.

Every layer is one that the first generation of the hardware has: an input convolution, convolutions, a separable
convolution and a fully connected layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.data import Digits
from spica.errors import SpicaError
from spica.util.keras_backend import load_keras
from spica.util.progress import progress

BATCH = 64
LEARNING_RATE = 4e-3
MOMENTUM = 0.9  # of batch normalisation; the usual 0.99 needs more steps than a short training has
MAX_SHIFT = 2


def build_digit_classifier() -> Any:
    """An untrained ``keras.Model`` that reads raw pixels, 0 to 255, of shape (28, 28, 1) and gives 10 logits."""
    keras = load_keras()
    layers = keras.layers

    def normalised(convolution: Any) -> list[Any]:
        return [convolution, layers.BatchNormalization(momentum=MOMENTUM), layers.ReLU()]

    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            *normalised(layers.Conv2D(16, 5, strides=2, padding="same", use_bias=False, name="input_convolution")),
            *normalised(layers.Conv2D(32, 3, padding="same", use_bias=False, name="convolution_1")),
            *normalised(layers.Conv2D(64, 3, strides=2, padding="same", use_bias=False, name="convolution_2")),
            *normalised(layers.SeparableConv2D(64, 3, padding="same", use_bias=False, name="separable")),
            layers.Flatten(name="flatten"),
            layers.Dropout(0.3),
            layers.Dense(10, name="classifier"),
        ],
        name="digits",
    )


def train_digit_classifier(digits: Digits, epochs: int = 12, seed: int = 0, show: bool | None = None) -> Any:
    """Train the classifier on ``digits.train_x``; the test split is never looked at.

    Args:
        digits: the data.
        epochs: passes over the training split, each with the images shifted anew by up to two pixels.
        seed: of the weights, the order and the shifts.
        show: whether to show a progress bar; by default only in a terminal.

    Returns:
        The trained ``keras.Model``.
    """
    if epochs < 1:
        raise SpicaError(f"epochs is {epochs}, but must be at least 1")
    keras = load_keras()
    keras.utils.set_random_seed(seed)
    model = build_digit_classifier()
    steps = epochs * -(-len(digits.train_x) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        LEARNING_RATE / 5, steps, warmup_target=LEARNING_RATE, warmup_steps=steps // 10
    )
    model.compile(keras.optimizers.Adam(schedule), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    random = np.random.default_rng(seed)
    for _ in progress(range(epochs), f"training with Keras on {keras.backend.backend()}", show):
        model.fit(shifted(digits.train_x, random), digits.train_y, batch_size=BATCH, verbose=0)
    return model


def shifted(x: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Each image moved by a random whole number of pixels both ways, zeros coming in."""
    padded = np.pad(x, ((0, 0), (MAX_SHIFT, MAX_SHIFT), (MAX_SHIFT, MAX_SHIFT), (0, 0)))
    down, right = random.integers(0, 2 * MAX_SHIFT + 1, (2, len(x), 1, 1))
    rows, columns = np.arange(x.shape[1])[:, None], np.arange(x.shape[2])
    return padded[np.arange(len(x))[:, None, None], down + rows, right + columns]
