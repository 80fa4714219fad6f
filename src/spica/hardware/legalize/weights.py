"""Legalize how layers hold weights: kernels grow, weights narrow, dense layers over pixels become convolutions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from spica.hardware.checking import check
from spica.hardware.device.schema import Device
from spica.hardware.legalize.base import Changed, legalization
from spica.hardware.spec import OpType, specs
from spica.layers import Conv2D, Dense, DepthwiseConv2D, WeightedLayer, weighted
from spica.network import Network
from spica.network.edit import replace_layer
from spica.semantics import primitives
from spica.semantics.primitives import Pair

Convolution = Conv2D | DepthwiseConv2D


@legalization(Conv2D, DepthwiseConv2D)
def grow_kernel(net: Network, layer: Convolution, device: Device) -> Changed:
    """Add rows and columns of zeros to a kernel, by the first of three sizes that breaks fewer rules.

    Even kernels become odd, and PyTorch's padding becomes "same".
    """
    height, width = layer.window
    odd = (height + 1 - height % 2, width + 1 - width % 2)
    broken = _broken_rules(net, layer.name, device)
    for size in dict.fromkeys([odd, (height + 1, width + 1), (height + 2, width + 2)]):
        if size != (height, width) and (grown := _grown(net, layer, size)) is not None:
            changed = replace_layer(net, layer.name, grown)
            if _broken_rules(changed, layer.name, device) < broken:
                return changed, f"{layer.name}: kernel {height}x{width} -> {size[0]}x{size[1]}, filled with zeros"
    return None


def _broken_rules(net: Network, name: str, device: Device) -> int:
    return sum(finding.layer == name for finding in check(net, device))


def _grown(net: Network, layer: Convolution, size: Pair) -> Convolution | None:
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


@legalization(Dense)
def project_by_convolution(net: Network, layer: Dense, device: Device) -> Changed:
    """Replace a dense layer over the pixels of an image by a 1x1 convolution."""
    spec = specs(net)[layer.name]
    if spec.op_type is not OpType.PROJECTION or len(spec.inputs[0].shape) != 3:
        return None
    convolution = Conv2D(**vars(layer) | {"kernel": layer.kernel[None, None]})
    return replace_layer(net, layer.name, convolution), f"{layer.name}: dense layer over pixels -> 1x1 convolution"
