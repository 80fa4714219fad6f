"""The same network at another frame rate."""

from __future__ import annotations

from typing import Any

import keras

from spica.errors import SpicaError
from spica.temporal.layers import _Temporal


def resample(model: Any, rate: float) -> Any:
    """A model whose kernels over time are sums of polynomials, for clips of ``rate`` times as many frames a second.

    Args:
        model: a ``keras.Model`` whose temporal layers all have a ``basis``.
        rate: 2 for twice the rate; each layer's number of frames is rounded, to at least one.

    Returns:
        A model of the same weights; its clips may be of any length.

    Raises:
        SpicaError: for a temporal layer of plain weights, which has no meaning at another rate.
    """
    if not rate > 0:
        raise SpicaError(f"rate is {rate!r}, but must be above 0")

    def at_rate(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, _Temporal):
            if layer.basis is None:
                raise SpicaError(f"{layer.name}: its taps are plain weights; give it a basis to resample it")
            config["frames"] = max(round(layer.frames * rate), 1)
        if isinstance(layer, keras.layers.InputLayer):
            shape = config["batch_shape"]
            config["batch_shape"] = (shape[0], None, *shape[2:])
        return type(layer).from_config(config)

    made = keras.models.clone_model(model, clone_function=at_rate, input_tensors=_any_length(model))
    made.set_weights(model.get_weights())
    return made


def _any_length(model: Any) -> Any:
    (source,) = model.inputs
    return keras.Input((None, *source.shape[2:]), name=source.name, dtype=source.dtype)
