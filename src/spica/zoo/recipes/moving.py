"""A temporal network that tells digits by the events that they cause when they move, and the recipe that trains it.

Every layer is one that the second generation of the hardware has: convolutions on each frame, one that looks back at
five frames, and a fully connected layer that answers at every frame. None before the last has a bias or a
normalisation, which would be one: where nothing moves, nothing fires.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from spica.data import Digits, seen_moving
from spica.errors import SpicaError
from spica.util.keras_backend import load_keras
from spica.util.progress import progress

FRAMES_BACK = 5
TRAINED_CLIPS = 4000
BATCH = 64
LEARNING_RATE = 3e-3
EVENTS = 0.05
"""About the share of pixels that have an event, for weights that start large enough."""


def build_moving_digit_classifier() -> Any:
    """An untrained ``keras.Model`` that reads clips of events ``(T, 28, 28, 2)`` and gives logits for every frame."""
    keras = load_keras()
    from spica.keras import TemporalConv

    layers = keras.layers

    def each_frame(filters: int, name: str, share: float = 1.0) -> Any:
        start = keras.initializers.VarianceScaling(2 / share)
        convolution = layers.Conv2D(filters, 3, 2, "same", use_bias=False, kernel_initializer=start)
        return layers.TimeDistributed(convolution, name=name)

    return keras.Sequential(
        [
            keras.Input((11, 28, 28, 2)),
            each_frame(16, "convolution_1", EVENTS),
            layers.ReLU(),
            each_frame(32, "convolution_2"),
            layers.ReLU(),
            TemporalConv(32, FRAMES_BACK, use_bias=False, name="temporal"),
            layers.ReLU(),
            each_frame(64, "convolution_3"),
            layers.ReLU(),
            layers.TimeDistributed(layers.Flatten(), name="flatten"),
            layers.Dropout(0.3),
            layers.Dense(10, name="classifier"),
        ],
        name="moving_digits",
    )


def train_moving_digit_classifier(digits: Digits, epochs: int = 4, seed: int = 0, show: bool | None = None) -> Any:
    """Train the classifier on half of ``digits.train_x``, moved; the test split is never looked at.

    Args:
        digits: the data.
        epochs: passes over the clips.
        seed: of the weights and the order.
        show: whether to show a progress bar; by default only in a terminal.

    Returns:
        The trained ``keras.Model``.
    """
    if epochs < 1:
        raise SpicaError(f"epochs is {epochs}, but must be at least 1")
    keras = load_keras()
    keras.utils.set_random_seed(seed)
    model = build_moving_digit_classifier()
    clips = seen_moving(digits.train_x[:TRAINED_CLIPS])
    labels = np.repeat(digits.train_y[:TRAINED_CLIPS, None], clips.shape[1], axis=1)
    rate = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, epochs * -(-len(clips) // BATCH))
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for _ in progress(range(epochs), f"training with Keras on {keras.backend.backend()}", show):
        model.fit(clips, labels, batch_size=BATCH, verbose=0)
    return model
