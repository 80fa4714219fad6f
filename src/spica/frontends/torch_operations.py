"""What PyTorch's operations become: nothing where they only move elements, layers where they compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.frontends.builder import Builder
from spica.frontends.view import View, heads_of, image, whole
from spica.layers import (
    Activation,
    Add,
    Attention,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gelu,
    GlobalAveragePooling2D,
    LayerNormalization,
    MaxPool,
    MaxPool2D,
    ReLU,
    Reshape,
    Scale,
    Softmax,
    Take,
    TokenEmbedding,
    ZeroPad,
)
from spica.network import Layer

HINTS = {
    "silu": "use ReLU or GELU",
    "hardswish": "use ReLU or GELU",
    "leaky_relu": "use ReLU",
    "sigmoid": "leave it out; apply it to the network's output",
    "avg_pool2d": "use AdaptiveAvgPool2d(1) or a strided convolution",
    "_native_batch_norm_legit": "keep running statistics: BatchNorm2d(track_running_stats=True)",
    "bmm": "call MultiheadAttention with need_weights=False; give products of your own heads (N, heads, T, C)",
    "conv1d": "write it as a Conv2d on an image of height 1",
    "gru": "hardware has no layer for its products of gates; take what comes before it, and leave it to the host",
    "lstm": "hardware has no layer for its products of gates; take what comes before it, and leave it to the host",
}
"""What to use instead of some operations that hardware does not have."""


@dataclass(frozen=True)
class Scores:
    """Products of queries and keys ``(N, heads, T, T)``, times a factor; ``soft`` once a softmax went over them."""

    queries: View
    keys: View
    factor: float
    soft: bool = False


class Graph(Builder):
    """Collects records; brings views into the forms that layers read."""

    def image(self, where: str, x: Any) -> View:
        if not isinstance(x, View) or not x.is_image():
            raise SpicaError(f"{where}: reads an image (N, C, H, W), but its input is none")
        return x

    def narrowed(self, where: str, x: View) -> View:
        """The view of a tensor that holds no more tokens than it needs."""
        if len(x.shape) != 2:
            return x
        tokens, channels = x.shape
        used = np.unique(x.positions // channels)
        if len(used) == tokens:
            return x
        start, stop = int(used[0]), int(used[-1]) + 1
        if len(used) != stop - start:
            raise SpicaError(f"{where}: reads tokens that do not follow one another; take a range of them")
        taken: list[Layer] = [Take(name=f"{where}/take", inputs=(x.tensor,), axis=0, start=start, stop=stop)]
        shape: tuple[int, ...] = (stop - start, channels)
        if stop - start == 1:
            taken.append(Flatten(name=f"{where}/flatten", inputs=(taken[0].name,)))
            shape = (channels,)
        sample, place = np.divmod(x.numbers, x.size)
        return View(self.add(taken), shape, sample * prod(shape) + place - start * channels)

    def tokens(self, where: str, x: Any) -> View:
        """The view as tokens ``(N, T, C)``, where it is tokens or an image whose pixels became tokens."""
        if isinstance(x, View) and len(x.shape) == 3 and x.numbers.ndim == 3:
            shape = (x.shape[0] * x.shape[1], x.shape[2])
            x = x.to(self.add([Reshape(name=f"{where}/tokens", inputs=(x.tensor,), shape=shape)]), shape)
        return x

    def channels(self, tensor: str, start: int, width: int) -> str:
        """Tokens with only some of their channels: where a layer has weights, those that make them."""
        if width == self.types[tensor].channels:
            return tensor
        part, layer = slice(start, start + width), next(r for r in self.layers if r.name == tensor)
        name = f"{tensor}/{start // width}"
        if isinstance(layer, Dense):
            bias = None if layer.bias is None else layer.bias[part]
            return self.add([replace(layer, name=name, kernel=layer.kernel[:, part], bias=bias)])
        if isinstance(layer, Scale):
            source = self.channels(layer.inputs[0], start, width)
            cut = replace(layer, name=name, inputs=(source,), scale=layer.scale[part], offset=layer.offset[part])
            return self.add([cut])
        return self.add([Take(name=name, inputs=(tensor,), axis=1, start=start, stop=start + width)])

    def each(self, x: View, layer: Layer) -> View:
        """The view of a layer that changes every value where it is."""
        return x.to(self.add([layer]), x.shape)


def _refuse(where: str, bad: bool, what: str, fix: str) -> None:
    if bad:
        raise SpicaError(f"{where}: {what} is not supported; {fix}")


# -- what only moves elements, on arrays of numbers ----------------------------------------------------------------


def _reshape(x: NDArray, *shape: Any) -> NDArray:
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], list) else shape
    return x.reshape([int(s) for s in sizes])


def _flatten(x: NDArray, start: int = 0, stop: int = -1) -> NDArray:
    start, stop = start % x.ndim, stop % x.ndim
    return x.reshape(*x.shape[:start], -1, *x.shape[stop + 1 :])


def _unflatten(x: NDArray, axis: int, sizes: list[int]) -> NDArray:
    axis %= x.ndim
    return x.reshape(*x.shape[:axis], *sizes, *x.shape[axis + 1 :])


def _expand(x: NDArray, sizes: list[int], implicit: bool = False) -> NDArray:
    known = (1,) * (len(sizes) - x.ndim) + x.shape
    return np.broadcast_to(x, [k if s == -1 else s for s, k in zip(sizes, known)])


def _squeeze(x: NDArray, axis: Any = None) -> NDArray:
    axes = range(x.ndim) if axis is None else axis if isinstance(axis, list) else [axis]
    return x.squeeze(tuple(a % x.ndim for a in axes if x.shape[a] == 1))


def _slice(x: NDArray, axis: int = 0, start: int | None = None, stop: int | None = None, step: int = 1) -> NDArray:
    return x[(slice(None),) * (axis % x.ndim) + (slice(start, stop, step),)]


def _unbind(x: NDArray, axis: int = 0) -> list[NDArray]:
    return list(np.moveaxis(x, axis, 0))


def _split(x: NDArray, size: Any, axis: int = 0) -> list[NDArray]:
    ends = np.cumsum(size) if isinstance(size, list) else np.arange(size, x.shape[axis] + size, size)
    return np.split(x, ends[:-1], axis)


def _chunk(x: NDArray, count: int, axis: int = 0) -> list[NDArray]:
    return _split(x, -(-x.shape[axis] // count), axis)


MOVES: dict[str, Callable[..., Any]] = {
    "_unsafe_view": _reshape,
    "chunk": _chunk,
    "expand": _expand,
    "flatten": _flatten,
    "mT": lambda x: np.swapaxes(x, -1, -2),
    "numpy_T": lambda x: x.T,
    "permute": lambda x, axes: x.transpose(axes),
    "reshape": _reshape,
    "select": lambda x, axis, i: np.take(x, i, axis),
    "slice": _slice,
    "split": _split,
    "split_with_sizes": _split,
    "squeeze": _squeeze,
    "t": lambda x: x.T,
    "transpose": lambda x, a, b: np.swapaxes(x, a, b),
    "unbind": _unbind,
    "unflatten": _unflatten,
    "unsqueeze": lambda x, axis: np.expand_dims(x, axis),
    "view": _reshape,
}

IDENTITIES = {
    "_assert_tensor_metadata", "alias", "clone", "contiguous", "detach", "dropout", "feature_dropout",
    "lift_fresh_copy",
}  # fmt: skip
"""What does nothing at inference."""


# -- one function for each operation: (graph, where, its arguments as PyTorch has them) -> view ------------------------


def _pair(value: Any) -> tuple[int, int]:
    values = list(value) if isinstance(value, list | tuple) else [value]
    return (int(values[0]), int(values[-1]))


def _padding(padding: Any) -> str | tuple[tuple[int, int], tuple[int, int]]:
    if isinstance(padding, str):
        return padding
    rows, columns = _pair(padding)
    return ((rows, rows), (columns, columns)) if rows or columns else "valid"


def _conv2d(
    g: Graph,
    where: str,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> View:
    x = g.image(where, x)
    filters, _, kh, kw = weight.shape
    depthwise = groups == x.shape[-1] and filters == groups
    _refuse(where, set(_pair(dilation)) != {1}, f"dilation {dilation}", "use dilation 1")
    _refuse(where, groups != 1 and not depthwise, f"a convolution in {groups} groups", "use 1 group, or one a channel")
    parts: dict[str, Any] = {"name": where, "inputs": (x.tensor,), "bias": bias}
    parts |= {"strides": _pair(stride), "padding": _padding(padding)}
    if isinstance(padding, str) and padding == "same":  # PyTorch's has the odd zero after, as TensorFlow's at stride 1
        parts["padding"] = tuple(((k - 1) // 2, k // 2) for k in (kh, kw))
    if depthwise:
        made: Layer = DepthwiseConv2D(kernel=np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0)), **parts)
    else:
        made = Conv2D(kernel=np.ascontiguousarray(weight.transpose(2, 3, 1, 0)), **parts)
    name = g.add([made])
    return image(name, g.types[name].shape, x.numbers.shape[0])


def _linear(g: Graph, where: str, x: View, weight: NDArray, bias: Any = None) -> View:
    x = g.narrowed(where, x)
    rows, order = x.rows(), x.flat_order()
    kernel, filters = np.ascontiguousarray(weight.T), len(weight)
    if rows is not None:
        if len(x.shape) == 3:  # on every pixel: a 1x1 convolution
            made: Layer = Conv2D(name=where, inputs=(x.tensor,), kernel=kernel[None, None], bias=bias)
        else:
            made = Dense(name=where, inputs=(x.tensor,), kernel=kernel, bias=bias)
        numbers = rows[..., None] * filters + np.arange(filters)
        return x.to(g.add([made]), (*x.shape[:-1], filters), numbers)
    if order is None:
        raise SpicaError(
            f"{where}: reads parts of a tensor that are no rows of its channels; give it whole tokens or images"
        )
    placed = np.empty_like(kernel)
    placed[order] = kernel
    flat = Flatten(name=f"{where}/flatten", inputs=(x.tensor,))
    samples = (x.numbers // x.size)[..., :1]
    name = g.add([flat, Dense(name=where, inputs=(flat.name,), kernel=placed, bias=bias)])
    return View(name, (filters,), samples * filters + np.arange(filters))


def _cast(g: Graph, where: str, x: View, *, dtype: Any = None, **_: Any) -> View:
    whole_numbers = dtype is not None and not dtype.is_floating_point
    _refuse(where, whole_numbers, f"a tensor of {dtype}", "leave values real; quantisation rounds them")
    return x


def _batch_norm(
    g: Graph,
    where: str,
    x: View,
    gamma: Any,
    beta: Any,
    mean: NDArray,
    variance: NDArray,
    momentum: float = 0.1,
    epsilon: float = 1e-5,
) -> list[View]:
    scale = (1 if gamma is None else gamma) / np.sqrt(variance + np.float32(epsilon))
    offset = (0 if beta is None else beta) - mean * scale
    axes = (1, -1, *[1] * (x.numbers.ndim - 2))
    return [_affine(g, where, x, scale.reshape(axes), offset.reshape(axes))]


def _affine(g: Graph, where: str, x: View, scale: Any, offset: Any) -> View:
    """``x * scale + offset``, each of which spreads over the elements of ``x``."""
    x = g.narrowed(where, g.tokens(where, x))
    factors = [_by_place(x, where, np.asarray(v, np.float32), without) for v, without in ((scale, 1), (offset, 0))]
    if all((f == f[0]).all() for f in factors):
        return g.each(x, Scale(name=where, inputs=(x.tensor,), scale=factors[0][0], offset=factors[1][0]))
    _refuse(where, (factors[0] != 1).any() or len(x.shape) != 2, "a factor for every place", "use one a channel")
    return g.each(x, TokenEmbedding(name=where, inputs=(x.tensor,), class_token=False, constants=factors[1]))


def _by_place(x: View, where: str, values: NDArray, without: float) -> NDArray[np.float32]:
    """Values that spread over the elements of ``x``, by row of channels ``(rows, C)`` of its tensor.

    What the view leaves out has the value ``without``.
    """
    try:
        spread = np.broadcast_to(values, x.numbers.shape)
    except ValueError:
        raise SpicaError(f"{where}: values of shape {values.shape} do not spread over {x.numbers.shape}") from None
    placed = np.full(x.size, without, np.float32)
    placed[x.positions] = spread
    _refuse(where, not np.array_equal(placed[x.positions], spread), "another value for each sample", "use one for all")
    return placed.reshape(-1, x.shape[-1])


def _add(g: Graph, where: str, x: Any, y: Any, *, alpha: float = 1) -> View:
    _refuse(where, alpha != 1, f"a sum with alpha {alpha}", "scale what is added")
    if isinstance(x, View) and isinstance(y, View):
        x, y = (g.narrowed(where, g.tokens(where, view)) for view in (x, y))
        if x.shape != y.shape or not np.array_equal(x.numbers, y.numbers):
            raise SpicaError(
                f"{where}: adds tensors whose axes are in different orders; bring them in the same order before"
            )
        return g.each(x, Add(name=where, inputs=(x.tensor, y.tensor)))
    view, constant = (x, y) if isinstance(x, View) else (y, x)
    return _affine(g, where, view, 1, constant)


def _sub(g: Graph, where: str, x: Any, y: Any, *, alpha: float = 1) -> View:
    both = isinstance(x, View) and isinstance(y, View)
    _refuse(where, both or alpha != 1, "a difference of two tensors", "use a sum")
    return _affine(g, where, x, 1, -np.asarray(y)) if isinstance(x, View) else _affine(g, where, y, -1, x)


def _mul(g: Graph, where: str, x: Any, y: Any) -> Any:
    value, factor = (x, y) if isinstance(x, View | Scores) else (y, x)
    _refuse(where, isinstance(factor, View | Scores), "a product of two tensors", "use layers with weights")
    if isinstance(value, Scores):
        _refuse(where, value.soft or np.size(factor) != 1, "a product after softmax", "leave it out")
        return replace(value, factor=value.factor * float(factor))
    return _affine(g, where, value, factor, 0)


def _div(g: Graph, where: str, x: Any, y: Any) -> Any:
    _refuse(where, isinstance(y, View | Scores), "a quotient of two tensors", "use layers with weights")
    return _mul(g, where, x, 1 / np.asarray(y, np.float32))


def _relu(g: Graph, where: str, x: View, low: float = 0, high: float | None = None) -> View:
    _refuse(where, low != 0, f"a clamp from {low}", "use a ReLU")
    bound = None if high is None or np.isinf(high) else np.array(high, np.float32)
    return g.each(x, Activation(name=where, inputs=(x.tensor,), function=ReLU(max_value=bound)))


def _gelu(g: Graph, where: str, x: View, approximate: str = "none") -> View:
    _refuse(where, approximate != "none", "a GELU by tanh", 'use GELU(approximate="none") and train a little on')
    return g.each(x, Gelu(name=where, inputs=(x.tensor,)))


def _softmax(g: Graph, where: str, x: Any, axis: int, *_: Any) -> Any:
    if isinstance(x, Scores):
        _refuse(where, axis not in (-1, 3), "a softmax over queries", "let it run over keys")
        return replace(x, soft=True)
    last = axis in (-1, x.numbers.ndim - 1) and x.rows() is not None
    _refuse(where, not last, f"a softmax along axis {axis}", "use the channels")
    return g.each(x, Softmax(name=where, inputs=(x.tensor,)))


def _layer_norm(
    g: Graph,
    where: str,
    x: View,
    shape: list[int],
    gamma: Any = None,
    beta: Any = None,
    epsilon: float = 1e-5,
    *_: Any,
) -> View:
    x = g.narrowed(where, g.tokens(where, x))
    _refuse(
        where,
        len(shape) != 1 or x.rows() is None,
        "normalisation of more than channels",
        "normalise the channels of tokens",
    )
    channels, tokens = x.shape[-1], x
    if len(x.shape) == 1:  # a vector is one token
        tokens = x.to(g.add([Reshape(name=f"{where}/token", inputs=(x.tensor,), shape=(1, channels))]), (1, channels))
    gamma = np.ones(channels, np.float32) if gamma is None else gamma
    beta = np.zeros(channels, np.float32) if beta is None else beta
    made = g.each(
        tokens, LayerNormalization(name=where, inputs=(tokens.tensor,), gamma=gamma, beta=beta, epsilon=epsilon)
    )
    if len(x.shape) > 1:
        return made
    return made.to(g.add([Flatten(name=f"{where}/flatten", inputs=(made.tensor,))]), x.shape)


def _max_pool(
    g: Graph,
    where: str,
    x: Any,
    size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil: bool = False,
) -> View:
    x = g.image(where, x)
    _refuse(where, set(_pair(dilation)) != {1} or ceil, "pooling with dilation or ceil_mode", "leave them out")
    pool = MaxPool(size=_pair(size), strides=_pair(stride or size), padding=_padding(padding))
    name = g.add([MaxPool2D(name=where, inputs=(x.tensor,), pool=pool)])
    return image(name, g.types[name].shape, x.numbers.shape[0])


def _average(g: Graph, where: str, x: View) -> View:
    """Mean over an image: ``(N, C)``."""
    made = GlobalAveragePooling2D(name=where, inputs=(x.tensor,))
    return whole(g.add([made]), x.shape[-1:], x.numbers.shape[0])


def _adaptive_pool(g: Graph, where: str, x: Any, size: Any) -> View:
    x = g.image(where, x)
    if _pair(size) == x.shape[:2]:
        return x
    _refuse(
        where, _pair(size) != (1, 1), f"average pooling to {_pair(size)}", "pool to 1, or use a strided convolution"
    )
    return _average(g, where, x).arranged(lambda numbers: numbers[:, :, None, None])


def _avg_pool(g: Graph, where: str, x: Any, size: Any, stride: Any = None, padding: Any = 0, *_: Any) -> View:
    x = g.image(where, x)
    part = _pair(size) != x.shape[:2] or any(_pair(padding))
    _refuse(where, part, "average pooling over part of an image", HINTS["avg_pool2d"])
    return _adaptive_pool(g, where, x, 1)


def _mean(g: Graph, where: str, x: View, axes: Any = None, keep: bool = False, **_: Any) -> View:
    x = g.tokens(where, x)
    chosen = (
        sorted(a % x.numbers.ndim for a in (axes if isinstance(axes, list) else [axes])) if axes is not None else []
    )
    if x.is_image() and chosen == [2, 3]:
        return _average(g, where, x).arranged(lambda numbers: numbers[:, :, None, None] if keep else numbers)
    if x.is_whole() and len(x.shape) == 2 and chosen == [1]:
        row = Reshape(name=f"{where}/row", inputs=(x.tensor,), shape=(1, *x.shape))
        pooled = _average(g, where, x.to(g.add([row]), (1, *x.shape)))
        return pooled.arranged(lambda numbers: numbers[:, None] if keep else numbers)
    raise SpicaError(f"{where}: a mean over axes {axes} is not supported; average whole images, or all tokens")


def _cat(g: Graph, where: str, parts: list[Any], axis: int = 0) -> View:
    views = [part for part in parts if isinstance(part, View)]
    if len(views) == len(parts):
        images = all(view.is_image() for view in views) and axis in (1, -3)
        plain = all(view.is_whole() for view in views) and axis in (-1, views[0].numbers.ndim - 1)
        _refuse(where, not images and not plain, f"concatenation along axis {axis}", "concatenate channels")
        name = g.add([Concatenate(name=where, inputs=tuple(view.tensor for view in views))])
        return (image if images else whole)(name, g.types[name].shape, len(views[0].numbers))
    x = g.tokens(where, views[0])
    first = parts[0] if isinstance(parts[0], np.ndarray) else np.zeros(0)
    token = (
        len(parts) == 2
        and x.is_whole()
        and len(x.shape) == 2
        and axis in (1, -2)
        and first.shape[1:] == (1, x.shape[1])
    )
    _refuse(
        where,
        not token or (first != first[:1]).any(),
        "concatenation with constants",
        "put one token before the others",
    )
    constants = np.zeros((x.shape[0] + 1, x.shape[1]), np.float32)
    constants[0] = first[0, 0]
    made = TokenEmbedding(name=where, inputs=(x.tensor,), class_token=True, constants=constants)
    return whole(g.add([made]), constants.shape, len(x.numbers))


def _pad(g: Graph, where: str, x: Any, sizes: list[int], mode: Any = "constant", value: Any = None) -> View:
    x = g.image(where, x)
    constant, fill = (True, mode) if not isinstance(mode, str) else (mode == "constant", value)
    _refuse(
        where,
        not constant or bool(fill) or len(sizes) > 4 or min(sizes) < 0,
        "padding other than by zeros",
        "pad with zeros",
    )
    left, right, top, bottom = [*sizes, 0, 0][:4]
    name = g.add([ZeroPad(name=where, inputs=(x.tensor,), padding=((top, bottom), (left, right)))])
    return image(name, g.types[name].shape, x.numbers.shape[0])


# -- attention, given as one operation or as its parts ----------------------------------------------------------------


def _attention(
    g: Graph,
    where: str,
    q: View,
    k: View,
    v: View,
    mask: Any = None,
    dropout: float = 0.0,
    causal: bool = False,
    *,
    scale: float | None = None,
    **_: Any,
) -> View:
    _refuse(where, mask is not None or causal, "attention with a mask", "let every token attend to all")
    heads = heads_of(q)
    if heads is None:
        raise SpicaError(
            f"{where}: its queries are no heads (N, heads, T, C) of tokens (N, T, C); use batch_first=True"
        )
    n, tokens, width = len(q.numbers), q.shape[0], heads.width
    each, parts = width // heads.heads, []
    for view in (q, k, v):
        found = heads_of(view)
        if found is None or (found.heads, found.width, view.shape[0]) != (heads.heads, width, tokens):
            raise SpicaError(f"{where}: queries, keys and values are not of the same tokens, heads and widths")
        parts.append(g.channels(view.tensor, found.start, width))
    usual = 1 / np.sqrt(each)
    if scale is not None and not np.isclose(scale, usual, rtol=1e-6):
        factor = np.full(width, scale / usual, np.float32)
        parts[0] = g.add([Scale(name=f"{where}/scale", inputs=(parts[0],), scale=factor, offset=np.zeros_like(factor))])
    mixed = whole(g.add([Attention(name=where, inputs=tuple(parts), heads=heads.heads)]), (tokens, width), n)
    return mixed.arranged(lambda numbers: numbers.reshape(n, tokens, heads.heads, each).transpose(0, 2, 1, 3))


def _matmul(g: Graph, where: str, x: Any, y: Any) -> Any:
    if isinstance(x, Scores) and x.soft and isinstance(y, View):
        return _attention(g, where, x.queries, x.keys, y, scale=x.factor)
    if isinstance(x, View) and isinstance(y, View):
        keys = y.arranged(lambda numbers: np.swapaxes(numbers, -1, -2))
        if heads_of(x) is not None and heads_of(keys) is not None:
            return Scores(x, keys, 1.0)
    if isinstance(x, View) and isinstance(y, np.ndarray) and y.ndim == 2:
        return _linear(g, where, x, y.T)
    raise SpicaError(f"{where}: a product of these tensors is not supported; use linear layers and attention of heads")


CONVERTERS: dict[str, Callable[..., Any]] = {
    "_to_copy": _cast,
    "_adaptive_avg_pool2d": _adaptive_pool,
    "adaptive_avg_pool2d": _adaptive_pool,
    "add": _add,
    "avg_pool2d": _avg_pool,
    "_native_batch_norm_legit_no_training": _batch_norm,
    "cat": _cat,
    "clamp": lambda g, where, x, low=-np.inf, high=None: _relu(g, where, x, low, high),
    "clamp_min": _relu,
    "conv2d": _conv2d,
    "constant_pad_nd": _pad,
    "div": _div,
    "gelu": _gelu,
    "hardtanh": lambda g, where, x, low=-1, high=1: _relu(g, where, x, low, high),
    "layer_norm": _layer_norm,
    "linear": _linear,
    "matmul": _matmul,
    "max_pool2d": _max_pool,
    "mean": _mean,
    "mul": _mul,
    "native_dropout": lambda g, where, x, *_: [x],
    "pad": _pad,
    "relu": _relu,
    "relu6": lambda g, where, x: _relu(g, where, x, 0, 6),
    "scaled_dot_product_attention": _attention,
    "softmax": _softmax,
    "sub": _sub,
}
