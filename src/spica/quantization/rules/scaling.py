"""Factors on tensors: which layers make them, which take them back, and what weights read."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from spica.layers import Conv2D, Flatten, MadNormalization, MaxPool2D, WeightedLayer
from spica.layers.weighted import kernel_axes
from spica.network import Layer, Network
from spica.network.rules import applies, not_applicable, refuse
from spica.quantization.rules.listing import WITHOUT_WEIGHTS


@singledispatch
def scale_output(layer: Layer, gain: NDArray[np.float32]) -> WeightedLayer:
    """Return a float layer that gives ``gain`` times as much; positive, a scalar or one a filter."""
    refuse(scale_output, layer)


@scale_output.register
def _(layer: WeightedLayer, gain: NDArray[np.float32]) -> WeightedLayer:
    bias = None if layer.bias is None else (layer.bias * gain).astype(np.float32)
    activation = layer.activation
    if activation is not None and activation.max_value is not None:
        activation = replace(activation, max_value=activation.max_value * gain)
    return replace(layer, kernel=layer.kernel * gain, bias=bias, activation=activation)  # type: ignore[call-arg, attr-defined]


@singledispatch
def scale_input(layer: Layer, factor: NDArray[np.float32]) -> WeightedLayer:
    """Return a float layer that gives for ``x`` what it gave for ``factor * x``; a scalar or one a channel."""
    refuse(scale_input, layer)


@scale_input.register
def _(layer: WeightedLayer, factor: NDArray[np.float32]) -> WeightedLayer:
    field, axis = next(iter(kernel_axes(layer).items()))
    along = factor[:, None] if factor.ndim and axis == -2 else factor
    return replace(layer, **{field: getattr(layer, field) * along})


@singledispatch
def read_weights(layer: Layer) -> NDArray[np.float32]:
    """Return the largest magnitude of the weights on each channel that a layer reads."""
    refuse(read_weights, layer)


@read_weights.register
def _(layer: WeightedLayer) -> NDArray[np.float32]:
    field, axis = next(iter(kernel_axes(layer).items()))
    kernel = np.abs(getattr(layer, field))
    return np.moveaxis(kernel, axis, -1).reshape(-1, kernel.shape[axis]).max(axis=0)


for transform in (scale_output, scale_input, read_weights):
    not_applicable(transform, "has no weights to take up a factor", *WITHOUT_WEIGHTS)
    not_applicable(transform, "is made of a layer normalisation when that is quantised", MadNormalization)


def scaled_readers(net: Network, name: str, per_channel: bool) -> list[str] | None:
    """Return the layers that can take back a factor on a tensor, all that read it, or ``None`` if others do.

    They read it directly or through layers that only move values. A factor for each channel is lost where channels
    move (``Flatten``); one for the whole tensor is not.
    """
    if name in net.outputs:
        return None
    found: list[str] = []
    for reader in net.consumers[name]:
        behind: list[str] | None = [reader.name]
        if passes_factor(reader, per_channel):
            behind = scaled_readers(net, reader.name, per_channel)
        elif not takes_factor(reader):
            return None
        if behind is None:
            return None
        found += behind
    return found


@singledispatch
def takes_factor(reader: Layer) -> bool:
    """Return whether the weights of a layer can take back a factor on its input."""
    return applies(scale_input, reader)


@takes_factor.register
def _(reader: Conv2D) -> bool:
    return reader.padding_value is None


@singledispatch
def passes_factor(reader: Layer, per_channel: bool) -> bool:
    """Return whether a factor on the input of a layer, positive, is on its output too."""
    return False


@passes_factor.register
def _(reader: MaxPool2D, per_channel: bool) -> bool:
    return True


@passes_factor.register
def _(reader: Flatten, per_channel: bool) -> bool:
    return not per_channel
