"""PyTorch's spellings of operations: one function for each, of (graph, name of the layer, PyTorch's own arguments).

PyTorch has channels first: what reads images turns them on the way in and out, which makes no layer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spica.frontends import patterns
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.ops.weighted import Window
from spica.frontends.registry import Operations
from spica.frontends.view import View
from spica.semantics.primitives import Padding, Pair

op = OPERATIONS = Operations("PyTorch's")

MOVES: dict[str, Callable[..., Any]] = {
    name: getattr(View, name)
    for name in (
        "chunk", "expand", "flatten", "permute", "reshape", "select", "slice", "split", "squeeze", "transpose",
        "unbind", "unflatten", "unsqueeze",
    )
} | {
    "_unsafe_view": View.reshape, "mT": View.transpose, "numpy_T": View.permute, "split_with_sizes": View.split,
    "t": View.permute, "view": View.reshape,
}  # fmt: skip
"""Operations that only move elements."""

IDENTITIES = {
    "_assert_tensor_metadata", "alias", "clone", "contiguous", "detach", "dropout", "feature_dropout",
    "lift_fresh_copy",
}  # fmt: skip
"""Operations that do nothing at inference."""

SEVERAL = {"_assert_tensor_metadata", "add", "cat", "div", "getitem", "matmul", "mul", "scaled_dot_product_attention",
           "softmax", "sub"}  # fmt: skip
"""Operations that may read several tensors, one that is not the first argument, or half-done attention and GELU."""


def pair(value: Any) -> Pair:
    """Return a size for both axes as (rows, columns)."""
    values = list(value) if isinstance(value, list | tuple) else [value]
    return (int(values[0]), int(values[-1]))


def pairs(padding: Any) -> str | Padding:
    """Return padding as amounts on both sides of both axes; "same" and "valid" as they are."""
    if isinstance(padding, str):
        return padding
    rows, columns = pair(padding)
    return ((rows, rows), (columns, columns))


def on_images(read: Callable[..., View]) -> Callable[..., View]:
    """Return a reader of channels first, given one of channels last."""

    def turned(g: GraphBuilder, at: str, x: View, *args: Any, **options: Any) -> View:
        return read(g, at, x.channels_last(), *args, **options).channels_first()

    return turned


@op("conv2d")
@on_images
def _conv2d(g: GraphBuilder, at: str, x: View, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> View:
    window = Window(strides=pair(stride), padding=pairs(padding), dilation=pair(dilation))
    return g.conv2d(x, weight.transpose(2, 3, 1, 0), bias, groups, at=at, **window)


@op("conv_transpose2d")
@on_images
def _conv_transpose2d(
    g: GraphBuilder, at: str, x: View, weight, bias=None, stride=1, padding=0, further=0, groups=1, dilation=1
) -> View:
    _, each, kh, kw = weight.shape  # (C, F / groups, kh, kw)
    grouped = weight.reshape(groups, -1, each, kh, kw).transpose(3, 4, 1, 0, 2)
    (rows, columns), (bottom, right) = pair(padding), pair(further)
    crop = ((rows, rows - bottom), (columns, columns - right))
    window = Window(strides=pair(stride), padding=crop, dilation=pair(dilation))
    return g.conv_transpose2d(x, grouped.reshape(kh, kw, -1, each * groups), bias, groups, at=at, **window)


@op("layer_norm")
def _layer_norm(g: GraphBuilder, at: str, x: View, shape, gamma=None, beta=None, epsilon=1e-5, *_) -> View:
    refuse(at, len(shape) != 1, "normalisation of more than channels", "normalise the channels of tokens")
    return g.layer_norm(x, gamma, beta, epsilon, at=at)


@op("max_pool2d")
@on_images
def _max_pool(g: GraphBuilder, at: str, x: View, size, stride=None, padding=0, dilation=1, ceil=False) -> View:
    refuse(at, pair(dilation) != (1, 1) or ceil, "pooling with dilation or ceil_mode", "leave them out")
    return g.max_pool(x, pair(size), pair(stride or size), pairs(padding), at=at)


@op("_adaptive_avg_pool2d", "adaptive_avg_pool2d")
def _adaptive_pool(g: GraphBuilder, at: str, x: View, size) -> View:
    if pair(size) == x.numbers.shape[-2:]:
        return x
    refuse(at, pair(size) != (1, 1), f"average pooling to {pair(size)}", "pool to 1, or use a strided convolution")
    return g.mean(x, (-2, -1), keep=True, at=at)


@op("mean")
def _mean(g: GraphBuilder, at: str, x: View, axes=None, keep=False, **_) -> View:
    every = list(range(x.numbers.ndim))
    return g.mean(x, every if axes is None else axes if isinstance(axes, list) else [axes], keep, at=at)


@op("cat")
def _cat(g: GraphBuilder, at: str, parts: list[Any], axis=0) -> View:
    views = [part for part in parts if isinstance(part, View)]
    if len(views) == len(parts):
        return g.concat(views, axis, at=at)
    other = len(parts) != 2 or len(views) != 1 or parts[1] is not views[0]
    refuse(at, other, "concatenation with constants", "put one token before the others")
    return g.class_token(views[0], np.asarray(parts[0]), axis, at=at)


@op("constant_pad_nd", "pad")
@on_images
def _pad(g: GraphBuilder, at: str, x: View, sizes, mode="constant", value=None) -> View:
    constant, fill = (mode == "constant", value) if isinstance(mode, str) else (True, mode)
    refuse(at, not constant or len(sizes) > 4, "padding other than by zeros", "pad rows and columns with zeros")
    left, right, top, bottom = [*sizes, 0, 0][:4]
    return g.pad(x, ((top, bottom), (left, right)), fill or 0, at=at)


@op("_to_copy")
def _cast(g: GraphBuilder, at: str, x: View, *, dtype=None, **_) -> View:
    whole_numbers = dtype is not None and not dtype.is_floating_point
    refuse(at, whole_numbers, f"a tensor of {dtype}", "leave values real; quantisation rounds them")
    return x


@op("scaled_dot_product_attention")
def _attention(
    g: GraphBuilder, at: str, q: View, k: View, v: View, mask=None, dropout=0.0, causal=False, *, scale=None, **_
) -> View:
    refuse(at, mask is not None or causal, "attention with a mask", "let every token attend to all")
    return patterns.attention(g, at, q, k, v, scale)


def _plain(read: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reader of sums that refuses one that scales what it adds."""

    def checked(g: GraphBuilder, at: str, x: Any, y: Any, *, alpha: float = 1) -> Any:
        refuse(at, alpha != 1, f"a sum with alpha {alpha}", "scale what is added")
        return read(g, at, x, y)

    return checked


OPERATIONS |= {
    "_native_batch_norm_legit_no_training": lambda g, at, x, gamma, beta, mean, variance, momentum, epsilon: [
        g.batch_norm(x.channels_last(), gamma, beta, mean, variance, epsilon, at=at).channels_first()
    ],
    "add": _plain(patterns.add),
    "avg_pool2d": on_images(
        lambda g, at, x, size, stride=None, padding=0, *_: g.average_pool(x, pair(size), pairs(padding), at=at)
    ),
    "clamp": lambda g, at, x, low=None, high=None: g.clip(x, low, high, at=at),
    "clamp_min": lambda g, at, x, low: g.clip(x, low, at=at),
    "div": patterns.divide,
    "erf": patterns.erf,
    "gelu": lambda g, at, x, approximate="none": g.gelu(x, by_tanh=approximate != "none", at=at),
    "hardtanh": lambda g, at, x, low=-1, high=1: g.clip(x, low, high, at=at),
    "linear": lambda g, at, x, weight, bias=None: g.linear(x, weight.T, bias, at=at),
    "matmul": patterns.matmul,
    "mul": patterns.multiply,
    "native_dropout": lambda g, at, x, *_: [x],
    "relu": lambda g, at, x: g.clip(x, at=at),
    "relu6": lambda g, at, x: g.clip(x, 0, 6, at=at),
    "sub": _plain(patterns.subtract),
    "softmax": lambda g, at, x, axis, *_: patterns.softmax(g, at, x, axis),
}
