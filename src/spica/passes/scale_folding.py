"""Fold batch normalisation and input rescaling into the weights of a neighbour.

A ``Scale`` behind a layer multiplies its filters and changes its bias. One in front of a layer multiplies what the
layer's weights see; its offset goes to the bias, and, where the layer reads the network's input, to what the border is
padded with. Elsewhere a border cannot hold the offset, as activations may have no integer for it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch

import numpy as np

from spica.layers import Conv2D, Dense, DepthwiseConv2D, MaxPool, Scale, SeparableConv2D, Temporal, WeightedLayer
from spica.layers.weighted import WindowedLayer
from spica.network import Layer, Network
from spica.passes.merge import merge_pass


@merge_pass
def fold_scale(net: Network, before: Layer, after: Layer) -> Layer | None:
    """Fold each ``Scale`` into the layer that it reads, or into the only one that reads it."""
    folded = fold_behind(before, after) if isinstance(after, Scale) else None
    if folded is None and isinstance(before, Scale):
        folded = fold_in_front(after, before, any(layer.name == before.inputs[0] for layer in net.inputs))
    return folded


@singledispatch
def fold_behind(layer: Layer, scale: Scale) -> Layer | None:
    """Return ``layer`` with the scale that follows it folded in, or None where that cannot be."""
    return None


@fold_behind.register(Scale)
def _(layer: Scale, scale: Scale) -> Layer | None:
    offset = layer.offset * scale.scale + scale.offset
    return Scale(name=scale.name, inputs=layer.inputs, scale=layer.scale * scale.scale, offset=offset)


@fold_behind.register(WeightedLayer)
def _(layer: WeightedLayer, scale: Scale) -> Layer | None:
    if layer.activation is not None:
        return None
    if isinstance(layer.pool, MaxPool) and (scale.scale < 0).any():
        return None  # a negative factor would turn the maximum into a minimum
    bias = np.zeros(len(scale.scale), np.float32) if layer.bias is None else layer.bias
    # The last axis of every kernel is the filter, so one multiplication serves all layers.
    return replace(layer, kernel=layer.kernel * scale.scale, bias=bias * scale.scale + scale.offset)  # type: ignore


@singledispatch
def fold_in_front(layer: Layer, scale: Scale, reads_input: bool) -> Layer | None:
    """Return ``layer``, the only reader of the scale, with that folded in, or None where that cannot be.

    ``reads_input`` says whether the scale reads the network's input, where a border may hold any value.
    """
    return None


@fold_in_front.register(Dense)
def _(layer: Dense, scale: Scale, reads_input: bool) -> Layer | None:
    return _with_input_of(scale, layer, scale.offset @ layer.kernel, kernel=layer.kernel * scale.scale[:, None])


@fold_in_front.register(Conv2D)
def _(layer: Conv2D, scale: Scale, reads_input: bool) -> Layer | None:
    factor, offset, fill = scale.scale, scale.offset, layer.padding_value
    if fill is not None and layer.padding != "valid":
        return None  # its border holds values of behind the Scale
    if _offset_meets_border(layer, scale):
        if not reads_input or (factor == 0).any():
            return None
        # The float network padded zeros behind the Scale; what becomes zero there is -offset / factor here.
        fill = (-offset / factor).astype(np.float32)
    added = np.einsum("c,hwcf->f", offset, layer.kernel)
    return _with_input_of(scale, layer, added, kernel=layer.kernel * factor[:, None], padding_value=fill)


@fold_in_front.register(DepthwiseConv2D)
def _(layer: DepthwiseConv2D, scale: Scale, reads_input: bool) -> Layer | None:
    if _offset_meets_border(layer, scale):
        return None
    added = layer.kernel.sum(axis=(0, 1)) * scale.offset
    return _with_input_of(scale, layer, added, kernel=layer.kernel * scale.scale)


@fold_in_front.register(SeparableConv2D)
def _(layer: SeparableConv2D, scale: Scale, reads_input: bool) -> Layer | None:
    if _offset_meets_border(layer, scale):
        return None
    added = (layer.depthwise_kernel.sum(axis=(0, 1)) * scale.offset) @ layer.kernel
    return _with_input_of(scale, layer, added, depthwise_kernel=layer.depthwise_kernel * scale.scale)


@fold_in_front.register(Temporal)
def _(layer: Temporal, scale: Scale, reads_input: bool) -> Layer | None:
    if scale.offset.any():
        return None  # the frames before the first are zeros behind the Scale
    factor = scale.scale.reshape(-1, *(1,) * (layer.kernel.ndim - 2))  # kernels are (T, C) or (T, C, F)
    return _with_input_of(scale, layer, scale.offset, kernel=layer.kernel * factor)


def _offset_meets_border(layer: WindowedLayer, scale: Scale) -> bool:
    return bool(scale.offset.any()) and layer.padding != "valid"


def _with_input_of(scale: Scale, layer: WeightedLayer, added: np.ndarray, **changes) -> Layer:
    """Return ``layer`` with changed fields, reading what ``scale`` reads, with ``added`` on its bias."""
    bias = layer.bias
    if scale.offset.any():
        bias = (added if bias is None else bias + added).astype(np.float32)
    return replace(layer, inputs=scale.inputs, bias=bias, **changes)
