"""Rewrites of what slides: padding, kernels, strides and pooling that a device refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.hardware.legalize.weights import grown_kernel
from spica.layers import (
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAverage,
    GlobalAveragePooling2D,
    MaxPool,
    MaxPool2D,
)
from spica.layers.weighted import WeightedLayer, WindowedLayer
from spica.network import Layer, Network
from spica.network.edit import replace_layer
from spica.network.layer import infer
from spica.qat.adaptation.rewrites.base import Case, Proposal, rewrite
from spica.semantics.primitives import Pair, resolve_padding

LARGEST_KERNEL = 12
"""Kernels that are looked for are smaller."""


@rewrite("padding")
def pad_same(case: Case) -> Proposal | None:
    """Let a window see the border as devices do; maps may grow, and dense layers behind them with them."""
    layer = case.layer
    if not isinstance(layer, WindowedLayer):
        return None
    fields: dict[str, Any] = {"padding": "same"} | ({"padding_value": None} if isinstance(layer, Conv2D) else {})
    was = layer.padding if isinstance(layer.padding, str) else "custom"
    changed = refitted(case.net, with_replaced(case.net, layer.name, replace(layer, **fields)))
    return case.changed(changed, f"padding {was} -> same")


def with_replaced(net: Network, name: str, layer: Layer) -> list[Layer]:
    """Return the layers of a network with one replaced; those behind it need not fit yet."""
    return [layer if old.name == name else old for old in net]


def refitted(net: Network, changed: list[Layer]) -> Network:
    """Return a network of layers, in which dense layers read maps of other sizes than they did: centred, else zeros."""
    made: list[Layer] = []
    for layer in changed:
        source = next((m for m in made if m.name == layer.inputs[0]), None) if layer.inputs else None
        if isinstance(layer, Dense) and isinstance(source, Flatten):
            new = net.with_layers(made, [made[-1].name]).types[source.inputs[0]].shape
            old = net.types[net[source.name].inputs[0]].shape
            layer = replace(layer, kernel=_centred(layer.kernel, old, new)) if old != new else layer
        made.append(layer)
    return net.with_layers(made)


def _centred(kernel: NDArray, old: tuple[int, ...], new: tuple[int, ...]) -> NDArray:
    """Return a dense kernel for maps of a new size, whose middle weighs as the old map's did."""
    filters = kernel.shape[1]
    grid = kernel.reshape(*old, filters)
    made = np.zeros((*new, filters), np.float32)
    (at, to), (at2, to2) = (_overlap(o, n) for o, n in zip(old[:2], new[:2]))
    made[to, to2] = grid[at, at2]
    return made.reshape(-1, filters)


def _overlap(old: int, new: int) -> tuple[slice, slice]:
    """Return the part of ``old`` places that lies in the middle of ``new`` ones, and where it lies there."""
    size = min(old, new)
    first, second = (old - size) // 2, (new - size) // 2
    return slice(first, first + size), slice(second, second + size)


@rewrite("kernel", exact=True)
def grow(case: Case) -> Proposal | None:
    """Fill a kernel up with zeros to the next size that the device has."""
    layer = case.layer
    if not isinstance(layer, Conv2D | DepthwiseConv2D):
        return None
    for size in range(max(layer.window), LARGEST_KERNEL):
        grown = grown_kernel(case.net, layer, (size, size)) if case.allows("kernel", size) else None
        if grown is not None and grown.window != layer.window:
            words = f"kernel {_sized(layer.window)} -> {size}x{size}, filled with zeros"
            return case.changed(replace_layer(case.net, layer.name, grown), words)
    return None


@rewrite("kernel")
def resize(case: Case) -> Proposal | None:
    """Take the supported kernel of the nearest size: the middle of a larger one, or an even one with zeros beside."""
    layer = case.layer
    if not isinstance(layer, WindowedLayer):
        return None
    sizes = [size for size in range(1, LARGEST_KERNEL) if case.allows("kernel", size)]
    if not sizes:
        return None
    size = min(sizes, key=lambda s: (s < max(layer.window), abs(s - max(layer.window))))
    words = f"kernel {_sized(layer.window)} -> {size}x{size}"
    changed = replace(_resized(layer, (size, size)), padding="same")
    return case.changed(refitted(case.net, with_replaced(case.net, layer.name, changed)), words)


def _sized(size: Pair) -> str:
    return f"{size[0]}x{size[1]}"


def _resized(layer: Any, size: Pair) -> Any:
    """Return a layer with a window of another size: the same in the middle, zeros around."""
    field = next(iter(layer.kernels))
    kernel = getattr(layer, field)
    made = np.zeros((*size, *kernel.shape[2:]), np.float32)
    (at, to), (at2, to2) = (_overlap(o, n) for o, n in zip(kernel.shape[:2], size))
    made[to, to2] = kernel[at, at2]
    return replace(layer, **{field: made})


@rewrite("stride")
def stride_in_two(case: Case) -> Proposal | None:
    """Take a stride of four in two steps of two, the second by a convolution that passes on what it reads."""
    layer = case.layer
    if not isinstance(layer, WindowedLayer) or layer.strides != (4, 4) or not case.allows("stride", 2):
        return None
    first = replace(layer, name=f"{layer.name}/stride", strides=(2, 2), pool=None, activation=None, padding="same")
    second = _passing(layer.name, first.name, layer.filters, 3, strides=(2, 2))
    second = replace(second, pool=layer.pool, activation=layer.activation)
    changed = [new for old in case.net for new in ((first, second) if old is layer else (old,))]
    return case.changed(refitted(case.net, changed), "stride 4 -> 2, and 2 in a 3x3 convolution behind it")


def _passing(name: str, source: str, channels: int, size: int = 1, **fields: Any) -> Conv2D:
    """Return a convolution that passes on what it reads, so that what is fused into it acts on that."""
    kernel = np.zeros((size, size, channels, channels), np.float32)
    kernel[size // 2, size // 2] = np.eye(channels)
    return Conv2D(name=name, inputs=(source,), kernel=kernel, **fields)


@rewrite("pool_size", exact=True)
def pool_in_two(case: Case) -> Proposal | None:
    """Take the maximum of 3x3 pixels, by two, of 2x2 by one and then 2x2 by two; a 1x1 convolution stands between."""
    layer = case.layer
    if not isinstance(layer, WeightedLayer) or not isinstance(layer.pool, MaxPool):
        return None
    height, width = infer(replace(layer, pool=None), case.net.input_types(layer)).shape[:2]
    pads = resolve_padding(layer.pool.padding, (height, width), layer.pool.size, layer.pool.strides, layer.name)
    even = pads == ((0, 1), (0, 1)) and height % 2 == width % 2 == 0
    if layer.pool.size != (3, 3) or layer.pool.strides != (2, 2) or not even or not case.allows("pool_size", "2x2"):
        return None
    first = replace(layer, name=f"{layer.name}/twice", pool=MaxPool(size=(2, 2), strides=(1, 1), padding="same"))
    pool = MaxPool(size=(2, 2), strides=(2, 2))
    second = _passing(layer.name, first.name, layer.filters, pool=pool, activation=layer.activation)
    words = "max pooling 3x3 by 2 -> 2x2 by 1, then 2x2 by 2 in a 1x1 convolution"
    return case.changed(replace_layer(case.net, layer.name, first, second), words)


@rewrite("pool_size", "pool_stride", "pool")
def pool_by_two(case: Case) -> Proposal | None:
    """Pool 2x2 pixels instead of others: by two where the map got smaller, else by one."""
    layer = case.layer
    if not isinstance(layer, WeightedLayer) or not isinstance(layer.pool, MaxPool):
        return None
    steps = {1: (1, 1), 2: (2, 2)}.get(max(layer.pool.strides))
    pool = MaxPool(size=(2, 2), strides=steps or (2, 2), padding="same")
    if layer.pool.size == pool.size or steps is None or layer.pool.strides != steps:
        return None
    changed = with_replaced(case.net, layer.name, replace(layer, pool=pool))
    return case.changed(refitted(case.net, changed), f"max pooling {_sized(layer.pool.size)} -> 2x2")


@rewrite("after_max_pool", exact=True)
def convolve_behind(case: Case) -> Proposal | None:
    """Put a 1x1 convolution that passes on what it reads behind max pooling, as devices want one there."""
    layer, net = case.layer, case.net
    if not isinstance(layer, WeightedLayer) or not isinstance(layer.pool, MaxPool):
        return None
    first = replace(layer, name=f"{layer.name}/pooled")
    return case.changed(
        replace_layer(
            net, layer.name, first, _passing(layer.name, first.name, layer.filters, activation=layer.activation)
        ),
        "a 1x1 convolution behind its pooling",
    )


@rewrite("max_pool", "global_average_pool", exact=True)
def convolve_before(case: Case) -> Proposal | None:
    """Put a 1x1 convolution that passes on what it reads before pooling, which then fuses into it."""
    layer, net = case.layer, case.net
    if not isinstance(layer, MaxPool2D | GlobalAveragePooling2D):
        return None
    pool = layer.pool if isinstance(layer, MaxPool2D) else GlobalAverage()
    channels, rectified = net.input_types(layer)[0].channels, getattr(net[layer.inputs[0]], "activation", None)
    made = _passing(layer.name, layer.inputs[0], channels, pool=pool, activation=rectified)
    return case.changed(replace_layer(net, layer.name, made), "a 1x1 convolution before it, which pools")


@rewrite("pool", "pool_size", "pool_stride", exact=True)
def pool_behind(case: Case) -> Proposal | None:
    """Let a 1x1 convolution behind a layer pool, where the layer itself may not."""
    layer = case.layer
    if not isinstance(layer, WeightedLayer) or layer.pool is None or case.allows("pool", case.spec.pool):
        return None
    first = replace(layer, name=f"{layer.name}/before", pool=None)
    made = _passing(layer.name, first.name, layer.filters, pool=layer.pool, activation=layer.activation)
    return case.changed(replace_layer(case.net, layer.name, first, made), "a 1x1 convolution behind it, which pools")


@rewrite("pooled_area")
def average_before(case: Case) -> Proposal | None:
    """Average 2x2 pixels by a 3x3 convolution of stride two before the layer that averages the whole image."""
    layer, net = case.layer, case.net
    if not isinstance(layer, WeightedLayer) or not isinstance(layer.pool, GlobalAverage):
        return None
    first = replace(layer, name=f"{layer.name}/before", pool=None)
    made = _passing(
        layer.name, first.name, layer.filters, 3, strides=(2, 2), pool=layer.pool, activation=layer.activation
    )
    height, width = infer(first, net.input_types(layer)).shape[:2]
    at = [slice(0, 2) if n % 2 == 0 else slice(1, 3) for n in (height, width)]
    kernel = np.zeros_like(made.kernel)
    kernel[at[0], at[1]] = np.eye(layer.filters) / 4
    changed = replace_layer(net, layer.name, first, replace(made, kernel=kernel))
    return case.changed(changed, "a 3x3 convolution of stride 2 averages pixels before all are averaged")
