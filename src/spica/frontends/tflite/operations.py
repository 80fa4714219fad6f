"""TensorFlow Lite's spellings of operations: TensorFlow's under other names, and those that differ.

Inputs are views, with channels last, or constant arrays; ``None`` where left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spica.frontends import patterns
from spica.frontends.batch import reshaped
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.ops.weighted import Window
from spica.frontends.registry import Operations
from spica.frontends.tensorflow import node as tensorflow
from spica.frontends.tensorflow.dilation import image_of, within
from spica.frontends.tensorflow.node import real
from spica.frontends.tensorflow.operations import SHARED, gathered, pairs, transposed
from spica.frontends.view import View
from spica.semantics.primitives import Pair

op = OPERATIONS = Operations("the operation")

NAMES = {
    "ABS": "Abs", "ADD": "Add", "AVERAGE_POOL_2D": "AvgPool", "BATCH_MATMUL": "BatchMatMulV2",
    "BATCH_TO_SPACE_ND": "BatchToSpaceND", "CONV_2D": "Conv2D", "DEPTHWISE_CONV_2D": "DepthwiseConv2dNative",
    "DEPTH_TO_SPACE": "DepthToSpace", "DEQUANTIZE": "Identity", "DIV": "RealDiv", "ELU": "Elu", "EXP": "Exp",
    "EXPAND_DIMS": "ExpandDims", "FILL": "Fill", "LEAKY_RELU": "LeakyRelu", "LOGISTIC": "Sigmoid",
    "LOG_SOFTMAX": "LogSoftmax", "MAXIMUM": "Maximum", "MAX_POOL_2D": "MaxPool", "MEAN": "Mean", "MINIMUM": "Minimum",
    "MUL": "Mul", "NEG": "Neg", "PACK": "Pack", "PAD": "Pad", "PADV2": "PadV2", "POW": "Pow", "PRELU": "Prelu",
    "QUANTIZE": "Identity", "REDUCE_MAX": "Max", "REDUCE_PROD": "Prod", "RELU": "Relu", "RELU6": "Relu6",
    "RESHAPE": "Reshape", "RESIZE_BILINEAR": "ResizeBilinear", "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighbor",
    "RSQRT": "Rsqrt", "SHAPE": "Shape", "SLICE": "Slice", "SOFTMAX": "Softmax", "SPACE_TO_BATCH_ND": "SpaceToBatchND",
    "SPACE_TO_DEPTH": "SpaceToDepth", "SPLIT": "Split", "SPLIT_V": "SplitV", "SQRT": "Sqrt", "SQUARE": "Square",
    "SQUARED_DIFFERENCE": "SquaredDifference", "SQUEEZE": "Squeeze", "STRIDED_SLICE": "StridedSlice", "SUB": "Sub",
    "SUM": "Sum", "TANH": "Tanh", "TILE": "Tile", "TRANSPOSE": "Transpose", "UNPACK": "Unpack",
}  # fmt: skip
"""TensorFlow's names of operations that mean the same there."""

OPTIONS = {"num_split": "NumSplits"}
"""Options whose names are not TensorFlow's in another case."""

FUSED = {0: "linear", 1: "relu", 2: "hard_tanh", 3: "relu6", 4: "tanh"}
"""Activations that operations have in themselves, by their numbers in the schema."""

HAVE_ACTIVATION = ("ADD", "AVERAGE_POOL_2D", "DIV", "MAX_POOL_2D", "MUL", "SUB")
"""Operations of TensorFlow that have an activation in themselves here."""

SAME, REFLECT = 0, 0


class Node(tensorflow.Node):
    """An operation of a TensorFlow Lite graph, with the table of its options."""

    folds: ClassVar = {
        "CAST": lambda node, x: x,
        "CONCATENATION": lambda node, *parts: np.concatenate(parts, node.get("axis", 0)),
        "GATHER": lambda node, x, places: np.take(x, places, node.get("axis", 0)),
        "RESHAPE": lambda node, x, *sizes: np.reshape(x, sizes[0] if sizes else node.get("new_shape")),
    }

    def __init__(self, kind: str, at: str, inputs: list[Any], batch: int, options: Any) -> None:
        super().__init__(kind, at, inputs, batch)
        self._options = options

    def get(self, name: str, default: Any = None) -> Any:
        """Return an option; the default where the operation has no table of them."""
        if self._options is None:
            return default
        own = OPTIONS.get(name) or "".join(map(str.capitalize, name.split("_")))
        if (listed := getattr(self._options, f"{own}AsNumpy", None)) is None:
            return getattr(self._options, own)()
        values = listed()
        return [] if isinstance(values, int) else [int(value) for value in values]  # 0 where it is empty

    def window(self) -> Window:
        """Return how a window moves over an image."""
        padding = "same" if self.get("padding") == SAME else "valid"
        moves = Window(strides=(self.get("stride_h"), self.get("stride_w")), padding=padding)
        if self.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            moves["dilation"] = (self.get("dilation_h_factor"), self.get("dilation_w_factor"))
        return moves

    def size(self) -> Pair:
        """Return the rows and columns of a pooling window."""
        return self.get("filter_height"), self.get("filter_width")


def activated(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reader that applies the activation which the operation has in itself."""

    def made(g: GraphBuilder, node: Node, *inputs: Any) -> Any:
        result, number = read(g, node, *inputs), node.get("fused_activation_function", 0)
        refuse(node.at, number not in FUSED, f"activation number {number}", "use relu, relu6 or none")
        if not number:
            return result
        if isinstance(result, patterns.Moment | patterns.Scores):
            result = result.completed(g, node.at)
        return within(result, lambda x: g.activation(x, FUSED[number], at=node.at, name=f"{node.at}/{FUSED[number]}"))

    return made


def _bias(node: Node, place: int = 2) -> NDArray[np.float32] | None:
    return None if len(node.inputs) <= place or node.inputs[place] is None else real(node.constant(place))


OPERATIONS |= {name: SHARED[shared] for name, shared in NAMES.items() if shared in SHARED}
OPERATIONS |= {name: activated(OPERATIONS[name]) for name in HAVE_ACTIVATION}


@op("CONV_2D")
@activated
def _conv(g: GraphBuilder, node: Node, x: Any, *_: Any) -> Any:
    kernel = real(node.constant(1)).transpose(1, 2, 3, 0)  # (F, kh, kw, C)
    x, window, finish = image_of(x, node.window(), node.at)
    return finish(g.conv2d(x, kernel, _bias(node), x.sizes[-1] // kernel.shape[2], at=node.at, **window))


@op("DEPTHWISE_CONV_2D")
@activated
def _depthwise(g: GraphBuilder, node: Node, x: Any, *_: Any) -> Any:
    kernel = real(node.constant(1))[0]  # (1, kh, kw, C * M)
    x, window, finish = image_of(x, node.window(), node.at)
    kernel = kernel.reshape(*kernel.shape[:2], x.sizes[-1], -1)
    return finish(g.depthwise_conv2d(x, kernel, _bias(node), at=node.at, **window))


@op("TRANSPOSE_CONV")
@activated
def _transposed(g: GraphBuilder, node: Node, sizes: Any, kernel: Any, x: View, *_: Any) -> View:
    kernel = real(node.constant(1)).transpose(1, 2, 3, 0)  # (F, kh, kw, C)
    return transposed(g, node, x, kernel, _bias(node, 3))


@op("FULLY_CONNECTED")
@activated
def _dense(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    refuse(node.at, node.get("weights_format", 0) != 0, "shuffled weights", "convert the model without them")
    kernel = real(node.constant(1)).T  # (F, C)
    if not node.get("keep_num_dims", False) and (x.numbers.ndim > 2 or x.sizes[-1] != len(kernel)):
        x = reshaped(x, [-1, len(kernel)], node.batch, node.at)
    return g.linear(x, kernel, _bias(node), at=node.at)


@op("RESHAPE")
def _reshape(g: GraphBuilder, node: Node, x: View, *sizes: Any) -> View:
    target = node.integers(1) if sizes and sizes[0] is not None else node.get("new_shape")
    return reshaped(x, target, node.batch, node.at)


@op("MIRROR_PAD")
def _mirror(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    return x.pad(pairs(node), "reflect" if node.get("mode") == REFLECT else "symmetric")


@op("CONCATENATION")
@activated
def _concat(g: GraphBuilder, node: Node, *parts: Any) -> View:
    return patterns.concat(g, node.at, parts, node.get("axis"))


@op("CAST")
def _cast(g: GraphBuilder, node: Node, x: View) -> View:
    refuse(node.at, node.get("out_data_type", 0) not in (0, 1, 10), "a tensor of integers", "leave values real")
    return x


@op("SOFTMAX")
def _softmax(g: GraphBuilder, node: Node, x: Any) -> Any:
    beta = node.get("beta", 1.0)
    refuse(node.at, beta not in (0.0, 1.0), f"a softmax with beta {beta}", "scale what it reads")
    return patterns.softmax(g, node.at, x, -1)


OPERATIONS |= {
    "GATHER": lambda g, node, x, *_: gathered(node, x, node.get("axis")),
    "GELU": lambda g, node, x: g.function(x, "gelu_tanh" if node.get("approximate") else "gelu", at=node.at),
    "HARD_SWISH": lambda g, node, x: g.function(x, "hard_silu", at=node.at),
    "RELU_N1_TO_1": lambda g, node, x: g.clip(x, -1, 1, at=node.at),
}
