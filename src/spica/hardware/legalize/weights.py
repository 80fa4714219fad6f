"""Legalize how layers hold weights: kernels grow, weights narrow, strides go behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from spica.hardware.checking import check
from spica.hardware.device.schema import Device
from spica.hardware.legalize.base import Changed, legalization
from spica.hardware.legalize.pooling import selecting
from spica.layers import Conv2D, DepthwiseConv2D, WeightedLayer, weighted
from spica.layers.transposed import Transposed
from spica.network import Network
from spica.network.edit import replace_layer
from spica.network.layer import infer
from spica.semantics import primitives
from spica.semantics.primitives import Pair

Convolution = Conv2D | DepthwiseConv2D


@legalization(Conv2D, DepthwiseConv2D)
def grow_kernel(net: Network, layer: Convolution, device: Device) -> Changed:
    """Add rows and columns of zeros to a kernel, by the first of four sizes that breaks fewer rules.

    Even kernels become odd, those of signals square, and PyTorch's padding becomes "same".
    """
    height, width = layer.window
    odd = (height + 1 - height % 2, width + 1 - width % 2)
    broken = _broken_rules(net, layer.name, device)
    square = (max(odd), max(odd))
    for size in dict.fromkeys([odd, square, (height + 1, width + 1), (height + 2, width + 2)]):
        if size != (height, width) and (grown := grown_kernel(net, layer, size)) is not None:
            changed = replace_layer(net, layer.name, grown)
            if _broken_rules(changed, layer.name, device) < broken:
                return changed, f"{layer.name}: kernel {height}x{width} -> {size[0]}x{size[1]}, filled with zeros"
    return None


def _broken_rules(net: Network, name: str, device: Device) -> int:
    return sum(finding.layer == name for finding in check(net, device))


def grown_kernel(net: Network, layer: Convolution, size: Pair) -> Convolution | None:
    """Return the layer with a larger kernel and "same" padding, or None where it would compute something else."""
    (x,) = net.input_types(layer)
    padding = layer.padding_for(*x.shape[:2])
    zeros = []
    for length, new, old, stride, (before, _) in zip(x.shape, size, layer.window, layer.strides, padding):
        more = primitives.same_padding(length, new, stride)[0] - before
        zeros.append((more, new - old - more))
    if min(min(pair) for pair in zeros) < 0:
        return None
    kernel: Any = np.pad(layer.kernel, (*zeros, *[(0, 0)] * (layer.kernel.ndim - 2)))
    grown = replace(layer, kernel=kernel, padding="same")
    old_shape, new_shape = (weighted.convolved_shape(r, x, r.window, r.strides, r.padding) for r in (layer, grown))
    return grown if new_shape == old_shape else None


@legalization(WeightedLayer)
def narrow_weights(net: Network, layer: WeightedLayer, device: Device) -> Changed:
    """Hold weights in the fewest bits that hold all of them and that the device allows."""
    kernels = [getattr(layer, name) for name in ("kernel", "depthwise_kernel") if hasattr(layer, name)]
    for bits in (1, 2, 4):
        low, high = weighted.WEIGHT_RANGE[bits]
        fits = all(low <= k.min() and k.max() <= high and (bits > 1 or (k != 0).all()) for k in kernels)
        if bits < (layer.weight_bits or 0) and fits:
            changed = replace_layer(net, layer.name, replace(layer, weight_bits=bits))
            if not any("weight bits" in f.reason for f in check(changed, device) if f.layer == layer.name):
                return changed, f"{layer.name}: weights held in {bits} bits instead of {layer.weight_bits}; all fit"
    return None


@legalization(Conv2D, DepthwiseConv2D)
def stride_behind(net: Network, layer: Convolution, device: Device) -> Changed:
    """Let a kernel that may not move by two pixels move by one; a 3x3 identity behind it takes every other pixel."""
    (x,) = net.input_types(layer)
    size = (x.shape[0], x.shape[1])
    if layer.strides != (2, 2) or layer.pool is not None or min(layer.window) < 5 or layer.requantize is None:
        return None
    same = tuple(primitives.same_padding(n, k, 2) for n, k in zip(size, layer.window))
    if layer.padding_for(*size) != same or any(k % 2 == 0 for k in layer.window):
        return None
    name = f"{layer.name}/every"
    first = replace(layer, name=name, strides=(1, 1), padding="same")
    made = infer(first, [x])
    identity = selecting(layer.name, name, made, device, np.arange(made.channels))
    if identity is None or name in net.types:
        return None
    kernel: Any = np.pad(identity.kernel, ((1, 1), (1, 1), (0, 0), (0, 0)))
    behind = replace(identity, kernel=kernel, strides=(2, 2), padding="same")
    return replace_layer(net, layer.name, first, behind), f"{layer.name}: moves by one, an identity behind it by two"


@legalization(Transposed)
def grow_transposed(net: Network, layer: Transposed, device: Device) -> Changed:
    """Put a row and a column of zeros around the kernel of a transposed convolution, and crop what they add."""
    (top, bottom), (left, right) = layer.crop
    if any(k < stride for k, stride in zip(layer.kernel.shape, layer.strides)):
        return None
    kernel: Any = np.pad(layer.kernel, ((1, 1), (1, 1), *[(0, 0)] * (layer.kernel.ndim - 2)))
    grown = replace(layer, kernel=kernel, padding=((top + 1, bottom + 1), (left + 1, right + 1)))
    if grown.crop == replace(grown, padding="same").crop:
        grown = replace(grown, padding="same")
    height, width = layer.kernel.shape[:2]
    changed = replace_layer(net, layer.name, grown)
    return changed, f"{layer.name}: kernel {height}x{width} -> {height + 2}x{width + 2}, filled with zeros"
