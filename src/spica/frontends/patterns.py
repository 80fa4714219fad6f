"""Operations that a framework gives in parts, put together again: attention by products, GELU by the error function.

Sources whose graphs hold plain arithmetic (PyTorch, ONNX, TFLite) call these instead of the builder's own sums and
products. A half-done operation is a ``Part``: it stands for a tensor, but no layer has it until it is complete.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from spica.errors import SpicaError
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.view import View, same
from spica.layers import Scale


class Part:
    """A half-done operation; ``half`` says of what in messages."""

    half = ""


@dataclass(frozen=True)
class Scores(Part):
    """Products of queries and keys ``(N, heads, T, T)``, times a factor; ``soft`` once a softmax went over them."""

    queries: View
    keys: View
    factor: float
    soft: bool = False
    half = "scores, half of attention"


@dataclass(frozen=True)
class Gate(Part):
    """The error function of ``x / sqrt(2)``; plus one once ``raised``; times ``x`` once ``applied``; times a factor."""

    x: View
    factor: float = 1
    raised: bool = False
    applied: bool = False
    half = "a gate, half of a GELU"


class Heads(NamedTuple):
    """Queries, keys or values of attention: channels ``[start, start + width)`` of each token, cut into heads."""

    start: int
    width: int
    heads: int


def heads_of(view: View) -> Heads | None:
    """Return what a view ``(N, heads, T, channels of a head)`` of tokens ``(T, C)`` is; None where it is not that."""
    if view.numbers.ndim != 4 or len(view.shape) != 2:
        return None
    _, heads, tokens, each = view.numbers.shape
    start, width = int(view.numbers[0, 0, 0, 0]), heads * each
    if tokens != view.shape[0] or start + width > view.shape[1]:
        return None
    wanted = View.whole("", view.shape).slice(2, start, start + width).unflatten(2, (heads, each)).transpose(1, 2)
    return Heads(start, width, heads) if same(view.numbers, wanted.numbers) else None


def add(g: GraphBuilder, at: str, x: Any, y: Any) -> Any:
    """Add two tensors, or a tensor and a constant."""
    if isinstance(x, View) and isinstance(y, View):
        return g.add(x, y, at=at)
    value, constant = (x, y) if isinstance(x, View | Part) else (y, x)
    if isinstance(value, Gate) and not value.raised and np.all(np.asarray(constant) == value.factor):
        return replace(value, raised=True)
    return g.affine(_whole(value, at), 1, constant, at=at)


def subtract(g: GraphBuilder, at: str, x: Any, y: Any) -> View:
    """Subtract a constant from a tensor, or a tensor from a constant."""
    both = isinstance(x, View | Part) and isinstance(y, View | Part)
    refuse(at, both, "a difference of two tensors", "use a sum")
    if isinstance(x, View | Part):
        return g.affine(_whole(x, at), 1, -np.asarray(y), at=at)
    return g.affine(_whole(y, at), -1, x, at=at)


def multiply(g: GraphBuilder, at: str, x: Any, y: Any) -> Any:
    """Multiply a tensor by a constant, or the two factors of a GELU."""
    if isinstance(x, View) and isinstance(y, Gate):
        x, y = y, x
    if isinstance(x, Gate) and isinstance(y, View):
        return _apply(g, at, x, y)
    value, factor = (x, y) if isinstance(x, View | Part) else (y, x)
    refuse(at, isinstance(factor, View | Part), "a product of two tensors", "use layers with weights")
    if not isinstance(value, Scores | Gate):
        return g.affine(_whole(value, at), factor, 0, at=at)
    refuse(at, np.size(factor) != 1, "several factors for scores or gates", "use one for all")
    refuse(at, isinstance(value, Scores) and value.soft, "a product after softmax", "leave it out")
    return _completed(g, at, replace(value, factor=value.factor * float(np.asarray(factor).item())))


def divide(g: GraphBuilder, at: str, x: Any, y: Any) -> Any:
    """Divide a tensor by a constant."""
    refuse(at, isinstance(y, View | Part), "a quotient of two tensors", "use layers with weights")
    return multiply(g, at, x, 1 / np.asarray(y, np.float32))


def erf(g: GraphBuilder, at: str, x: View) -> Gate:
    """Begin a GELU: the error function of a tensor over the root of two."""
    source, factor = _before_factor(g, x, at)
    refuse(at, not np.isclose(factor, np.sqrt(0.5), rtol=1e-5), "an error function outside a GELU", "use GELU")
    return Gate(source)


def softmax(g: GraphBuilder, at: str, x: Any, axis: int) -> Any:
    """Apply a softmax to scores, over the keys, or to channels."""
    if not isinstance(x, Scores):
        return g.softmax(_whole(x, at), axis, at=at)
    refuse(at, axis not in (-1, 3), "a softmax over queries", "let it run over keys")
    return replace(x, soft=True)


def matmul(g: GraphBuilder, at: str, x: Any, y: Any) -> Any:
    """Multiply a tensor by a matrix, queries by keys, or scores by values."""
    if isinstance(x, Scores) and x.soft and isinstance(y, View):
        return attention(g, at, x.queries, x.keys, y, x.factor)
    if isinstance(x, View) and isinstance(y, View):
        keys = y.transpose(-1, -2)
        if heads_of(x) is not None and heads_of(keys) is not None:
            return Scores(x, keys, 1.0)
    if isinstance(x, View) and isinstance(y, np.ndarray) and y.ndim == 2:
        return g.linear(x, y, at=at)
    raise SpicaError(f"{at}: a product of these tensors is not supported; use linear layers and attention of heads")


def attention(g: GraphBuilder, at: str, q: View, k: View, v: View, scale: float | None = None) -> View:
    """Attend from queries to keys and values, each ``(N, heads, T, channels of a head)``."""
    heads = heads_of(q)
    if heads is None:
        raise SpicaError(f"{at}: its queries are no heads (N, heads, T, C) of tokens (N, T, C); use batch_first=True")
    parts = []
    for view in (q, k, v):
        found = heads_of(view)
        if found is None or (found.heads, found.width, view.shape[0]) != (heads.heads, heads.width, q.shape[0]):
            raise SpicaError(f"{at}: queries, keys and values are not of the same tokens, heads and widths")
        parts.append(g.channels(View.whole(view.tensor, view.shape), found.start, heads.width))
    mixed = g.attention(*parts, heads=heads.heads, scale=scale, at=at)
    return mixed.unflatten(2, (heads.heads, heads.width // heads.heads)).transpose(1, 2)


def _whole(value: Any, at: str) -> View:
    if isinstance(value, Part):
        raise SpicaError(f"{at}: cannot follow {value.half}; use the framework's own attention or GELU")
    return value


def _before_factor(g: GraphBuilder, x: View, at: str) -> tuple[View, float]:
    """Return what a view is one factor times of, and the factor: 1 where no layer with a single factor made it."""
    x = g.tokens(x, at)
    layer = g.layer(x.tensor)
    if not isinstance(layer, Scale) or layer.offset.any() or (layer.scale != layer.scale[0]).any():
        return x, 1.0
    return replace(x, tensor=layer.inputs[0]), float(layer.scale[0])


def _apply(g: GraphBuilder, at: str, gate: Gate, view: View) -> Any:
    view = g.tokens(view, at)
    for source, factor in ((view, 1.0), _before_factor(g, view, at)):  # x itself may be a product
        equal = source.tensor == gate.x.tensor and same(source.numbers, gate.x.numbers)
        if equal and gate.raised and not gate.applied:
            return _completed(g, at, replace(gate, factor=gate.factor * factor, applied=True))
    raise SpicaError(f"{at}: a product of two tensors is not supported; use layers with weights")


def _completed(g: GraphBuilder, at: str, part: Any) -> Any:
    """Return the layer of a part to which nothing is missing any more; else the part."""
    if isinstance(part, Gate) and part.applied and np.isclose(part.factor, 0.5):
        return g.gelu(part.x, at=at)
    return part
