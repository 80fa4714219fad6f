"""TensorFlow's operations under its own names: one function for each, of (graph, the node, its inputs).

Inputs are views, with channels last, or constant arrays; ``None`` where left out. Options have TensorFlow's names: each
format's node knows its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import EllipsisType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.frontends import patterns
from spica.frontends.batch import own_sizes, reshaped
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.registry import Operations
from spica.frontends.tensorflow.dilation import cut, joined
from spica.frontends.tensorflow.node import Node, real
from spica.frontends.view import View

Weight = NDArray[np.float32]

op = SHARED = Operations("the operation")

TAKES_PARTS = {"Add", "AddV2", "BatchMatMulV2", "BatchToSpaceND", "Conv2D", "DepthwiseConv2dNative",
               "FusedDepthwiseConv2dNative", "Mean", "Mul", "Pow", "RealDiv", "Rsqrt", "Softmax", "Sqrt", "Square",
               "SquaredDifference", "Sub", "_FusedConv2D"}  # fmt: skip
"""Operations that may be parts of attention, of a layer normalisation or of a dilated convolution."""


@op("BatchMatMulV2")
def _matmul(g: GraphBuilder, node: Node, x: Any, y: Any) -> Any:
    def turned(value: Any, turn: bool) -> Any:
        if isinstance(value, View):
            return value.transpose() if turn else value
        refuse(node.at, turn and isinstance(value, patterns.Part), "transposed scores of attention", "use them as is")
        return value if isinstance(value, patterns.Part) else np.swapaxes(value, -1, -2) if turn else value

    x, y = turned(x, node.get("adj_x", False)), turned(y, node.get("adj_y", False))
    if isinstance(y, np.ndarray) and y.size == np.prod(y.shape[-2:]):
        y = real(y.reshape(y.shape[-2:]))
    return patterns.matmul(g, node.at, x, y)


def transposed(g: GraphBuilder, node: Node, x: View, kernel: Weight, bias: Weight | None) -> View:
    """Return the transposed convolution of an image with ``kernel`` (kh, kw, C, F), of the sizes that a node names."""
    window, crop, sizes = node.window(), [], node.integers(0)
    for have, want, k, stride in zip(x.sizes, sizes[1:3], kernel.shape, window["strides"]):
        same = window["padding"] == "same"
        read = -(-(want if same else want - k + 1) // stride)
        refuse(node.at, read != have, f"a transposed convolution to sizes {sizes}", "use those of its convolution")
        total = (have - 1) * stride + k - want
        crop.append((total // 2, total - total // 2) if same else (0, total))
    return g.conv_transpose2d(x, kernel, bias, at=node.at, strides=window["strides"], padding=(crop[0], crop[1]))


@op("MaxPool")
def _max_pool(g: GraphBuilder, node: Node, x: View) -> View:
    moves = node.window()
    return g.max_pool(x, node.size(), moves["strides"], moves["padding"], at=node.at)


@op("AvgPool")
def _average_pool(g: GraphBuilder, node: Node, x: View) -> View:
    moves = node.window()
    return g.average_pool(x, node.size(), moves["strides"], moves["padding"], at=node.at)


@op("Mean")
def _mean(g: GraphBuilder, node: Node, x: Any, *_: Any) -> Any:
    return patterns.mean(g, node.at, x, node.integers(1), bool(node.get("keep_dims", False)))


@op("Sum")
def _sum(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    return g.sum(x, node.integers(1), bool(node.get("keep_dims", False)), at=node.at)


@op("Max")
def _maximum_of(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    axes = sorted(axis % x.numbers.ndim for axis in node.integers(1))
    refuse(node.at, axes != [1, 2] or x.numbers.ndim != 4, f"a maximum over axes {axes}", "use that of whole images")
    made = g.global_max_pool(x, at=node.at)
    return made if node.get("keep_dims", False) else made.flatten(1)


# -- moves -----------------------------------------------------------------------------------------------------------


@op("Reshape")
def _reshape(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    return reshaped(x, node.integers(1), node.batch, node.at)


@op("Squeeze")
def _squeeze(g: GraphBuilder, node: Node, x: View) -> View:
    own = own_sizes(x, node.batch)
    axes = [axis % len(own) for axis in node.get("squeeze_dims", ())]
    dropped = axes or [axis for axis, size in enumerate(own) if size == 1]
    refuse(node.at, any(own[axis] != 1 for axis in dropped), f"a squeeze of axes {axes}", "squeeze axes of one")
    return x.squeeze(_without_samples(node, x, dropped))


def _without_samples(node: Node, x: View, dropped: list[int]) -> list[int]:
    """Return axes that a view loses, none of which is that of its samples."""
    place = x.batch_axis()
    refuse(node.at, place is None or place[0] in dropped, "a tensor without its batch axis", "leave it")
    return dropped


@op("Pad", "PadV2")
def _pad(g: GraphBuilder, node: Node, x: View, *rest: Any) -> View:
    value = float(np.asarray(rest[1]).item()) if len(rest) > 1 and rest[1] is not None else 0.0
    return g.pad_axes(x, pairs(node), value, at=node.at)


def pairs(node: Node) -> list[tuple[int, int]]:
    """Return how much is put before and after each axis."""
    amounts = node.integers(1)
    return list(zip(amounts[::2], amounts[1::2]))


@op("Pack")
def _pack(g: GraphBuilder, node: Node, *parts: Any) -> View:
    axis = node.get("axis", 0)
    refuse(node.at, not all(isinstance(part, View) for part in parts), "a stack with constants", "stack tensors")
    return g.concat([part.unsqueeze(axis) for part in parts], axis, at=node.at)


@op("Split")
def _split(g: GraphBuilder, node: Node, axis: Any, x: View) -> list[View]:
    (place,), parts = node.integers(0), node.get("num_split")
    refuse(node.at, x.numbers.shape[place] % parts != 0, f"a split into {parts}", "split into equal parts")
    return x.split(x.numbers.shape[place] // parts, place)


@op("SplitV")
def _split_sizes(g: GraphBuilder, node: Node, x: View, *_: Any) -> list[View]:
    sizes, (axis,) = node.integers(1), node.integers(2)
    if -1 in sizes:
        sizes[sizes.index(-1)] = x.numbers.shape[axis] - sum(sizes) - 1
    refuse(node.at, min(sizes) < 0 or sum(sizes) != x.numbers.shape[axis], f"a split into {sizes}", "split all of it")
    return x.split(sizes, axis)


@op("Slice")
def _slice(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    own = own_sizes(x, node.batch)
    for axis, (start, size) in enumerate(zip(node.integers(1), node.integers(2))):
        if start or size not in (-1, own[axis]):
            x = x.slice(axis, start, None if size == -1 else start + size)
    return x


def index(node: Node, shape: Sequence[int]) -> tuple[slice | int | None, ...]:
    """Return what a strided slice takes of a tensor, as numpy has it, without an ellipsis."""
    starts, stops, steps = (node.integers(place) for place in (1, 2, 3))
    names = ("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask")
    first, last, others, new, shrunk = (node.get(name, 0) for name in names)
    taken: list[slice | int | EllipsisType | None] = []
    for place, (start, stop, step) in enumerate(zip(starts, stops, steps)):
        bit = 1 << place
        if others & bit:
            taken.append(...)
        elif new & bit:
            taken.append(None)
        elif shrunk & bit:
            taken.append(start)
        else:
            taken.append(slice(None if first & bit else start, None if last & bit else stop, step))
    if ... not in taken:
        taken.append(...)
    place, used = taken.index(...), sum(part is not None for part in taken) - 1
    taken[place : place + 1] = [slice(None)] * (len(shape) - used)
    return tuple(part for part in taken if part is not ...)


@op("StridedSlice")
def _strided(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    own, axis, dropped = own_sizes(x, node.batch), 0, []
    for part in (taken := index(node, own)):
        if isinstance(part, slice) and part.indices(own[axis]) != (0, own[axis], 1):
            x = x.slice(axis, part.start, part.stop, part.step or 1)
        elif isinstance(part, int):
            refuse(
                node.at, not -own[axis] <= part < own[axis], f"place {part} of {own[axis]}", "take one that is there"
            )
            if own[axis] > 1:
                x = x.slice(axis, part, part + 1 or None)
            dropped.append(axis)
        axis += part is not None
    x = x.squeeze(_without_samples(node, x, dropped)) if dropped else x
    for place, part in enumerate(part for part in taken if not isinstance(part, int)):
        x = x.unsqueeze(place) if part is None else x
    return x


@op("ResizeNearestNeighbor", "ResizeBilinear")
def _resize(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    wanted, (rows, columns) = node.integers(1), x.sizes[:2]
    uneven = min(wanted) < 1 or wanted[0] % rows or wanted[1] % columns or node.get("align_corners", False)
    refuse(node.at, bool(uneven), f"{node.kind} to {wanted}", "use whole factors, without align_corners")
    bilinear, centres = "bilinear" in node.kind.lower(), bool(node.get("half_pixel_centers", False))
    factors = (wanted[0] // rows, wanted[1] // columns)
    return g.upsample(x, factors, bilinear=bilinear, centres=centres, at=node.at)


@op("DepthToSpace")
def _depth_to_space(g: GraphBuilder, node: Node, x: View) -> View:
    block, (n, h, w, _) = node.get("block_size"), x.numbers.shape
    apart = x.reshape((n, h, w, block, block, -1)).permute((0, 1, 3, 2, 4, 5))
    return apart.reshape((n, h * block, w * block, -1))


@op("SpaceToDepth")
def _space_to_depth(g: GraphBuilder, node: Node, x: View) -> View:
    block, (n, h, w, c) = node.get("block_size"), x.numbers.shape
    apart = x.reshape((n, h // block, block, w // block, block, c)).permute((0, 1, 3, 2, 4, 5))
    return apart.reshape((n, h // block, w // block, -1))


def gathered(node: Node, x: View, axis: int) -> View:
    """Return the places of an axis that a node's input names."""
    refuse(node.at, node.get("batch_dims", 0) != 0, "a gather by samples", "gather along one axis")
    refuse(node.at, bool((node.constant(1) < 0).any()), "places that are not there", "check it")
    return patterns.take(node.at, x, node.constant(1), axis)


# -- functions ---------------------------------------------------------------------------------------------------------


def _named(name: str) -> Callable[..., View]:
    """Return a reader of an activation."""
    return lambda g, node, x: g.function(x, name, at=node.at)


def _arithmetic(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reader of a sum or product of tensors and constants."""
    return lambda g, node, x, y: read(
        g, node.at, *(v if isinstance(v, View | patterns.Part) else real(v) for v in (x, y))
    )


@op("Pow")
def _power(g: GraphBuilder, node: Node, x: Any, *_: Any) -> Any:
    exponent = node.constant(1)
    refuse(node.at, exponent.size != 1, "several exponents", "use one for all")
    return patterns.power(g, node.at, x, float(exponent.item()))


@op("SquaredDifference")
def _squared_difference(g: GraphBuilder, node: Node, x: Any, y: Any) -> Any:
    return patterns.power(g, node.at, patterns.subtract(g, f"{node.at}/difference", x, y), 2)


SHARED |= {
    "Abs": _named("abs"),
    "Add": _arithmetic(patterns.add),
    "AddV2": _arithmetic(patterns.add),
    "BatchToSpaceND": joined,
    "Elu": _named("elu"),
    "Exp": _named("exp"),
    "ExpandDims": lambda g, node, x, *_: x.unsqueeze(node.integers(1)[0]),
    "Identity": lambda g, node, x: x,
    "LeakyRelu": lambda g, node, x: g.leaky_relu(x, node.get("alpha"), at=node.at),
    "LogSoftmax": lambda g, node, x: g.softmax(x, log=True, at=node.at),
    "Maximum": lambda g, node, *inputs: patterns.bound(g, node.at, inputs, low=True),
    "Minimum": lambda g, node, *inputs: patterns.bound(g, node.at, inputs, low=False),
    "Mul": _arithmetic(patterns.multiply),
    "Neg": lambda g, node, x: g.affine(x, -1, 0, at=node.at),
    "Prelu": lambda g, node, x, *_: g.leaky_relu(x, real(node.constant(1)), at=node.at),
    "RealDiv": _arithmetic(patterns.divide),
    "Relu": lambda g, node, x: g.clip(x, at=node.at),
    "Relu6": lambda g, node, x: g.clip(x, 0, 6, at=node.at),
    "Rsqrt": lambda g, node, x: patterns.power(g, node.at, x, -0.5),
    "Selu": _named("selu"),
    "Sigmoid": _named("sigmoid"),
    "Softmax": lambda g, node, x: patterns.softmax(g, node.at, x, -1),
    "Softplus": _named("softplus"),
    "SpaceToBatchND": cut,
    "Sqrt": lambda g, node, x: patterns.power(g, node.at, x, 0.5),
    "Square": lambda g, node, x: patterns.power(g, node.at, x, 2),
    "Sub": _arithmetic(patterns.subtract),
    "Tanh": _named("tanh"),
    "Transpose": lambda g, node, x, *_: x.permute(node.integers(1)),
    "Unpack": lambda g, node, x: x.unbind(node.get("axis", 0)),
}
