"""ONNX' spellings of what changes each value: arithmetic and activations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from spica.frontends import patterns
from spica.frontends.onnx.node import OPERATIONS, Node, op, real
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.view import View


def _named(name: str, *options: tuple[str, float]) -> Callable[..., View]:
    """Return a reader of an activation, given its attributes and their values where left out."""
    return lambda g, node, x, *_: g.function(x, name, *(node.get(o, value) for o, value in options), at=node.at)


@op("Clip")
def _clip(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    low, high = (node.given(name, place) for name, place in (("min", 1), ("max", 2)))
    low, high = (None if end is None or abs(float(end)) > 1e37 else float(end) for end in (low, high))
    return g.clip(x, low, high, at=node.at)


@op("PRelu")
def _prelu(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    return g.leaky_relu(x, real(node.constant(1)), at=node.at)


@op("Pow")
def _power(g: GraphBuilder, node: Node, x: Any, *_: Any) -> Any:
    exponent = node.constant(1)
    refuse(node.at, exponent.size != 1, "several exponents", "use one for all")
    return patterns.power(g, node.at, x, float(exponent.item()))


@op("Gelu", "FastGelu", "QuickGelu")
def _gelu(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    if node.proto.op_type == "QuickGelu":
        return g.function(x, "silu", node.get("alpha", 1.702), at=node.at)
    by_tanh = node.get("approximate", "none") == "tanh" or node.proto.op_type == "FastGelu"
    return g.function(x, "gelu_tanh" if by_tanh else "gelu", at=node.at)


@op("Softmax", "LogSoftmax")
def _softmax(g: GraphBuilder, node: Node, x: Any) -> Any:
    axis, log = node.get("axis", -1 if node.opset > 12 else 1), node.proto.op_type != "Softmax"
    if isinstance(x, patterns.Scores):
        return patterns.softmax(g, node.at, x, axis)
    if node.opset < 13 and axis % x.numbers.ndim < x.numbers.ndim - 1:  # over all axes from there on
        flat = g.softmax(g.whole(x.flatten(axis), f"{node.at}/flat"), log=log, at=node.at)
        return flat.reshape(x.numbers.shape)
    return g.softmax(x, axis, log=log, at=node.at)


def _dropout(g: GraphBuilder, node: Node, x: View, *_: Any) -> list[View]:
    training = node.given("training_mode", 2)
    refuse(node.at, training is not None and bool(np.any(training)), "dropout in training", "export in evaluation")
    return [x]


OPERATIONS |= {
    "Abs": _named("abs"),
    "Add": lambda g, node, x, y: patterns.add(g, node.at, x, y),
    "Celu": _named("celu", ("alpha", 1.0)),
    "Div": lambda g, node, x, y: patterns.divide(g, node.at, x, y),
    "Dropout": _dropout,
    "Elu": _named("elu", ("alpha", 1.0)),
    "Erf": _named("erf"),
    "Exp": _named("exp"),
    "HardSigmoid": _named("hard_sigmoid", ("alpha", 0.2), ("beta", 0.5)),
    "HardSwish": _named("hard_silu"),
    "Identity": lambda g, node, x: x,
    "LeakyRelu": lambda g, node, x: g.leaky_relu(x, node.get("alpha", 0.01), at=node.at),
    "Max": lambda g, node, *inputs: patterns.bound(g, node.at, inputs, low=True),
    "Min": lambda g, node, *inputs: patterns.bound(g, node.at, inputs, low=False),
    "Mish": _named("mish"),
    "Mul": lambda g, node, x, y: patterns.multiply(g, node.at, x, y),
    "Neg": lambda g, node, x: g.affine(x, -1, 0, at=node.at),
    "Reciprocal": lambda g, node, x: patterns.power(g, node.at, x, -1),
    "Relu": lambda g, node, x: g.clip(x, at=node.at),
    "Selu": _named("selu"),
    "Sigmoid": _named("sigmoid"),
    "Softplus": _named("softplus"),
    "Softsign": _named("softsign"),
    "Sqrt": lambda g, node, x: patterns.power(g, node.at, x, 0.5),
    "Sub": lambda g, node, x, y: patterns.subtract(g, node.at, x, y),
    "Swish": _named("silu", ("alpha", 1.0)),
    "Tanh": _named("tanh"),
    "Transpose": lambda g, node, x: x.permute(node.get("perm")),
}
