"""Integers that stand for real numbers: QDQ pairs and QLinear operations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.frontends.onnx.node import OPERATIONS, Node, op, real
from spica.frontends.ops import GraphBuilder
from spica.frontends.view import View
from spica.layers import Activation


def dequantized(values: Any, scale: Any, zero: Any, axis: int = 1) -> NDArray[np.float32]:
    """Return the real numbers of integers, with one scale or one for each place of an axis."""
    integers, scale = np.asarray(values).astype(np.float64), np.asarray(scale, np.float64)
    zero = np.zeros_like(scale) if zero is None else np.asarray(zero, np.float64)
    if scale.size > 1:
        spread = [1] * integers.ndim
        spread[axis] = -1
        scale, zero = scale.reshape(spread), zero.reshape(spread)
    return np.asarray((integers - zero) * scale, np.float32)


@op("QuantizeLinear")
def _quantize(g: GraphBuilder, node: Node, x: View, scale: Any = None, zero: Any = None, *_: Any) -> View:
    """Return the real numbers, without what is below the smallest integer where that is zero: a ReLU."""
    if zero is None or np.asarray(zero).dtype.kind not in "iu":
        return x
    zero = np.asarray(zero)
    rectified = zero.size == 1 and int(zero.item()) == np.iinfo(zero.dtype).min
    done = isinstance(g.layer(x.tensor), Activation)
    return g.clip(x, at=f"{node.at}/relu") if rectified and not done else x


def _integer(read: str, reals: Sequence[tuple[int, int, int]], out: int) -> Callable[..., View]:
    """Return a reader of a QLinear operation: as ``read`` of real numbers, then what its output's integers hold.

    Args:
        read: the operation of real numbers.
        reals: places of each tensor, its scale and its zero.
        out: place of the output's scale.
    """

    def turned(g: GraphBuilder, node: Node, *inputs: Any) -> View:
        values = []
        for place, scale, zero in reals:
            value = inputs[place]
            axis = 0 if read == "Conv" else -1
            values.append(value if isinstance(value, View) else dequantized(value, inputs[scale], inputs[zero], axis))
        if read == "Conv" and len(inputs) > 8 and inputs[8] is not None:
            values.append(real(np.asarray(inputs[8], np.float64) * np.asarray(inputs[1]) * np.asarray(inputs[4])))
        plain = Node(node.proto, node.at, values, node.opset, node.batch)
        plain.asked = node.asked
        made = OPERATIONS[read](g, plain, *values)
        return _quantize(g, node, made, inputs[out], inputs[out + 1])

    return turned


OPERATIONS |= {
    "DequantizeLinear": lambda g, node, x, *_: x,
    "QLinearAdd": _integer("Add", [(0, 1, 2), (3, 4, 5)], 6),
    "QLinearConv": _integer("Conv", [(0, 1, 2), (3, 4, 5)], 6),
    "QLinearGlobalAveragePool": _integer("GlobalAveragePool", [(0, 1, 2)], 3),
    "QLinearMatMul": _integer("MatMul", [(0, 1, 2), (3, 4, 5)], 6),
    "QLinearMul": _integer("Mul", [(0, 1, 2), (3, 4, 5)], 6),
}
