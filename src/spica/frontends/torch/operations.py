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
        "chunk", "expand", "flatten", "flip", "permute", "pixel_shuffle", "pixel_unshuffle", "reshape", "roll",
        "select", "slice", "split", "squeeze", "transpose", "unbind", "unflatten", "unsqueeze",
    )
} | {
    "_unsafe_view": View.reshape, "mT": View.transpose, "numpy_T": View.permute, "split_with_sizes": View.split,
    "t": View.permute, "view": View.reshape,
    "channel_shuffle": lambda x, groups: x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2),
    "index_select": View.index_select,
    "native_channel_shuffle": lambda x, groups: x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2),
    "narrow": lambda x, axis, start, length: x.slice(axis, start, start + length),
    "repeat_interleave": lambda x, n, axis: x.index_select(axis, np.repeat(np.arange(x.numbers.shape[axis]), n)),
    "tensor_split": lambda x, parts, axis=0: [x._of(n) for n in np.array_split(x.numbers, parts, axis)],
}  # fmt: skip
"""Operations that only move elements."""

IDENTITIES = {
    "_assert_tensor_metadata", "alias", "alpha_dropout", "clone", "contiguous", "detach", "dropout",
    "feature_dropout", "lift_fresh_copy", "positive",
}  # fmt: skip
"""Operations that do nothing at inference."""

SEVERAL = {"_assert_tensor_metadata", "add", "addcmul", "bmm", "cat", "div", "getitem", "matmul", "mean", "mul", "pow",
           "rsqrt", "rsub", "scaled_dot_product_attention", "softmax", "sqrt", "square", "stack", "sub"}  # fmt: skip
"""Operations that may read several tensors, one that is not the first argument, or half-done attention."""


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


def on_rows(read: Callable[..., View]) -> Callable[..., View]:
    """Return a reader of signals ``(N, C, L)``, given one of images with channels last: of one row."""

    def turned(g: GraphBuilder, at: str, x: View, *args: Any, **options: Any) -> View:
        made = read(g, at, x.unsqueeze(2).channels_last(), *args, **options)
        return made.channels_first().squeeze(2)

    return turned


def row(value: Any, rows: int = 1) -> Pair:
    """Return a size along a signal as one of images of one row."""
    return rows, pair(value)[-1]


def along(padding: Any) -> str | Padding:
    """Return padding along a signal as one of images of one row."""
    return padding if isinstance(padding, str) else ((0, 0), (pair(padding)[-1],) * 2)


@op("conv2d")
@on_images
def _conv2d(g: GraphBuilder, at: str, x: View, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> View:
    window = Window(strides=pair(stride), padding=pairs(padding), dilation=pair(dilation))
    return g.conv2d(x, weight.transpose(2, 3, 1, 0), bias, groups, at=at, **window)


@op("conv1d")
@on_rows
def _conv1d(g: GraphBuilder, at: str, x: View, weight, bias=None, stride=1, padding=0, dilation=1, groups=1) -> View:
    window = Window(strides=row(stride), padding=along(padding), dilation=row(dilation))
    return g.conv2d(x, weight.transpose(2, 1, 0)[None], bias, groups, at=at, **window)


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


@op("convolution")
def _convolution(
    g: GraphBuilder, at: str, x: View, weight, bias, stride, padding, dilation, transposed, further, groups
) -> View:
    """Read what scripts call any convolution."""
    if not transposed:
        read = _conv1d if weight.ndim == 3 else _conv2d
        return read(g, at, x, weight, bias, stride, padding, dilation, groups)
    refuse(at, weight.ndim != 4, "a transposed convolution of signals", "use one of images")
    return _conv_transpose2d(g, at, x, weight, bias, stride, padding, further, groups, dilation)


@op("layer_norm")
def _layer_norm(g: GraphBuilder, at: str, x: View, shape, gamma=None, beta=None, epsilon=1e-5, *_) -> View:
    refuse(at, len(shape) != 1, "normalisation of more than channels", "normalise the channels of tokens")
    return g.layer_norm(x, gamma, beta, epsilon, at=at)


@op("max_pool2d")
@on_images
def _max_pool(g: GraphBuilder, at: str, x: View, size, stride=None, padding=0, dilation=1, ceil=False) -> View:
    refuse(at, pair(dilation) != (1, 1), "pooling with dilation", "leave it out")
    return g.max_pool(x, pair(size), pair(stride or size), pairs(padding), ceil, at=at)


@op("max_pool1d")
@on_rows
def _max_pool1d(g: GraphBuilder, at: str, x: View, size, stride=None, padding=0, dilation=1, ceil=False) -> View:
    refuse(at, pair(dilation) != (1, 1), "pooling with dilation", "leave it out")
    return g.max_pool(x, row(size), row(stride or size), along(padding), ceil, at=at)


@op("avg_pool2d")
@on_images
def _average_pool(
    g: GraphBuilder, at: str, x: View, size, stride=None, padding=0, ceil=False, counts=True, divisor=None
) -> View:
    refuse(at, divisor is not None, "divisor_override", "scale the result")
    return g.average_pool(x, pair(size), pair(stride or size), pairs(padding), ceil, counts_padding=counts, at=at)


@op("avg_pool1d")
@on_rows
def _average_pool1d(g: GraphBuilder, at: str, x: View, size, stride=None, padding=0, ceil=False, counts=True) -> View:
    return g.average_pool(x, row(size), row(stride or size), along(padding), ceil, counts_padding=counts, at=at)


@op("_adaptive_avg_pool2d", "adaptive_avg_pool2d")
@on_images
def _adaptive_pool(g: GraphBuilder, at: str, x: View, size) -> View:
    rows, columns = size if isinstance(size, list | tuple) else (size, size)
    return g.adaptive_average_pool(x, (rows or x.sizes[0], columns or x.sizes[1]), at=at)


@op("adaptive_avg_pool1d")
@on_rows
def _adaptive_pool1d(g: GraphBuilder, at: str, x: View, size) -> View:
    return g.adaptive_average_pool(x, row(size), at=at)


@op("adaptive_max_pool2d")
def _adaptive_max(g: GraphBuilder, at: str, x: View, size) -> list[View]:
    refuse(at, pair(size) != (1, 1), f"maximum pooling to {pair(size)}", "pool to 1, or by windows")
    return [g.global_max_pool(x.channels_last(), at=at).channels_first()]


@op("amax")
def _maximum(g: GraphBuilder, at: str, x: View, axes=(), keep=False) -> View:
    places = list(range(2, x.numbers.ndim))
    wanted = sorted(a % x.numbers.ndim for a in (axes if isinstance(axes, list | tuple) else [axes]))
    refuse(at, wanted != places or len(places) != 2, f"a maximum over axes {axes}", "use that of whole images")
    made = g.global_max_pool(x.channels_last(), at=at).channels_first()
    return made if keep else made.flatten(1)


@op("mean")
def _mean(g: GraphBuilder, at: str, x: View, axes=None, keep=False, **_) -> View:
    every = list(range(x.numbers.ndim)) if axes is None else []
    return patterns.mean(g, at, x, every if axes is None else axes if isinstance(axes, list) else [axes], keep)


@op("sum")
def _sum(g: GraphBuilder, at: str, x: View, axes=None, keep=False, **_) -> View:
    axes = list(range(1, x.numbers.ndim)) if axes is None else axes if isinstance(axes, list) else [axes]
    return g.sum(x, axes, keep, at=at)


@op("stack")
def _stack(g: GraphBuilder, at: str, parts: list[Any], axis=0) -> View:
    refuse(at, not all(isinstance(part, View) for part in parts), "a stack with constants", "stack tensors")
    return g.concat([part.unsqueeze(axis) for part in parts], axis, at=at)


@op("cat")
def _cat(g: GraphBuilder, at: str, parts: list[Any], axis=0) -> View:
    return patterns.concat(g, at, parts, axis)


@op("constant_pad_nd", "pad")
def _pad(g: GraphBuilder, at: str, x: View, sizes, mode="constant", value=None) -> View:
    mode, fill = (mode, value) if isinstance(mode, str) else ("constant", mode)
    widths = [(0, 0)] * x.numbers.ndim
    for axis, width in enumerate(zip(sizes[::2], sizes[1::2]), 1):
        widths[-axis] = width
    return g.pad_axes(x, widths, fill or 0, {"replicate": "edge", "circular": "wrap"}.get(mode, mode), at=at)


@op("reflection_pad1d", "reflection_pad2d")
def _reflect(g: GraphBuilder, at: str, x: View, sizes) -> View:
    return _pad(g, at, x, sizes, "reflect")


@op("replication_pad1d", "replication_pad2d")
def _replicate(g: GraphBuilder, at: str, x: View, sizes) -> View:
    return _pad(g, at, x, sizes, "edge")


@op("upsample_nearest2d")
@on_images
def _nearest(g: GraphBuilder, at: str, x: View, size, *scales) -> View:
    return g.upsample(x, _factors(at, x, size, scales), at=at)


@op("upsample_bilinear2d")
@on_images
def _bilinear(g: GraphBuilder, at: str, x: View, size, aligned=False, *scales) -> View:
    refuse(at, aligned, "up-sampling with align_corners", "train with align_corners=False")
    return g.upsample(x, _factors(at, x, size, scales), bilinear=True, at=at)


@op("upsample_nearest1d")
@on_rows
def _nearest1d(g: GraphBuilder, at: str, x: View, size, *scales) -> View:
    (factors,) = (scale for scale in scales if scale is not None) if size is None else ([size[0] / x.sizes[1]],)
    return g.upsample(x, _factors(at, x, None, ([1, np.atleast_1d(factors)[-1]],)), at=at)


def _factors(at: str, x: View, size: Any, scales: Any) -> Pair:
    """Return by how much an image is enlarged, given its new size or factors as PyTorch has them."""
    if size is not None:
        found = [want / have for want, have in zip(size, x.sizes)]
    else:
        given = [scale for scale in scales if scale is not None]
        found = list(given[0]) if isinstance(given[0], list | tuple) else given
    uneven = any(factor != int(factor) or factor < 1 for factor in found)
    refuse(at, uneven, f"up-sampling by {tuple(found)}", "enlarge by whole numbers")
    return int(found[0]), int(found[-1])


@op("prelu")
def _prelu(g: GraphBuilder, at: str, x: View, slopes) -> View:
    return g.leaky_relu(x, slopes.reshape(-1, *[1] * (x.numbers.ndim - 2)), at=at)


@op("group_norm")
def _group_norm(g: GraphBuilder, at: str, x: View, groups, gamma=None, beta=None, epsilon=1e-5, *_) -> View:
    last = x.permute((0, *range(2, x.numbers.ndim), 1))
    made = g.group_norm(last, groups, gamma, beta, epsilon, at=at)
    return made.permute((0, made.numbers.ndim - 1, *range(1, made.numbers.ndim - 1)))


@op("instance_norm")
def _instance_norm(
    g: GraphBuilder, at: str, x: View, gamma, beta, mean, variance, by_input, momentum, epsilon, *_
) -> View:
    refuse(at, not by_input, "instance_norm with running statistics", "leave track_running_stats out")
    return _group_norm(g, at, x, x.sizes[0], gamma, beta, epsilon)


@op("pow")
def _power(g: GraphBuilder, at: str, x: View, exponent) -> View:
    refuse(at, np.size(exponent) != 1, "several exponents", "use one for all")
    return patterns.power(g, at, x, float(exponent))


@op("_to_copy")
def _cast(g: GraphBuilder, at: str, x: View, *, dtype=None, **_) -> View:
    whole_numbers = dtype is not None and not dtype.is_floating_point
    refuse(at, whole_numbers, f"a tensor of {dtype}", "leave values real; quantisation rounds them")
    return x


@op("new_zeros")
def _zeros(g: GraphBuilder, at: str, x: View, sizes, **_) -> Any:
    import torch

    return torch.zeros(sizes)  # a constant: only its type is that of the tensor


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


def _named(name: str) -> Callable[..., View]:
    """Return a reader of an activation whose parameters are in the same order as those of ours."""
    return lambda g, at, x, *parameters: g.function(x, name, *parameters, at=at)


def _elu(g: GraphBuilder, at: str, x: View, alpha=1, scale=1, input_scale=1) -> View:
    if scale == 1 and input_scale == 1:
        return g.function(x, "elu", alpha, at=at)
    return g.affine(g.function(x, "elu", alpha, at=at), scale, 0, at=f"{at}/scale")


def _sum_of_product(g: GraphBuilder, at: str, x: Any, y: Any, z: Any, *, value: float = 1) -> Any:
    product = patterns.multiply(g, f"{at}/product", y, z)
    return patterns.add(g, at, x, product if value == 1 else patterns.multiply(g, f"{at}/value", product, value))


OPERATIONS |= {
    "_native_batch_norm_legit_no_training": lambda g, at, x, gamma, beta, mean, variance, momentum, epsilon: [
        g.batch_norm(x.channels_last(), gamma, beta, mean, variance, epsilon, at=at).channels_first()
    ],
    "abs": _named("abs"),
    "add": _plain(patterns.add),
    "addcmul": _sum_of_product,
    "bmm": patterns.matmul,
    "celu": _named("celu"),
    "clamp": lambda g, at, x, low=None, high=None: g.clip(x, low, high, at=at),
    "clamp_max": lambda g, at, x, high: g.clip(x, None, high, at=at),
    "clamp_min": lambda g, at, x, low: g.clip(x, low, at=at),
    "div": patterns.divide,
    "elu": _elu,
    "erf": _named("erf"),
    "exp": _named("exp"),
    "gelu": lambda g, at, x, approximate="none": g.function(x, "gelu" if approximate == "none" else "gelu_tanh", at=at),
    "hardshrink": _named("hard_shrink"),
    "hardsigmoid": _named("hard_sigmoid"),
    "hardswish": _named("hard_silu"),
    "hardtanh": lambda g, at, x, low=-1, high=1: g.clip(x, low, high, at=at),
    "leaky_relu": lambda g, at, x, slope=0.01: g.leaky_relu(x, slope, at=at),
    "linear": lambda g, at, x, weight, bias=None: g.linear(x, weight.T, bias, at=at),
    "log_sigmoid": _named("log_sigmoid"),
    "log_softmax": lambda g, at, x, axis, *_: g.softmax(x, axis, log=True, at=at),
    "matmul": patterns.matmul,
    "mish": _named("mish"),
    "mul": patterns.multiply,
    "native_dropout": lambda g, at, x, *_: [x],
    "neg": lambda g, at, x: g.affine(x, -1, 0, at=at),
    "reciprocal": lambda g, at, x: g.function(x, "power", -1, at=at),
    "relu": lambda g, at, x: g.clip(x, at=at),
    "relu6": lambda g, at, x: g.clip(x, 0, 6, at=at),
    "rsqrt": lambda g, at, x: patterns.power(g, at, x, -0.5),
    "rsub": _plain(lambda g, at, x, y: patterns.subtract(g, at, y, x)),
    "selu": _named("selu"),
    "sigmoid": _named("sigmoid"),
    "silu": _named("silu"),
    "softmax": lambda g, at, x, axis, *_: patterns.softmax(g, at, x, axis),
    "softplus": lambda g, at, x, slope=1, threshold=20: g.function(x, "softplus", slope, at=at),
    "softshrink": _named("soft_shrink"),
    "sqrt": lambda g, at, x: patterns.power(g, at, x, 0.5),
    "square": lambda g, at, x: patterns.power(g, at, x, 2),
    "sub": _plain(patterns.subtract),
    "tanh": _named("tanh"),
    "threshold": _named("threshold"),
}
