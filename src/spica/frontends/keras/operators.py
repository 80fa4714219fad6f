"""Keras' operators, ``x / 255 - 1`` or ``keras.ops.relu(x)``, which a functional model holds beside its layers.

One function for each, of (graph, name, the operation, its arguments): views, numbers and arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spica.frontends import patterns
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.registry import Operations
from spica.frontends.view import BATCH, View

op = OPERATORS = Operations("Keras operation")

OWN = {"name"}
"""Attributes of an operation that are no options of it."""


def options_of(operation: Any) -> dict[str, Any]:
    """Return the options that an operation was made with."""
    return {name: value for name, value in vars(operation).items() if not name.startswith("_") and name not in OWN}


def _sum_like(read: Callable[..., Any]) -> Callable[..., Any]:
    return lambda g, at, operation, x, y: read(g, at, x, y)


def _function(name: str, *options: str) -> Callable[..., View]:
    """Return a reader of an activation, given which attributes of the operation are its parameters."""
    return lambda g, at, operation, x: g.function(x, name, *(float(getattr(operation, o)) for o in options), at=at)


def _power(g: GraphBuilder, at: str, operation: Any, x: View, exponent: Any) -> View:
    refuse(at, isinstance(exponent, View) or np.size(exponent) != 1, "this power", "use one number as the exponent")
    return g.function(x, "power", float(np.asarray(exponent).item()), at=at)


def _reduced(g: GraphBuilder, at: str, operation: Any, x: View) -> View:
    axis = operation.axis
    axes = range(1, x.numbers.ndim) if axis is None else axis if isinstance(axis, list | tuple) else [axis]
    return g.mean(x, list(axes), operation.keepdims, at=at)


def _clip(g: GraphBuilder, at: str, operation: Any, x: View, *_: Any) -> View:
    return g.clip(x, float(operation.x_min), float(operation.x_max), at=at)


@op("Concatenate")
def _concatenate(g: GraphBuilder, at: str, operation: Any, parts: list[View]) -> View:
    return g.concat(parts, operation.axis, at=at)


@op("Pad")
def _pad(g: GraphBuilder, at: str, operation: Any, x: View, *_: Any) -> View:
    widths = [tuple(pair) for pair in operation.pad_width]
    image = len(widths) == x.numbers.ndim == 4 and widths[0] == widths[3] == (0, 0)
    refuse(at, not image or operation.mode == "symmetric", "this padding", "pad rows and columns of images")
    return g.pad(x, (widths[1], widths[2]), mode=operation.mode, at=at)


OPERATORS |= {
    "Absolute": _function("abs"),
    "Add": _sum_like(patterns.add),
    "Clip": _clip,
    "Divide": _sum_like(patterns.divide),
    "Elu": _function("elu", "alpha"),
    "ExpandDims": lambda g, at, operation, x, *_: x.unsqueeze(operation.axis),
    "Flip": lambda g, at, operation, x: x.flip(np.atleast_1d(operation.axis).tolist()),
    "Gelu": lambda g, at, operation, x: g.function(x, "gelu_tanh" if operation.approximate else "gelu", at=at),
    "HardSigmoid": _function("hard_sigmoid"),
    "HardSilu": _function("hard_silu"),
    "HardTanh": lambda g, at, operation, x: g.clip(x, -1, 1, at=at),
    "LeakyRelu": _function("leaky_relu", "negative_slope"),
    "LogSoftmax": lambda g, at, operation, x: g.softmax(x, operation.axis, log=True, at=at),
    "Matmul": _sum_like(patterns.matmul),
    "Maximum": lambda g, at, operation, *inputs: patterns.bound(g, at, inputs, low=True),
    "Mean": _reduced,
    "Minimum": lambda g, at, operation, *inputs: patterns.bound(g, at, inputs, low=False),
    "Multiply": _sum_like(patterns.multiply),
    "Negative": lambda g, at, operation, x: g.affine(x, -1, 0, at=at),
    "Power": _power,
    "Relu": lambda g, at, operation, x: g.clip(x, at=at),
    "Relu6": lambda g, at, operation, x: g.clip(x, 0, 6, at=at),
    "Reshape": lambda g, at, operation, x, *_: x.reshape((BATCH, *operation.newshape[1:])).named(at),
    "Selu": _function("selu"),
    "Sigmoid": _function("sigmoid"),
    "Silu": _function("silu"),
    "Softmax": lambda g, at, operation, x: patterns.softmax(g, at, x, operation.axis),
    "Softplus": _function("softplus"),
    "Softsign": _function("softsign"),
    "Sqrt": lambda g, at, operation, x: g.function(x, "power", 0.5, at=at),
    "Square": lambda g, at, operation, x: g.function(x, "power", 2, at=at),
    "Squeeze": lambda g, at, operation, x: x.squeeze(operation.axis),
    "Subtract": _sum_like(patterns.subtract),
    "Swapaxes": lambda g, at, operation, x: x.transpose(operation.axis1, operation.axis2),
    "Tanh": _function("tanh"),
    "Transpose": lambda g, at, operation, x: x.permute(operation.axes),
    "TrueDivide": _sum_like(patterns.divide),
}
