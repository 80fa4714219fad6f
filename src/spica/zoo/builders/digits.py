"""A small classifier of handwritten digits in Keras.

Every layer is one that the first generation of the hardware has: an input convolution, convolutions, a separable
convolution and a fully connected layer.
"""

from __future__ import annotations

from typing import Any

from spica.util.keras_backend import load_keras
from spica.zoo.builders.keras_blocks import normalised_relu


def build_digit_classifier() -> Any:
    """Build an untrained ``keras.Model`` that reads raw pixels, 0 to 255, of shape (28, 28, 1) and gives 10 logits."""
    keras = load_keras()
    layers = keras.layers
    plain = {"padding": "same", "use_bias": False}
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(16, 5, strides=2, name="input_convolution", **plain),
            *normalised_relu(),
            layers.Conv2D(32, 3, name="convolution_1", **plain),
            *normalised_relu(),
            layers.Conv2D(64, 3, strides=2, name="convolution_2", **plain),
            *normalised_relu(),
            layers.SeparableConv2D(64, 3, name="separable", **plain),
            *normalised_relu(),
            layers.Flatten(name="flatten"),
            layers.Dropout(0.3),
            layers.Dense(10, name="classifier"),
        ],
        name="digits",
    )
