"""Operations of TensorFlow on constants: shapes that converters leave to be worked out, and few others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spica.errors import SpicaError
from spica.frontends.tensorflow.node import Node
from spica.frontends.tensorflow.operations import index
from spica.network.types import check_size

MOST_FOLDED = 1 << 29
"""Bytes of all constants that are computed."""


def _each(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of two constants, value by value, which is refused where they spread too far."""

    def made(node: Node, x: Any, y: Any) -> Any:
        check_size(np.broadcast_shapes(np.shape(x), np.shape(y)), node.at)
        return function(x, y)

    return made


def _sum(node: Node, *parts: Any) -> Any:
    return np.sum(np.stack(parts), axis=0)


def _filled(node: Node, sizes: Any, value: Any) -> Any:
    check_size(tuple(int(n) for n in np.asarray(sizes)), node.at)
    return np.full(np.asarray(sizes), value)


def _tiled(node: Node, x: Any, times: Any) -> Any:
    check_size(tuple(int(n) * int(t) for n, t in zip(np.shape(x), times)), node.at)
    return np.tile(x, times)


def _range(node: Node, start: Any, stop: Any, step: Any) -> Any:
    check_size((int(abs((np.asarray(stop, float) - start) / step)),), node.at)
    return np.asarray(np.arange(start, stop, step), np.asarray(start).dtype)


def _slice(node: Node, x: Any, starts: Any, sizes: Any) -> Any:
    return np.asarray(x)[tuple(slice(s, None if n == -1 else s + n) for s, n in zip(starts, sizes))]


def _squeezed(node: Node, x: Any) -> Any:
    return np.squeeze(x, tuple(node.get("squeeze_dims", ())) or None)


FOLDED: dict[str, Callable[..., Any]] = {
    "Add": _each(np.add),
    "AddN": _sum,
    "AddV2": _each(np.add),
    "ExpandDims": lambda node, x, axis: np.expand_dims(x, int(np.asarray(axis).item())),
    "Fill": _filled,
    "FloorDiv": _each(np.floor_divide),
    "FloorMod": _each(np.mod),
    "Identity": lambda node, x: x,
    "Maximum": _each(np.maximum),
    "Minimum": _each(np.minimum),
    "Mul": _each(np.multiply),
    "Neg": lambda node, x: np.negative(x),
    "Pack": lambda node, *parts: np.stack(parts, node.get("axis", 0)),
    "Prod": lambda node, x, axes: np.prod(x, tuple(np.atleast_1d(axes)), keepdims=bool(node.get("keep_dims", False))),
    "Range": _range,
    "RealDiv": _each(np.divide),
    "Reshape": lambda node, x, sizes: np.reshape(x, sizes),
    "Rsqrt": lambda node, x: 1 / np.sqrt(x),
    "Shape": lambda node, x: np.array(np.shape(x), np.int32),
    "Size": lambda node, x: np.array(np.size(x), np.int32),
    "Slice": _slice,
    "Sqrt": lambda node, x: np.sqrt(x),
    "Squeeze": _squeezed,
    "StridedSlice": lambda node, x, *_: np.asarray(x)[index(node, np.shape(x))],
    "Sub": _each(np.subtract),
    "Tile": _tiled,
    "Transpose": lambda node, x, order: np.transpose(x, order),
    "Unpack": lambda node, x: list(np.moveaxis(np.asarray(x), node.get("axis", 0), 0)),
}
"""Those that both formats have in the same words; ``Node.folds`` has the others."""


def folded(node: Node, name: str) -> Any:
    """Return what an operation makes of constants: an array, or a list of several.

    Raises:
        SpicaError: for one that is not among these.
    """
    compute = node.folds.get(node.kind) or FOLDED.get(name)
    if compute is None:
        raise SpicaError(
            f"{node.at}: {node.kind} of constants is not supported; convert the model with constants folded"
        )
    with np.errstate(all="ignore"):
        made = compute(node, *node.inputs)
    return [np.asarray(part) for part in made] if isinstance(made, list) else np.asarray(made)
