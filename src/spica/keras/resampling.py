"""The same network at another frame rate."""

from __future__ import annotations

from typing import Any

import keras
from spica.errors import SpicaError
from spica.keras.recurrent import DiagonalSSM
from spica.keras.temporal import _Temporal

IN_STEPS = _Temporal | DiagonalSSM | keras.layers.Conv1D | keras.layers.Conv3D | keras.layers.RNN
"""Layers that look back by a number of frames, whatever time that is."""


def resample(model: Any, rate: float) -> Any:
    """Return a model for clips of ``rate`` times as many frames a second, whose kernels are resampled polynomials.

    Args:
        model: a ``keras.Model`` whose layers over time all have a ``basis``.
        rate: 2 for twice the rate; each layer's number of frames is rounded, to at least one.

    Returns:
        A model of the same weights; its clips may be of any length.

    Raises:
        SpicaError: for any other layer over time, which has no meaning at another rate.
    """
    if not isinstance(model, keras.Model):
        raise SpicaError(f"expected a keras.Model, got {type(model).__name__}; resample before spica.from_keras")
    if not isinstance(rate, int | float) or not 0 < rate < float("inf"):
        raise SpicaError(f"rate is {rate!r}, but must be a number above 0")

    def at_rate(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, _Temporal) and layer.basis is not None:
            config["frames"] = max(round(layer.frames * rate), 1)
        elif isinstance(layer, IN_STEPS):
            raise SpicaError(f"{layer.name}: it counts in frames; use a temporal layer with a basis to resample it")
        if isinstance(layer, keras.layers.InputLayer):
            shape = config["batch_shape"]
            config["batch_shape"] = (shape[0], None, *shape[2:])
        return type(layer).from_config(config)

    made = keras.models.clone_model(model, clone_function=at_rate, input_tensors=_any_length(model), recursive=True)
    made.set_weights(model.get_weights())
    return made


def _any_length(model: Any) -> Any:
    (source,) = model.inputs
    return keras.Input((None, *source.shape[2:]), name=source.name, dtype=source.dtype)
