"""Operations that a framework gives in parts, put together again: attention, and normalisation of channels.

Sources whose graphs hold plain arithmetic (PyTorch, ONNX, TFLite) call these instead of the builder's own sums and
products. A half-done operation is a ``Part``: it stands for a tensor, but no layer has it until it is complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from spica.errors import SpicaError
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.view import BATCH, View, same


class Part:
    """A half-done operation; ``half`` says of what in messages."""

    half = ""

    def completed(self, g: GraphBuilder, at: str) -> View:
        """Return its value as a tensor, for an operation outside the pattern.

        Raises:
            SpicaError: where no layer computes that.
        """
        raise SpicaError(f"{at}: cannot follow {self.half}; use the framework's own")


class Unread(Part):
    """A result of an operation that no layer gives: refused as soon as something reads it."""

    def __init__(self, half: str) -> None:
        self.half = half


@dataclass(frozen=True)
class Scores(Part):
    """Products of queries and keys ``(N, heads, T, T)``, times a factor; ``soft`` once a softmax went over them.

    ``joined`` where the source has ``(N * heads, T, T)``.
    """

    queries: View
    keys: View
    factor: float
    soft: bool = False
    joined: bool = False
    half = "scores, half of attention"

    def completed(self, g: GraphBuilder, at: str) -> View:
        """Return the scores themselves, which only a host computes."""
        made = g.matmul(self.queries, self.keys.transpose(-1, -2), at=f"{at}/scores")
        made = made if self.factor == 1 else g.affine(made, self.factor, 0, at=f"{at}/factor")
        made = g.softmax(made, at=f"{at}/softmax") if self.soft else made
        return made.flatten(0, 1) if self.joined else made


@dataclass(frozen=True)
class Moment(Part):
    """Something on the way to layer normalisation of ``x`` along one axis.

    ``stage`` is "mean", "centred" (``x`` less the mean), "squares" (of that), "variance", "deviation" (its root, after
    ``epsilon`` was added), or "inverse" (one over that).
    """

    x: View
    axis: int
    stage: str
    epsilon: float = 0.0

    @property
    def half(self) -> str:  # type: ignore[override]
        """Name it in messages."""
        return f"the {self.stage} of channels, part of a layer normalisation"

    def is_of(self, x: Any) -> bool:
        """Return whether it is of a tensor."""
        return isinstance(x, View) and x.tensor == self.x.tensor and same(x.numbers, self.x.numbers)

    def completed(self, g: GraphBuilder, at: str) -> View:
        """Return a mean, or values less their mean; nothing else is a tensor of any layer."""
        if self.stage not in ("mean", "centred"):
            return super().completed(g, at)
        mean = g.mean(self.x, [self.axis], keep=True, at=f"{at}/mean")
        return mean if self.stage == "mean" else g.add(self.x, g.affine(mean, -1, 0, at=f"{at}/negative"), at=at)

    def normalised(self, g: GraphBuilder, at: str) -> View:
        """Return the layer normalisation that it is the deviation of."""
        axis = self.axis % self.x.numbers.ndim
        order = [*(a for a in range(self.x.numbers.ndim) if a != axis), axis]
        made = g.layer_norm(self.x.permute(order), None, None, self.epsilon, at=at)
        return made.permute(np.argsort(order).tolist())


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
    value, constant = (x, y) if isinstance(x, View | Part) else (y, x)
    if isinstance(value, Moment) and value.stage == "variance" and np.size(constant) == 1:
        return replace(value, epsilon=value.epsilon + float(np.asarray(constant).item()))
    x, y = (_whole(g, v, at) for v in (value, constant))
    return g.add(x, y, at=at) if isinstance(y, View) else g.affine(x, 1, y, at=at)


def subtract(g: GraphBuilder, at: str, x: Any, y: Any) -> Any:
    """Subtract two tensors, or a tensor and a constant."""
    if isinstance(y, Moment) and y.stage == "mean" and y.is_of(x):
        return replace(y, stage="centred")
    if isinstance(y, View | Part):
        return add(g, at, x, g.affine(_whole(g, y, at), -1, 0, at=f"{at}/negative"))
    return g.affine(_whole(g, x, at), 1, -np.asarray(y), at=at)


def multiply(g: GraphBuilder, at: str, x: Any, y: Any) -> Any:
    """Multiply two tensors, or a tensor and a constant; scores of attention by one number."""
    value, factor = (x, y) if isinstance(x, View | Part) else (y, x)
    if isinstance(x, Moment) and isinstance(y, Moment) and x.is_of(y.x):
        if (x.stage, y.stage) == ("centred", "centred"):
            return replace(x, stage="squares")
        if {x.stage, y.stage} == {"centred", "inverse"}:
            return (x if x.stage == "inverse" else y).normalised(g, at)
    if not isinstance(value, Scores) or isinstance(factor, View | Part):
        x, y = _whole(g, value, at), _whole(g, factor, at)
        return g.multiply(x, y, at=at) if isinstance(y, View) else g.affine(x, y, 0, at=at)
    refuse(at, np.size(factor) != 1, "several factors for scores", "use one for all")
    refuse(at, value.soft, "a product after softmax", "leave it out")
    return replace(value, factor=value.factor * float(np.asarray(factor).item()))


def divide(g: GraphBuilder, at: str, x: Any, y: Any) -> Any:
    """Divide by a constant, or by a tensor, whose reciprocal is an activation of its own."""
    if isinstance(y, View | Part):
        return multiply(g, at, x, power(g, f"{at}/reciprocal", y, -1))
    return multiply(g, at, x, 1 / np.asarray(y, np.float32))


def power(g: GraphBuilder, at: str, x: Any, exponent: float) -> Any:
    """Raise a tensor to a power."""
    after = {("centred", 2): "squares", ("variance", 0.5): "deviation", ("variance", -0.5): "inverse",
             ("deviation", -1): "inverse"}  # fmt: skip
    if isinstance(x, Moment) and (x.stage, exponent) in after:
        return replace(x, stage=after[x.stage, exponent])
    return g.function(_whole(g, x, at), "power", float(exponent), at=at)


def mean(g: GraphBuilder, at: str, x: Any, axes: Sequence[int], keep: bool = False) -> Any:
    """Take a mean, which over one axis that is kept may be that of a layer normalisation."""
    if isinstance(x, Moment) and x.stage == "squares" and keep and _axis(x.x, axes) == x.axis:
        return replace(x, stage="variance")
    x = _whole(g, x, at)
    axis = _axis(x, axes)
    return Moment(x, axis, "mean") if keep and axis else g.mean(x, axes, keep, at=at)


def _axis(x: View, axes: Sequence[int]) -> int | None:
    """Return the one axis, counted from 0, that is meant; ``None`` where there are several."""
    return axes[0] % x.numbers.ndim if len(axes) == 1 else None


def bound(g: GraphBuilder, at: str, inputs: Sequence[Any], low: bool) -> View:
    """Hold a tensor above one number, or below it where ``low`` is false: a maximum or minimum of the two."""
    views = [value for value in inputs if isinstance(value, View)]
    others = [np.asarray(value) for value in inputs if not isinstance(value, View)]
    bad = len(views) != 1 or len(others) != 1 or others[0].size != 1
    refuse(at, bad, "a minimum or maximum of tensors", "compare with one number")
    end = float(others[0].item())
    return g.clip(views[0], end, at=at) if low else g.clip(views[0], None, end, at=at)


def concat(g: GraphBuilder, at: str, parts: Sequence[Any], axis: int) -> View:
    """Put tensors side by side; of constants, one token before all others is taken."""
    views = [part for part in parts if isinstance(part, View)]
    if len(views) == len(parts):
        return g.concat(views, axis, at=at)
    other = len(parts) != 2 or len(views) != 1 or parts[1] is not views[0]
    refuse(at, other, "concatenation with constants", "put one token before the others")
    return g.class_token(views[0], np.asarray(parts[0], np.float32), axis, at=at)


def take(at: str, x: View, places: Any, axis: int) -> View:
    """Return places of an axis in the shape of ``places``: without the axis where that is one number."""
    places, length = np.asarray(places), x.numbers.shape[axis]
    refuse(at, bool((places < -length).any() or (places >= length).any()), "places that are not there", "check it")
    if places.ndim == 0:
        return x.select(axis, int(places))
    axis %= x.numbers.ndim
    return x.index_select(axis, places.reshape(-1).tolist()).unflatten(axis, places.shape)


def softmax(g: GraphBuilder, at: str, x: Any, axis: int) -> Any:
    """Apply a softmax to scores, over the keys, or to channels."""
    if not isinstance(x, Scores):
        return g.softmax(_whole(g, x, at), axis, at=at)
    refuse(at, axis not in (-1, 2 if x.joined else 3), "a softmax over queries", "let it run over keys")
    return replace(x, soft=True)


def matmul(g: GraphBuilder, at: str, x: Any, y: Any) -> Any:
    """Multiply a tensor by a matrix, queries by keys, or scores by values."""
    if isinstance(x, Scores) and x.soft and isinstance(y, View):
        mixed = attention(g, at, x.queries, x.keys, _in_heads(y), x.factor)
        return mixed.flatten(0, 1) if x.joined else mixed
    if isinstance(x, View) and isinstance(y, View):
        queries, keys = _in_heads(x), _in_heads(y.transpose(-1, -2))
        if heads_of(queries) is not None and heads_of(keys) is not None:
            return Scores(queries, keys, 1.0, joined=x.numbers.ndim == 3)
    if isinstance(x, View) and isinstance(y, np.ndarray) and y.ndim == 2:
        return g.linear(x, y, at=at)
    x, y = _whole(g, x, at), _whole(g, y, at)
    both = isinstance(x, View) and isinstance(y, View)
    refuse(at, not both, "a product of these tensors", "use linear layers and attention of heads")
    return g.matmul(x, y, at=at)


def _in_heads(x: View) -> View:
    """Return ``(N * heads, T, channels of a head)`` as ``(N, heads, T, channels of a head)``."""
    return x.unflatten(0, (BATCH, -1)) if x.numbers.ndim == 3 and x.batch_axis() == (0, 1) else x


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


def _whole(g: GraphBuilder, value: Any, at: str) -> Any:
    return value.completed(g, at) if isinstance(value, Part) else value
