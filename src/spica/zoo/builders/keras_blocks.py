"""Layers that several Keras models have."""

from __future__ import annotations

from typing import Any

from spica.util.keras_backend import load_keras

MOMENTUM = 0.9
"""Momentum of batch normalisation; the usual 0.99 needs more steps than a short training has."""


def normalised_relu() -> list[Any]:
    """Return a batch normalisation and a rectifier, as new Keras layers."""
    layers = load_keras().layers
    return [layers.BatchNormalization(momentum=MOMENTUM), layers.ReLU()]
