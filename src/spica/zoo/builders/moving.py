"""A temporal network in Keras that tells digits by the events that they cause when they move.

Every layer is one that the second generation of the hardware has: convolutions on each frame, one that looks back at
five frames, and a fully connected layer that answers at every frame. None before the last has a bias or a
normalisation, which would be one: where nothing moves, nothing fires.
"""

from __future__ import annotations

from typing import Any

from spica.util.keras_backend import load_keras

FRAMES_BACK = 5
EVENTS = 0.05
"""About the share of pixels that have an event, for weights that start large enough."""


def build_moving_digit_classifier() -> Any:
    """Build an untrained ``keras.Model`` that reads clips of events (T, 28, 28, 2) and gives logits for every frame."""
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
