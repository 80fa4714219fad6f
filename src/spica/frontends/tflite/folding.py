"""Operations of TensorFlow Lite on constants: shapes that converters leave to be worked out, and few others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spica.errors import SpicaError
from spica.frontends.tflite.operations import Node, ranges
from spica.network.types import check_size


def _strided(node: Node, x: Any, *_: Any) -> Any:
    taken, dropped = ranges(node, np.shape(x))
    return np.squeeze(np.asarray(x)[tuple(taken)], axis=tuple(dropped))


def _filled(node: Node, sizes: Any, value: Any) -> Any:
    check_size(tuple(int(n) for n in np.asarray(sizes)), node.at)
    return np.full(np.asarray(sizes), value)


FOLDED: dict[str, Callable[..., Any]] = {
    "ADD": lambda node, x, y: np.add(x, y),
    "CAST": lambda node, x: x,
    "CONCATENATION": lambda node, *parts: np.concatenate(parts, node.get("Axis", 0)),
    "DEQUANTIZE": lambda node, x: x,
    "DIV": lambda node, x, y: np.divide(x, y),
    "EXPAND_DIMS": lambda node, x, axis: np.expand_dims(x, int(np.asarray(axis).item())),
    "FILL": _filled,
    "GATHER": lambda node, x, places: np.take(x, places, node.get("Axis", 0)),
    "MUL": lambda node, x, y: np.multiply(x, y),
    "PACK": lambda node, *parts: np.stack(parts, node.get("Axis", 0)),
    "QUANTIZE": lambda node, x: x,
    "REDUCE_PROD": lambda node, x, axes: np.prod(x, tuple(np.atleast_1d(axes))),
    "RESHAPE": lambda node, x, *sizes: np.reshape(x, sizes[0] if sizes else node.get("NewShapeAsNumpy")),
    "RSQRT": lambda node, x: 1 / np.sqrt(x),
    "SHAPE": lambda node, x: np.array(np.shape(x), np.int32),
    "SQRT": lambda node, x: np.sqrt(x),
    "SQUEEZE": lambda node, x: np.squeeze(x),
    "STRIDED_SLICE": _strided,
    "SUB": lambda node, x, y: np.subtract(x, y),
    "TRANSPOSE": lambda node, x, order: np.transpose(x, order),
}


def folded(node: Node) -> Any:
    """Return what an operation makes of constants.

    Raises:
        SpicaError: for one that is not among these.
    """
    if node.kind not in FOLDED:
        raise SpicaError(
            f"{node.at}: {node.kind} of constants is not supported; convert the model with constants folded"
        )
    return np.asarray(FOLDED[node.kind](node, *node.inputs))
