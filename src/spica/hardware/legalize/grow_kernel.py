"""Grow a kernel with zeros: even kernels become odd, and PyTorch's padding becomes "same"."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spica.hardware.checking import check
from spica.hardware.device.schema import Device
from spica.hardware.legalize.base import legalization
from spica.layers import Conv2D, DepthwiseConv2D, weighted
from spica.network import Network
from spica.network.edit import replace_layer
from spica.passes.base import Result
from spica.semantics import primitives

Windowed = Conv2D | DepthwiseConv2D


@legalization(Conv2D, DepthwiseConv2D)
def grow_kernel(net: Network, layer: Windowed, device: Device) -> Result:
    """Add rows and columns of zeros to a kernel, by the first of three sizes that breaks fewer rules."""
    height, width = layer.kernel.shape[:2]
    odd = (height + 1 - height % 2, width + 1 - width % 2)
    broken = _broken_rules(net, layer.name, device)
    for size in dict.fromkeys([odd, (height + 1, width + 1), (height + 2, width + 2)]):
        grown = None if size == (height, width) else _grown(net, layer, size)
        if grown is not None:
            changed = replace_layer(net, layer.name, grown)
            if _broken_rules(changed, layer.name, device) < broken:
                note = f"{layer.name}: kernel {height}x{width} -> {size[0]}x{size[1]}, filled with zeros"
                return Result(changed, True, note)
    return Result(net)


def _broken_rules(net: Network, name: str, device: Device) -> int:
    return sum(finding.layer == name for finding in check(net, device))


def _grown(net: Network, layer: Windowed, size: tuple[int, int]) -> Windowed | None:
    """Return the layer with a larger kernel and "same" padding, or None where it would compute something else."""
    (x,) = net.input_types(layer)
    old = layer.kernel.shape[:2]
    padding = layer.padding_for(*x.shape[:2])
    same = tuple(primitives.same_padding(s, k, t) for s, k, t in zip(x.shape, size, layer.strides))
    before = [new[0] - had[0] for new, had in zip(same, padding)]
    zeros = [(b, new - k - b) for b, new, k in zip(before, size, old)]
    if min(min(pair) for pair in zeros) < 0:
        return None
    kernel = np.pad(layer.kernel, (*zeros, *[(0, 0)] * (layer.kernel.ndim - 2)))
    shapes = [
        weighted.convolved_shape(layer, x, window, layer.strides, pad)
        for window, pad in ((size, "same"), (old, layer.padding))
    ]
    return replace(layer, kernel=kernel, padding="same") if shapes[0] == shapes[1] else None
