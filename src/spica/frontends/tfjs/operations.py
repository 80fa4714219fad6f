"""TensorFlow.js' operations: TensorFlow's, and those that its converter makes of several.

Inputs are views, with channels last, or constant arrays; ``None`` where left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.frontends import patterns
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.registry import Operations
from spica.frontends.tensorflow.dilation import image_of
from spica.frontends.tensorflow.node import real
from spica.frontends.tensorflow.operations import SHARED, gathered, pairs, transposed
from spica.frontends.tfjs.node import REAL, Node
from spica.frontends.view import View

op = OPERATIONS = Operations("the operation")
OPERATIONS |= SHARED

FUSED = {"Elu": "elu", "Relu": "relu", "Relu6": "relu6", "Sigmoid": "sigmoid", "Tanh": "tanh"}
"""Activations without parameters that operations have in themselves, and our names for them."""


def _fused(node: Node) -> list[str]:
    """Return what is fused to an operation: nothing, or a bias and perhaps an activation after it."""
    parts = node.get("fused_ops", [])
    bias, after = parts[:1], parts[1:]
    known = bias in ([], ["BiasAdd"]) and (
        not after or (len(after) == 1 and after[0] in (*FUSED, "LeakyRelu", "Prelu"))
    )
    refuse(node.at, not known, f"{node.kind} with {parts}", "use a bias and an activation")
    wanted = 2 + len(bias) + ("Prelu" in after)
    refuse(node.at, len(node.inputs) != wanted, f"{node.kind} with {len(node.inputs)} inputs", f"give {wanted}")
    return parts


def _bias(node: Node, parts: list[str]) -> NDArray[np.float32] | None:
    """Return the bias that is fused to an operation."""
    return real(node.constant(2)) if parts else None


def _activated(g: GraphBuilder, node: Node, x: View, parts: list[str]) -> View:
    """Apply the activation that is fused to an operation."""
    for part in parts:
        if part == "LeakyRelu":
            x = g.leaky_relu(x, node.needed("leakyrelu_alpha"), at=f"{node.at}/LeakyRelu")
        elif part == "Prelu":
            x = g.leaky_relu(x, real(node.constant(len(node.inputs) - 1)), at=f"{node.at}/Prelu")
        elif part in FUSED:
            x = g.activation(x, FUSED[part], at=node.at, name=f"{node.at}/{part}")
    return x


@op("Conv2D", "_FusedConv2D")
def _conv(g: GraphBuilder, node: Node, x: Any, *_: Any) -> Any:
    kernel, parts = real(node.constant(1)), _fused(node)  # (kh, kw, C, F)
    x, window, finish = image_of(x, node.window(), node.at)
    groups = x.sizes[-1] // kernel.shape[2]
    made = g.conv2d(x, kernel, _bias(node, parts), groups, at=node.at, **window)
    return finish(_activated(g, node, made, parts))


@op("DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")
def _depthwise(g: GraphBuilder, node: Node, x: Any, *_: Any) -> Any:
    kernel, parts = real(node.constant(1)), _fused(node)  # (kh, kw, C, filters a channel)
    x, window, finish = image_of(x, node.window(), node.at)
    made = g.depthwise_conv2d(x, kernel, _bias(node, parts), at=node.at, **window)
    return finish(_activated(g, node, made, parts))


@op("Conv2DBackpropInput")
def _transposed(g: GraphBuilder, node: Node, sizes: Any, kernel: Any, x: View) -> View:
    kernel = real(node.constant(1)).transpose(0, 1, 3, 2)  # (kh, kw, F, C)
    refuse(node.at, node.window()["dilation"] != (1, 1), "a transposed convolution with dilation", "leave it out")
    return transposed(g, node, x, kernel, None)


@op("MatMul", "_FusedMatMul")
def _dense(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    kernel, parts = node.inputs[1], _fused(node)
    refuse(node.at, not isinstance(x, View) or isinstance(kernel, View), "a product of tensors", "use BatchMatMulV2")
    refuse(node.at, node.get("transpose_a", False), "a transposed vector", "leave it as it is")
    kernel = real(kernel).T if node.get("transpose_b", False) else real(kernel)
    return _activated(g, node, g.linear(x, kernel, _bias(node, parts), at=node.at), parts)


@op("BiasAdd")
def _bias_add(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    node.check_layout()
    return g.affine(x, 1, real(node.constant(1)), at=node.at)


@op("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def _batch_norm(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    node.check_layout()
    refuse(node.at, node.get("is_training", True), "batch normalisation in training", "freeze the model")
    gamma, beta, mean, variance = (real(node.constant(place)) for place in range(1, 5))
    return g.batch_norm(x, gamma, beta, mean, variance, node.needed("epsilon"), at=node.at)


@op("MirrorPad")
def _mirror(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    mode = str(node.needed("mode")).lower()
    refuse(node.at, mode not in ("reflect", "symmetric"), f"padding by {mode!r:.20}", "use reflect or symmetric")
    return x.pad(pairs(node), mode)


@op("ConcatV2")
def _concat(g: GraphBuilder, node: Node, *parts: Any) -> View:
    (axis,) = node.integers(-1)
    return patterns.concat(g, node.at, parts[:-1], axis)


@op("AddN")
def _sum(g: GraphBuilder, node: Node, total: Any, *others: Any) -> Any:
    for i, other in enumerate(others, start=1):
        total = patterns.add(g, node.at if i == len(others) else f"{node.at}/{i}", total, other)
    return total


@op("Cast")
def _cast(g: GraphBuilder, node: Node, x: View) -> View:
    wanted = node.get("DstT")
    refuse(node.at, wanted not in REAL, f"a cast to {wanted}", "leave values real")
    return x


OPERATIONS |= {
    "GatherV2": lambda g, node, x, *_: gathered(node, x, node.integers(2)[0]),
    "Reciprocal": lambda g, node, x: patterns.power(g, node.at, x, -1),
    "StopGradient": SHARED["Identity"],
}
