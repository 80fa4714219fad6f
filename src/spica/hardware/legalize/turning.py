"""Legalize padding by turning a network upside down: then it pads below and on the right, as devices do.

PyTorch pads the strided convolutions of an image of even size above and on the left alone, as far as windows reach.
Devices pad as TensorFlow does, below and on the right. A network whose kernels are all turned by 180 degrees computes
the same from a turned image, and what it padded above it pads below. The host turns the samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import singledispatch
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica import layers
from spica.layers import MaxPool, MaxPool2D, WeightedLayer, weighted
from spica.layers.transposed import Transposed
from spica.layers.weighted import WindowedLayer
from spica.network import Layer, Network, TensorType
from spica.network.edit import redirect
from spica.network.layer import infer
from spica.semantics import primitives
from spica.semantics.primitives import Padding, Pair


class CannotTurn(Exception):
    """A network has a layer that does not compute the same from turned images."""


def turned_network(net: Network) -> Network:
    """Return a network of equal outputs, whose first layers turn the images that it reads, and all others follow.

    Raises:
        CannotTurn: where a layer does not compute the same from turned images.
    """
    made: list[Layer] = []
    names: dict[str, str] = {}  # of images that are read turned
    orders: dict[str, NDArray[np.int64]] = {}  # of vectors whose values lie in another order: where each one is now
    for layer in net:
        reads = net.input_types(layer)
        if not layer.inputs:
            made.append(layer)
            if len(net.types[layer.name].shape) == 3:
                name = f"{layer.name}/turned"
                made.append(_turn_of(name, layer.name, net.types[layer.name]))
                names[layer.name] = name
            continue
        moved = [orders[i] for i in layer.inputs if i in orders]
        if isinstance(layer, layers.Flatten) and len(reads[0].shape) == 3:
            orders[layer.name] = _turned_order(reads[0].shape)
            made.append(redirect(layer, names))
        elif moved:
            made.append(redirect(_reordered(layer, moved[0], orders), names))
        else:
            made.append(redirect(turned(layer, reads), names))
    return _with_outputs(net, made, orders)


def _turn_of(name: str, source: str, x: TensorType) -> layers.Gather:
    return layers.Gather(name=name, inputs=(source,), positions=_turned_order(x.shape), shape=x.shape)


def _turned_order(shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return which value of an image lies at each position of the turned one."""
    return np.arange(prod(shape)).reshape(shape)[::-1, ::-1].reshape(-1)


def _reordered(layer: Layer, order: NDArray[np.int64], orders: dict[str, NDArray[np.int64]]) -> Layer:
    """Return a layer that reads a vector whose values lie in another order."""
    if isinstance(layer, layers.Dense):
        fields: dict[str, Any] = {"kernel": np.ascontiguousarray(layer.kernel[order])}
        return replace(layer, **fields)
    if isinstance(layer, layers.Activation | layers.LookUp) and getattr(layer, "requantize", None) is None:
        orders[layer.name] = order
        return layer
    raise CannotTurn


def _with_outputs(net: Network, made: list[Layer], orders: dict[str, NDArray[np.int64]]) -> Network:
    """Return the network, with images that are outputs turned back by the host."""
    if any(name in orders for name in net.outputs):
        raise CannotTurn
    back: list[Layer] = []
    for layer in made:
        if layer.name in net.outputs and len(net.types[layer.name].shape) == 3:
            if not isinstance(layer, layers.Dequantize) or net.consumers[layer.name]:
                raise CannotTurn
            name = f"{layer.name}/back"
            back.append(_turn_of(name, layer.inputs[0], net.types[layer.inputs[0]]))
            layer = replace(layer, inputs=(name,))
        back.append(layer)
    return net.with_layers(back)


# -- one layer -------------------------------------------------------------------------------------------------------


@singledispatch
def turned(layer: Any, inputs: list[TensorType]) -> Layer:
    """Return the layer that makes turned images of turned images.

    Raises:
        CannotTurn: where no layer does.
    """
    if any(len(x.shape) > 1 for x in inputs):
        raise CannotTurn
    return layer


@turned.register
def _(layer: layers.Add | layers.Multiply | layers.Activation | layers.LookUp | layers.Dense | layers.Concatenate
      | layers.GlobalAveragePooling2D | layers.Quantize | layers.QuantizeLinear | layers.Rescaling
      | layers.Dequantize, inputs: list[TensorType]) -> Layer:  # fmt: skip
    return layer


@turned.register
def _(layer: WindowedLayer, inputs: list[TensorType]) -> Layer:
    (x,) = inputs
    slides = "depthwise_kernel" if hasattr(layer, "depthwise_kernel") else "kernel"
    kernel = getattr(layer, slides)[::-1, ::-1]
    padding, (above, left) = _turned_padding(
        (x.shape[0], x.shape[1]), layer.window, layer.strides, layer.padding_for(*x.shape[:2])
    )
    # A window that begins within the image begins at its edge, with zeros in the kernel.
    kernel = np.pad(kernel, ((above, 0), (left, 0), *[(0, 0)] * (kernel.ndim - 2)))
    fields: dict[str, Any] = {slides: np.ascontiguousarray(kernel), "padding": padding}
    changed = replace(layer, **fields)
    size = weighted.convolved_shape(changed, x, changed.window, changed.strides, padding)
    named = _named(padding, x.shape, changed.window, changed.strides)
    return replace(changed, padding=named, pool=_pool(layer, (*size, x.channels)))


@turned.register
def _(layer: layers.Gather, inputs: list[TensorType]) -> Layer:
    (x,) = inputs
    if len(x.shape) != 3 or len(layer.shape) != 3:
        raise CannotTurn
    places = _turned_order(x.shape)  # a turn undoes itself: where each value is now
    positions = layer.positions[_turned_order(layer.shape)]
    return replace(layer, positions=np.where(positions < 0, positions, places[positions]))


@turned.register
def _(layer: MaxPool2D, inputs: list[TensorType]) -> Layer:
    return replace(layer, pool=_turned_pool(layer.pool, inputs[0].shape, layer.name))


@turned.register
def _(layer: Transposed, inputs: list[TensorType]) -> Layer:
    if any(k < stride for k, stride in zip(layer.kernel.shape, layer.strides)):
        raise CannotTurn
    (top, bottom), (left, right) = layer.crop
    kernel: Any = np.ascontiguousarray(layer.mirrored)
    padding = layer.padding if (top, left) == (bottom, right) else ((bottom, top), (right, left))
    size = infer(replace(layer, pool=None, requantize=None, activation=None), inputs).shape
    return replace(layer, kernel=kernel, padding=padding, pool=_pool(layer, size))


def _pool(layer: WeightedLayer, size: tuple[int, ...]) -> Any:
    return _turned_pool(layer.pool, size, layer.name) if isinstance(layer.pool, MaxPool) else layer.pool


def _turned_pool(pool: MaxPool, size: tuple[int, ...], name: str) -> MaxPool:
    sizes = (size[0], size[1])
    amounts = primitives.resolve_padding(pool.padding, sizes, pool.size, pool.strides, name)
    padding, more = _turned_padding(sizes, pool.size, pool.strides, amounts)
    if more != (0, 0):
        raise CannotTurn  # a maximum has no zeros to put into its window
    return replace(pool, padding=_named(padding, size, pool.size, pool.strides))


def _turned_padding(size: Pair, window: Pair, strides: Pair, padding: Padding) -> tuple[Padding, Pair]:
    """Return the padding of a window over a turned image, and the rows and columns that it must begin earlier."""

    def sides() -> Iterator[tuple[Pair, int]]:
        for length, k, stride, (before, after) in zip(size, window, strides, padding):
            unread = (length + before + after - k) % stride
            first = after - unread  # what the last window reached beyond the image is before the first one now
            yield (max(first, 0), before), max(-first, 0)

    (rows, above), (columns, left) = sides()
    return (rows, columns), (above, left)


def _named(padding: Padding, size: tuple[int, ...], window: Pair, strides: Pair) -> str | Padding:
    same = tuple(primitives.same_padding(n, k, stride) for n, k, stride in zip(size, window, strides))
    return "valid" if padding == ((0, 0), (0, 0)) else "same" if padding == same else padding
