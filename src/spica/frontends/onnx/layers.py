"""ONNX' spellings of layers: convolutions, products with matrices, normalisation, pooling, attention's parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spica.frontends import patterns
from spica.frontends.onnx.node import Node, op, pair, real
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.ops.weighted import Window
from spica.frontends.view import View
from spica.semantics.primitives import Padding


def amounts(node: Node, axes: int) -> str | Padding:
    """Return the padding of a window that moves along ``axes`` axes."""
    auto = node.get("auto_pad", "NOTSET")
    if auto == "VALID":
        return "valid"
    if auto == "SAME_UPPER":
        return "same"
    refuse(node.at, auto != "NOTSET", f"auto_pad {auto}", "give the amounts")
    pads = list(node.get("pads") or [0] * 2 * axes)
    sides = [(pads[i], pads[i + axes]) for i in range(axes)]
    return (sides[0], sides[1]) if axes == 2 else ((0, 0), sides[0])


def on_images(read: Callable[..., View]) -> Callable[..., View]:
    """Return a reader of channels first, given one of images with channels last; signals are images of one row."""

    def turned(g: GraphBuilder, node: Node, x: View, *rest: Any) -> View:
        axes = x.numbers.ndim - 2
        refuse(node.at, axes not in (1, 2), f"{node.proto.op_type} of volumes or vectors", "use images (N, C, H, W)")
        image = x if axes == 2 else x.unsqueeze(2)
        made = read(g, node, axes, image.channels_last(), *rest).channels_first()
        return made if axes == 2 else made.squeeze(2)

    return turned


def window(node: Node, axes: int) -> Window:
    """Return how a convolution moves."""
    ones = [1] * axes
    strides, dilation = pair(node.get("strides", ones)), pair(node.get("dilations", ones))
    return Window(strides=strides, padding=amounts(node, axes), dilation=dilation)


@op("Conv")
def _conv(g: GraphBuilder, node: Node, x: View, *rest: Any) -> View:
    return _convolved(g, node, x, real(node.constant(1)), None if len(rest) < 2 else node.constant(2))


@on_images
def _convolved(g: GraphBuilder, node: Node, axes: int, x: View, kernel: Any, bias: Any = None) -> View:
    kernel = kernel if axes == 2 else kernel[:, :, None]
    bias = None if bias is None or bias.ndim == 0 else real(bias)
    return g.conv2d(x, kernel.transpose(2, 3, 1, 0), bias, node.get("group", 1), at=node.at, **window(node, axes))


@op("ConvTranspose")
def _transposed(g: GraphBuilder, node: Node, x: View, *rest: Any) -> View:
    refuse(node.at, node.get("output_shape") is not None, "output_shape", "give pads and output_padding")
    return _spread(g, node, x, real(node.constant(1)), None if len(rest) < 2 else node.constant(2))


@on_images
def _spread(g: GraphBuilder, node: Node, axes: int, x: View, kernel: Any, bias: Any) -> View:
    kernel, groups, moves = kernel if axes == 2 else kernel[:, :, None], node.get("group", 1), window(node, axes)
    _, each, kh, kw = kernel.shape  # (C, F / groups, kh, kw)
    grouped = kernel.reshape(groups, -1, each, kh, kw).transpose(3, 4, 1, 0, 2)
    if isinstance(moves["padding"], tuple):
        (top, bottom), (left, right) = moves["padding"]
        down, across = pair(node.get("output_padding") or [0] * axes) if axes == 2 else (
            0, (node.get("output_padding") or [0])[0]
        )  # fmt: skip
        moves["padding"] = ((top, bottom - down), (left, right - across))
    bias = None if bias is None or bias.ndim == 0 else real(bias)
    return g.conv_transpose2d(x, grouped.reshape(kh, kw, -1, each * groups), bias, groups, at=node.at, **moves)


@op("Gemm")
def _gemm(g: GraphBuilder, node: Node, x: View, *rest: Any) -> View:
    kernel = real(node.constant(1))
    kernel = kernel.T if node.get("transB", 0) else kernel
    x = x.transpose() if node.get("transA", 0) else x
    bias, beta = None, node.get("beta", 1.0)
    if len(rest) > 1 and rest[1] is not None:
        bias = np.broadcast_to(real(node.constant(2)) * beta, (1, kernel.shape[1]))[0]
    return g.linear(x, np.float32(node.get("alpha", 1.0)) * kernel, bias, at=node.at)


@op("MatMul")
def _matmul(g: GraphBuilder, node: Node, x: Any, y: Any) -> Any:
    if isinstance(x, np.ndarray) and x.ndim == 2 and isinstance(y, View):
        return g.linear(y.transpose(), real(x).T, at=node.at).transpose()
    if isinstance(y, np.ndarray) and y.ndim > 2 and y.size == np.prod(y.shape[-2:]):
        y = y.reshape(y.shape[-2:])
    return patterns.matmul(g, node.at, x, y if isinstance(y, View | patterns.Part) else real(y))


@op("BatchNormalization")
def _batch_norm(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    refuse(node.at, bool(node.get("training_mode", 0)), "training mode", "export the model in evaluation")
    gamma, beta, mean, variance = (real(node.constant(place)) for place in range(1, 5))
    epsilon = node.get("epsilon", 1e-5)
    return g.batch_norm(x.channels_last(), gamma, beta, mean, variance, epsilon, at=node.at).channels_first()


@op("LayerNormalization")
def _layer_norm(g: GraphBuilder, node: Node, x: View, *rest: Any) -> View:
    axis, sizes = node.get("axis", -1) % x.numbers.ndim, x.numbers.shape
    gamma, beta = (
        real(node.constant(i)).reshape(-1) if i <= len(rest) and rest[i - 1] is not None else None for i in (1, 2)
    )
    made = g.layer_norm(
        x if axis == len(sizes) - 1 else x.flatten(axis), gamma, beta, node.get("epsilon", 1e-5), at=node.at
    )
    return made.reshape(sizes)


@op("InstanceNormalization")
def _instance_norm(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    gamma, beta = real(node.constant(1)), real(node.constant(2))
    return g.group_norm(
        x.channels_last(), len(gamma), gamma, beta, node.get("epsilon", 1e-5), at=node.at
    ).channels_first()


@op("GroupNormalization")
def _group_norm(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    groups, channels = node.get("num_groups"), x.numbers.shape[1]
    gamma, beta = (np.repeat(v, channels // len(v)) for v in (real(node.constant(1)), real(node.constant(2))))
    return g.group_norm(x.channels_last(), groups, gamma, beta, node.get("epsilon", 1e-5), at=node.at).channels_first()


@op("MaxPool")
@on_images
def _max_pool(g: GraphBuilder, node: Node, axes: int, x: View) -> View:
    ones = [1] * axes
    refuse(node.at, set(node.get("dilations", ones)) != {1}, "pooling with dilation", "leave it out")
    size, strides = pair(node.get("kernel_shape")), pair(node.get("strides", ones))
    return g.max_pool(x, size, strides, amounts(node, axes), bool(node.get("ceil_mode", 0)), at=node.at)


@op("AveragePool")
@on_images
def _average_pool(g: GraphBuilder, node: Node, axes: int, x: View) -> View:
    ones = [1] * axes
    refuse(node.at, set(node.get("dilations", ones)) != {1}, "pooling with dilation", "leave it out")
    size, strides, counts = (
        pair(node.get("kernel_shape")),
        pair(node.get("strides", ones)),
        node.get("count_include_pad", 0),
    )
    ceil = bool(node.get("ceil_mode", 0))
    return g.average_pool(x, size, strides, amounts(node, axes), ceil, counts_padding=bool(counts), at=node.at)


@op("GlobalAveragePool")
def _global_average(g: GraphBuilder, node: Node, x: View) -> View:
    return g.mean(x, range(2, x.numbers.ndim), keep=True, at=node.at)


@op("GlobalMaxPool")
@on_images
def _global_max(g: GraphBuilder, node: Node, axes: int, x: View) -> View:
    return g.global_max_pool(x, at=node.at)


def _axes(node: Node, x: View) -> list[int]:
    """Return the axes that a reduction is over."""
    axes = node.given("axes", 1)
    if axes is None or np.size(axes) == 0:
        return list(range(1, x.numbers.ndim))
    return [int(axis) for axis in np.atleast_1d(axes)]


@op("ReduceMean")
def _mean(g: GraphBuilder, node: Node, x: Any, *_: Any) -> Any:
    axes = _axes(node, x.x if isinstance(x, patterns.Moment) else x)
    return patterns.mean(g, node.at, x, axes, bool(node.get("keepdims", 1)))


@op("ReduceSum")
def _sum(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    return g.sum(x, _axes(node, x), bool(node.get("keepdims", 1)), at=node.at)


@op("ReduceMax")
def _maximum_of(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    axes = sorted(axis % x.numbers.ndim for axis in _axes(node, x))
    refuse(node.at, axes != [2, 3], f"a maximum over axes {axes}", "use that of whole images")
    made = g.global_max_pool(x.channels_last(), at=node.at).channels_first()
    return made if node.get("keepdims", 1) else made.flatten(1)
