"""TensorFlow Lite's spellings of operations: one function for each, of (graph, the node, its inputs).

Inputs are views, with channels last, or constant arrays; ``None`` where left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.frontends import patterns
from spica.frontends.batch import own_sizes, reshaped
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.ops.weighted import Window
from spica.frontends.registry import Operations
from spica.frontends.view import View

op = OPERATIONS = Operations("the operation")

TAKES_PARTS = {"ADD", "BATCH_MATMUL", "DIV", "MEAN", "MUL", "POW", "RSQRT", "SOFTMAX", "SQRT", "SQUARE", "SUB"}
"""Operations that may be parts of attention or of a layer normalisation."""

FUSED = {0: "linear", 1: "relu", 2: "hard_tanh", 3: "relu6", 4: "tanh"}
"""Activations that operations have in themselves, by their numbers in the schema."""

SAME, REFLECT = 0, 0


class Node:
    """An operation of a graph.

    Attributes:
        kind: its name in the schema.
        at: name of the layer that it becomes.
        inputs: what it reads.
        batch: samples that the model was made for.
        outputs: how many tensors it makes.
    """

    def __init__(self, kind: str, at: str, inputs: list[Any], options: Any, batch: int, outputs: int) -> None:
        self.kind, self.at, self.inputs, self.batch, self.outputs = kind, at, inputs, batch, outputs
        self._options = options

    def get(self, name: str, default: Any = None) -> Any:
        """Return an option; the default where the operation has none."""
        return default if self._options is None else getattr(self._options, name)()

    def constant(self, place: int) -> NDArray[Any]:
        """Return an input that must be known."""
        value = self.inputs[place]
        known = not isinstance(value, View | patterns.Part)
        refuse(self.at, not known, f"{self.kind} with input {place} computed by the network", "make it constant")
        return np.asarray(value)

    def integers(self, place: int) -> list[int]:
        """Return a known input of integers."""
        return [int(value) for value in np.atleast_1d(self.constant(place)).reshape(-1)]


def real(value: Any) -> NDArray[np.float32]:
    """Return constants as float32."""
    return np.asarray(value, np.float32)


def activated(read: Callable[..., View]) -> Callable[..., View]:
    """Return a reader that applies the activation which the operation has in itself."""

    def made(g: GraphBuilder, node: Node, *inputs: Any) -> View:
        result, number = read(g, node, *inputs), node.get("FusedActivationFunction", 0)
        refuse(node.at, number not in FUSED, f"activation number {number}", "use relu, relu6 or none")
        return (
            result if not number else g.activation(result, FUSED[number], at=node.at, name=f"{node.at}/{FUSED[number]}")
        )

    return made


def window(node: Node) -> Window:
    """Return how a window moves over an image."""
    padding = "same" if node.get("Padding") == SAME else "valid"
    moves = Window(strides=(node.get("StrideH"), node.get("StrideW")), padding=padding)
    if node.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        moves["dilation"] = (node.get("DilationHFactor"), node.get("DilationWFactor"))
    return moves


def _bias(node: Node, place: int = 2) -> NDArray[np.float32] | None:
    return None if len(node.inputs) <= place or node.inputs[place] is None else real(node.constant(place))


@op("CONV_2D")
@activated
def _conv(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    kernel = real(node.constant(1)).transpose(1, 2, 3, 0)  # (F, kh, kw, C)
    return g.conv2d(x, kernel, _bias(node), x.sizes[-1] // kernel.shape[2], at=node.at, **window(node))


@op("DEPTHWISE_CONV_2D")
@activated
def _depthwise(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    kernel = real(node.constant(1))[0]  # (1, kh, kw, C * M)
    kernel = kernel.reshape(*kernel.shape[:2], x.sizes[-1], -1)
    return g.depthwise_conv2d(x, kernel, _bias(node), at=node.at, **window(node))


@op("TRANSPOSE_CONV")
@activated
def _transposed(g: GraphBuilder, node: Node, sizes: Any, kernel: Any, x: View, *_: Any) -> View:
    kernel = real(node.constant(1)).transpose(1, 2, 3, 0)  # (F, kh, kw, C)
    strides = (node.get("StrideH"), node.get("StrideW"))
    crop = []
    for have, want, k, stride in zip(x.sizes, node.integers(0)[1:3], kernel.shape, strides):
        total = (have - 1) * stride + k - want
        crop.append((total // 2, total - total // 2) if node.get("Padding") == SAME else (0, total))
    padding = (crop[0], crop[1])
    return g.conv_transpose2d(x, kernel, _bias(node, 3), at=node.at, strides=strides, padding=padding)


@op("FULLY_CONNECTED")
@activated
def _dense(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    refuse(node.at, node.get("WeightsFormat", 0) != 0, "shuffled weights", "convert the model without them")
    kernel = real(node.constant(1)).T  # (F, C)
    if not node.get("KeepNumDims", False) and (x.numbers.ndim > 2 or x.sizes[-1] != len(kernel)):
        x = reshaped(x, [-1, len(kernel)], node.batch, node.at)
    return g.linear(x, kernel, _bias(node), at=node.at)


@op("BATCH_MATMUL")
def _matmul(g: GraphBuilder, node: Node, x: Any, y: Any) -> Any:
    def turned(value: Any, turn: bool) -> Any:
        if isinstance(value, View):
            return value.transpose() if turn else value
        return value if isinstance(value, patterns.Part) else np.swapaxes(value, -1, -2) if turn else value

    x, y = turned(x, node.get("AdjX", False)), turned(y, node.get("AdjY", False))
    if isinstance(y, np.ndarray) and y.size == np.prod(y.shape[-2:]):
        y = real(y.reshape(y.shape[-2:]))
    return patterns.matmul(g, node.at, x, y)


@op("MAX_POOL_2D")
@activated
def _max_pool(g: GraphBuilder, node: Node, x: View) -> View:
    moves = window(node)
    return g.max_pool(
        x, (node.get("FilterHeight"), node.get("FilterWidth")), moves["strides"], moves["padding"], at=node.at
    )


@op("AVERAGE_POOL_2D")
@activated
def _average_pool(g: GraphBuilder, node: Node, x: View) -> View:
    size, moves = (node.get("FilterHeight"), node.get("FilterWidth")), window(node)
    return g.average_pool(x, size, moves["strides"], moves["padding"], at=node.at)


@op("MEAN")
def _mean(g: GraphBuilder, node: Node, x: Any, *_: Any) -> Any:
    return patterns.mean(g, node.at, x, node.integers(1), bool(node.get("KeepDims", False)))


@op("SUM")
def _sum(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    return g.sum(x, node.integers(1), bool(node.get("KeepDims", False)), at=node.at)


@op("REDUCE_MAX")
def _maximum_of(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    axes = sorted(axis % x.numbers.ndim for axis in node.integers(1))
    refuse(node.at, axes != [1, 2] or x.numbers.ndim != 4, f"a maximum over axes {axes}", "use that of whole images")
    made = g.global_max_pool(x, at=node.at)
    return made if node.get("KeepDims", False) else made.flatten(1)


# -- moves -----------------------------------------------------------------------------------------------------------


@op("RESHAPE")
def _reshape(g: GraphBuilder, node: Node, x: View, *sizes: Any) -> View:
    target = node.integers(1) if sizes and sizes[0] is not None else [int(n) for n in node.get("NewShapeAsNumpy")]
    return reshaped(x, target, node.batch, node.at)


@op("SQUEEZE")
def _squeeze(g: GraphBuilder, node: Node, x: View) -> View:
    axes = node.get("SqueezeDimsAsNumpy")
    return x.squeeze(None if isinstance(axes, int) or not len(axes) else [int(axis) for axis in axes])


@op("PAD", "PADV2")
def _pad(g: GraphBuilder, node: Node, x: View, *rest: Any) -> View:
    value = float(np.asarray(rest[1]).item()) if len(rest) > 1 and rest[1] is not None else 0.0
    return g.pad_axes(x, _pairs(node), value, at=node.at)


@op("MIRROR_PAD")
def _mirror(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    mode = "reflect" if node.get("Mode") == REFLECT else "symmetric"
    return x.pad(_pairs(node), mode)


def _pairs(node: Node) -> list[tuple[int, int]]:
    amounts = node.integers(1)
    return list(zip(amounts[::2], amounts[1::2]))


@op("CONCATENATION")
@activated
def _concat(g: GraphBuilder, node: Node, *parts: Any) -> View:
    return patterns.concat(g, node.at, parts, node.get("Axis"))


@op("PACK")
def _pack(g: GraphBuilder, node: Node, *parts: Any) -> View:
    axis = node.get("Axis")
    refuse(node.at, not all(isinstance(part, View) for part in parts), "a stack with constants", "stack tensors")
    return g.concat([part.unsqueeze(axis) for part in parts], axis, at=node.at)


@op("SPLIT")
def _split(g: GraphBuilder, node: Node, axis: Any, x: View) -> list[View]:
    (place,) = node.integers(0)
    return x.split(x.numbers.shape[place] // node.get("NumSplits"), place)


@op("SPLIT_V")
def _split_sizes(g: GraphBuilder, node: Node, x: View, *_: Any) -> list[View]:
    return x.split(node.integers(1), node.integers(2)[0])


@op("SLICE")
def _slice(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    own = own_sizes(x, node.batch)
    for axis, (start, size) in enumerate(zip(node.integers(1), node.integers(2))):
        if start or size not in (-1, own[axis]):
            x = x.slice(axis, start, None if size == -1 else start + size)
    return x


def ranges(node: Node, shape: Sequence[int]) -> tuple[list[slice | int], list[int]]:
    """Return what a strided slice takes of each axis, and the axes that it drops."""
    starts, stops, steps = (node.integers(place) for place in (1, 2, 3))
    unsupported = any(node.get(name, 0) for name in ("EllipsisMask", "NewAxisMask"))
    refuse(node.at, unsupported, "a strided slice with an ellipsis or new axes", "take ranges of axes")
    taken: list[slice | int] = []
    dropped = []
    for axis, (start, stop, step) in enumerate(zip(starts, stops, steps)):
        bit = 1 << axis
        if node.get("ShrinkAxisMask", 0) & bit:
            taken.append(slice(start, start + 1 or None))
            dropped.append(axis)
            continue
        first = None if node.get("BeginMask", 0) & bit else start
        last = None if node.get("EndMask", 0) & bit else stop
        taken.append(slice(first, last, step))
    return taken, dropped


@op("STRIDED_SLICE")
def _strided(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    own = own_sizes(x, node.batch)
    taken, dropped = ranges(node, own)
    for axis, part in enumerate(taken):
        assert isinstance(part, slice)
        if part.indices(own[axis]) != (0, own[axis], 1):
            x = x.slice(axis, part.start, part.stop, part.step or 1)
    return x.squeeze(dropped) if dropped else x


@op("GATHER")
def _gather(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    refuse(node.at, node.get("BatchDims", 0) != 0, "a gather by samples", "gather along one axis")
    refuse(node.at, bool((node.constant(1) < 0).any()), "places that are not there", "check it")
    return patterns.take(node.at, x, node.constant(1), node.get("Axis"))


@op("RESIZE_NEAREST_NEIGHBOR", "RESIZE_BILINEAR")
def _resize(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    wanted, (rows, columns) = node.integers(1), x.sizes[:2]
    bilinear, half, corners = node.kind == "RESIZE_BILINEAR", node.get("HalfPixelCenters"), node.get("AlignCorners")
    uneven = wanted[0] % rows or wanted[1] % columns or corners or (bilinear and not half)
    refuse(node.at, bool(uneven), f"{node.kind} to {wanted}", "use half_pixel_centers and whole factors")
    return g.upsample(x, (wanted[0] // rows, wanted[1] // columns), bilinear=bilinear, at=node.at)


@op("DEPTH_TO_SPACE")
def _depth_to_space(g: GraphBuilder, node: Node, x: View) -> View:
    block, (n, h, w, _) = node.get("BlockSize"), x.numbers.shape
    apart = x.reshape((n, h, w, block, block, -1)).permute((0, 1, 3, 2, 4, 5))
    return apart.reshape((n, h * block, w * block, -1))


@op("SPACE_TO_DEPTH")
def _space_to_depth(g: GraphBuilder, node: Node, x: View) -> View:
    block, (n, h, w, c) = node.get("BlockSize"), x.numbers.shape
    apart = x.reshape((n, h // block, block, w // block, block, c)).permute((0, 1, 3, 2, 4, 5))
    return apart.reshape((n, h // block, w // block, -1))


# -- functions ---------------------------------------------------------------------------------------------------------


def _named(name: str, *options: str) -> Callable[..., View]:
    """Return a reader of an activation, given which options are its parameters."""
    return lambda g, node, x: g.function(x, name, *(node.get(option) for option in options), at=node.at)


def _arithmetic(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reader of a sum or product, with its own activation where it is no part of something."""

    def made(g: GraphBuilder, node: Node, x: Any, y: Any) -> Any:
        result = read(g, node.at, *(v if isinstance(v, View | patterns.Part) else real(v) for v in (x, y)))
        return result if isinstance(result, patterns.Part) else activated(lambda *_: result)(g, node)

    return made


@op("POW")
def _power(g: GraphBuilder, node: Node, x: Any, *_: Any) -> Any:
    exponent = node.constant(1)
    refuse(node.at, exponent.size != 1, "several exponents", "use one for all")
    return patterns.power(g, node.at, x, float(exponent.item()))


@op("SQUARED_DIFFERENCE")
def _squared_difference(g: GraphBuilder, node: Node, x: Any, y: Any) -> Any:
    return patterns.power(g, node.at, patterns.subtract(g, f"{node.at}/difference", x, y), 2)


@op("CAST")
def _cast(g: GraphBuilder, node: Node, x: View) -> View:
    refuse(node.at, node.get("OutDataType", 0) not in (0, 1, 10), "a tensor of integers", "leave values real")
    return x


def _softmax(g: GraphBuilder, node: Node, x: Any) -> Any:
    beta = node.get("Beta", 1.0)
    refuse(node.at, beta not in (0.0, 1.0), f"a softmax with beta {beta}", "scale what it reads")
    return patterns.softmax(g, node.at, x, -1)


OPERATIONS |= {
    "ABS": _named("abs"),
    "ADD": _arithmetic(patterns.add),
    "DEQUANTIZE": lambda g, node, x: x,
    "DIV": _arithmetic(patterns.divide),
    "ELU": _named("elu"),
    "EXP": _named("exp"),
    "EXPAND_DIMS": lambda g, node, x, *_: x.unsqueeze(node.integers(1)[0]),
    "GELU": lambda g, node, x: g.function(x, "gelu_tanh" if node.get("Approximate") else "gelu", at=node.at),
    "HARD_SWISH": _named("hard_silu"),
    "LEAKY_RELU": lambda g, node, x: g.leaky_relu(x, node.get("Alpha"), at=node.at),
    "LOGISTIC": _named("sigmoid"),
    "LOG_SOFTMAX": lambda g, node, x: g.softmax(x, log=True, at=node.at),
    "MAXIMUM": lambda g, node, *inputs: patterns.bound(g, node.at, inputs, low=True),
    "MINIMUM": lambda g, node, *inputs: patterns.bound(g, node.at, inputs, low=False),
    "MUL": _arithmetic(patterns.multiply),
    "NEG": lambda g, node, x: g.affine(x, -1, 0, at=node.at),
    "PRELU": lambda g, node, x, *_: g.leaky_relu(x, real(node.constant(1)), at=node.at),
    "QUANTIZE": lambda g, node, x: x,
    "RELU": lambda g, node, x: g.clip(x, at=node.at),
    "RELU6": lambda g, node, x: g.clip(x, 0, 6, at=node.at),
    "RELU_N1_TO_1": lambda g, node, x: g.clip(x, -1, 1, at=node.at),
    "RSQRT": lambda g, node, x: patterns.power(g, node.at, x, -0.5),
    "SOFTMAX": _softmax,
    "SQRT": lambda g, node, x: patterns.power(g, node.at, x, 0.5),
    "SQUARE": lambda g, node, x: patterns.power(g, node.at, x, 2),
    "SUB": _arithmetic(patterns.subtract),
    "TANH": _named("tanh"),
    "TRANSPOSE": lambda g, node, x, *_: x.permute(node.integers(1)),
    "UNPACK": lambda g, node, x: x.unbind(node.get("Axis")),
}
