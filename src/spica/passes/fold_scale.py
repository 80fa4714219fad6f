"""Fold batch normalisation and input rescaling into the weights of a neighbour.

A ``Scale`` behind a layer multiplies its filters and changes its bias. One in front of a layer multiplies what the
layer's weights see; its offset goes to the bias, and, where the layer reads the network's input, to what the border is
padded with. Elsewhere a border cannot hold the offset, as activations may have no integer for it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spica.layers import (
    DEPTHWISE,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    MaxPool,
    Scale,
    SeparableConv2D,
    Temporal,
    WeightedLayer,
)
from spica.network import Layer, Network
from spica.passes.merge import merge_pairs


def fold_scale(net: Network) -> Network:
    inputs = {layer.name for layer in net.inputs}

    def merge(before: Layer, after: Layer) -> Layer | None:
        if isinstance(before, Scale) and isinstance(after, Scale):
            offset = before.offset * after.scale + after.offset
            return Scale(name=after.name, inputs=before.inputs, scale=before.scale * after.scale, offset=offset)
        if isinstance(before, WeightedLayer) and isinstance(after, Scale):
            return _fold_behind(before, after)
        if isinstance(before, Scale) and isinstance(after, WeightedLayer):
            return _fold_in_front(before, after, before.inputs[0] in inputs)
        return None

    return merge_pairs(net, merge)


def _fold_behind(layer: WeightedLayer, scale: Scale) -> Layer | None:
    if layer.activation is not None:
        return None
    if isinstance(layer.pool, MaxPool) and (scale.scale < 0).any():
        return None  # a negative factor would turn the maximum into a minimum
    bias = np.zeros(len(scale.scale), np.float32) if layer.bias is None else layer.bias
    # The last axis of every kernel is the filter, so one multiplication serves all kinds.
    return replace(layer, kernel=layer.kernel * scale.scale, bias=bias * scale.scale + scale.offset)  # type: ignore


def _fold_in_front(scale: Scale, layer: WeightedLayer, reads_input: bool) -> Layer | None:
    factor, offset = scale.scale, scale.offset
    if isinstance(layer, Temporal):
        if offset.any():
            return None  # the frames before the first are zeros behind the Scale
        depthwise = isinstance(layer, DEPTHWISE)
        return _shifted(layer, scale, offset, kernel=layer.kernel * (factor if depthwise else factor[:, None]))
    if isinstance(layer, Dense):
        added, kernel = offset @ layer.kernel, layer.kernel * factor[:, None]
        return _shifted(layer, scale, added, kernel=kernel)
    borders = offset.any() and layer.padding != "valid"  # type: ignore[attr-defined]
    padded = borders and (not reads_input or (factor == 0).any() or getattr(layer, "padding_value", None) is not None)
    if isinstance(layer, Conv2D) and not padded:
        added = np.einsum("c,hwcf->f", offset, layer.kernel)
        # The float network padded zeros behind the Scale; what becomes zero there is -offset / factor here.
        fill = (-offset / factor).astype(np.float32) if borders else layer.padding_value
        return _shifted(layer, scale, added, kernel=layer.kernel * factor[:, None], padding_value=fill)
    if borders:
        return None
    if isinstance(layer, DepthwiseConv2D):
        return _shifted(layer, scale, layer.kernel.sum(axis=(0, 1)) * offset, kernel=layer.kernel * factor)
    if isinstance(layer, SeparableConv2D):
        added = (layer.depthwise_kernel.sum(axis=(0, 1)) * offset) @ layer.kernel
        return _shifted(layer, scale, added, depthwise_kernel=layer.depthwise_kernel * factor)
    return None


def _shifted(layer: WeightedLayer, scale: Scale, added: np.ndarray, **changes) -> Layer:
    bias = layer.bias
    if scale.offset.any():
        bias = (added if bias is None else bias + added).astype(np.float32)
    return replace(layer, inputs=scale.inputs, bias=bias, **changes)
