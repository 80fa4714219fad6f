"""Legalize convolutions without padding: they run with it, and what that adds around their output nobody reads.

A "same" convolution gives what a "valid" one gives, and more around it. Layers behind it that pad nothing either read
a part of what they are given, the region: where it lies is followed through the network up to a dense layer, which gets
zero weights outside it, or to the output, which the host cuts. A layer that pads the region itself, or averages over
all, would read what is around it, so then nothing is changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from spica import layers
from spica.hardware.checking import check
from spica.hardware.device.schema import Device
from spica.hardware.legalize.base import Changed, legalization
from spica.layers import MaxPool, MaxPool2D
from spica.layers.weighted import WindowedLayer
from spica.network import Layer, Network
from spica.semantics import primitives
from spica.semantics.primitives import Pair

KEEPS_REGION = (layers.Activation, layers.LookUp, layers.Add, layers.Multiply, layers.Concatenate)
"""Layers whose outputs are where their inputs are."""


class ReadsBorder(Exception):
    """A layer reads what is around the region."""


@dataclass(frozen=True)
class Region:
    """Where an image of the network as it was lies in the one that there is now.

    Attributes:
        offset: row and column of its first pixel.
        size: rows and columns of the image as it was.
        held: rows and columns of the image that there is now.
    """

    offset: Pair
    size: Pair
    held: Pair

    @property
    def is_all(self) -> bool:
        """Return whether it is the whole image."""
        return self.size == self.held


@legalization(WindowedLayer)
def pad_unread(net: Network, layer: WindowedLayer, device: Device) -> Changed:
    """Give a convolution "same" padding whose results are not read, and follow it through the network."""
    padded = any("padding is" in finding.reason for finding in check(net, device) if finding.layer == layer.name)
    if not padded or not _pads_nothing(net, layer):
        return None
    for grow in (False, True):  # kernels as they are where that is enough, else with room to move in
        try:
            return _Follow(net, layer.name, grow).network(), f"{layer.name}: valid -> same; what it adds is not read"
        except ReadsBorder:
            continue
    return None


def _pads_nothing(net: Network, layer: WindowedLayer) -> bool:
    (x,) = net.input_types(layer)
    return layer.padding_for(*x.shape[:2]) == ((0, 0), (0, 0)) and getattr(layer, "padding_value", None) is None


class _Follow:
    """Follows the region of a layer's output through a network.

    Attributes:
        grow: whether kernels get rows and columns of zeros, so that regions begin where the image does.
        regions: of the images that have more around them.
    """

    def __init__(self, net: Network, start: str, grow: bool) -> None:
        self.net, self.start, self.grow = net, start, grow
        self.regions: dict[str, Region] = {}

    def network(self) -> Network:
        """Return the changed network."""
        made: list[Layer] = []
        for layer in self.net:
            reads = [self.regions[i] for i in layer.inputs if i in self.regions]
            if layer.name == self.start:
                height, width = self.net.input_types(layer)[0].shape[:2]
                reads = [Region((0, 0), (height, width), (height, width))]
            made += [layer] if not reads else self._changed(layer, reads)
        if not self.regions.keys().isdisjoint(self.net.outputs):
            raise ReadsBorder
        return self.net.with_layers(made)

    def _changed(self, layer: Layer, reads: list[Region]) -> list[Layer]:
        """Return the layers that do what one did, and note where its output lies."""
        if isinstance(layer, WindowedLayer):
            return [self._windowed(layer, reads[0])]
        if isinstance(layer, MaxPool2D):
            self.regions[layer.name] = _pooled(layer.pool, reads[0], layer.name)
            return [layer]
        if isinstance(layer, KEEPS_REGION) and len(reads) == len(layer.inputs) and len(set(reads)) == 1:
            self.regions[layer.name] = reads[0]
            return [layer]
        if isinstance(layer, layers.Dequantize):
            return [self._cut(layer, reads[0]), replace(layer, inputs=(f"{layer.name}/cut",))]
        if isinstance(layer, layers.Flatten):
            self.regions[layer.name] = reads[0]
            return [layer]
        if isinstance(layer, layers.Dense) and isinstance(self.net[layer.inputs[0]], layers.Flatten):
            return [self._dense(layer, reads[0])]
        raise ReadsBorder

    def _windowed(self, layer: WindowedLayer, region: Region) -> Layer:
        if not _pads_nothing(self.net, layer):
            raise ReadsBorder
        pool = layer.pool if isinstance(layer.pool, MaxPool) else None
        if layer.pool is not None and pool is None:
            raise ReadsBorder  # an average over all
        slides = "depthwise_kernel" if hasattr(layer, "depthwise_kernel") else "kernel"
        kernel, zeros, offset = getattr(layer, slides), [], []
        for axis in (0, 1):
            every = 1 if pool is None else pool.strides[axis]
            place = _placed(kernel.shape[axis], layer.strides[axis], region, axis, every, self.grow)
            zeros.append(place[0])
            offset.append(place[1])
        grown = np.pad(kernel, (*zeros, *[(0, 0)] * (kernel.ndim - 2)))
        fields: dict[str, Any] = {slides: np.ascontiguousarray(grown), "padding": "same"}
        changed = replace(layer, **fields)
        size = tuple((n - k) // s + 1 for n, k, s in zip(region.size, kernel.shape, layer.strides))
        held = tuple(-(-n // s) for n, s in zip(region.held, layer.strides))
        made = Region((offset[0], offset[1]), (size[0], size[1]), (held[0], held[1]))
        self.regions[layer.name] = made if pool is None else _pooled(pool, made, layer.name)
        if self.regions[layer.name].is_all:
            del self.regions[layer.name]
        return changed

    def _dense(self, layer: layers.Dense, region: Region) -> Layer:
        channels, filters = len(layer.kernel) // prod(region.size), layer.kernel.shape[1]
        if layer.weight_bits == 1:
            raise ReadsBorder  # weights of one bit have no zero
        kernel = np.zeros((*region.held, channels, filters), layer.kernel.dtype)
        (top, left), (height, width) = region.offset, region.size
        kernel[top : top + height, left : left + width] = layer.kernel.reshape(height, width, channels, filters)
        return replace(layer, kernel=kernel.reshape(-1, filters))

    def _cut(self, layer: Layer, region: Region) -> Layer:
        channels = self.net.types[layer.inputs[0]].channels
        (top, left), (height, width) = region.offset, region.size
        places = np.arange(prod(region.held) * channels).reshape(*region.held, channels)
        cut = places[top : top + height, left : left + width]
        name = f"{layer.name}/cut"
        return layers.Gather(name=name, inputs=layer.inputs, positions=cut.reshape(-1), shape=cut.shape)


def _placed(size: int, stride: int, region: Region, axis: int, every: int, grow: bool) -> tuple[Pair, int]:
    """Return the zeros before and after a kernel along one axis, and where the region of its output begins.

    It must begin at a multiple of ``every``. Of the larger kernels the one is taken that begins earliest.
    """
    offset, held = region.offset[axis], region.held[axis]
    found = []
    for more in (2,) if grow and stride == 1 else (0, 2):
        before = primitives.same_padding(held, size + more, stride)[0]
        for zeros in range(more + 1):
            place = offset + before - zeros
            if place >= 0 and place % (stride * every) == 0:
                found.append(((zeros, more - zeros), place // stride))
        if found:
            return min(found, key=lambda entry: entry[1])
    raise ReadsBorder


def _pooled(pool: MaxPool, region: Region, name: str) -> Region:
    """Return where the maxima of a region lie."""
    own, all_of = (
        primitives.resolve_padding(pool.padding, sizes, pool.size, pool.strides, name)
        for sizes in (region.size, region.held)
    )
    if own != ((0, 0), (0, 0)) or all_of[0][0] or all_of[1][0]:
        raise ReadsBorder
    if any(o % s for o, s in zip(region.offset, pool.strides)):
        raise ReadsBorder
    count: Any = lambda n, k, s, after: (n + after - k) // s + 1  # noqa: E731
    offset = tuple(o // s for o, s in zip(region.offset, pool.strides))
    size = tuple(count(n, k, s, 0) for n, k, s in zip(region.size, pool.size, pool.strides))
    held = tuple(count(n, k, s, p[1]) for n, k, s, p in zip(region.held, pool.size, pool.strides, all_of))
    return Region((offset[0], offset[1]), (size[0], size[1]), (held[0], held[1]))
