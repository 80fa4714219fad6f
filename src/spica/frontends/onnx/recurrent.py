"""ONNX' spellings of recurrences: LSTM, GRU and RNN."""

from __future__ import annotations

from typing import Any

import numpy as np

from spica.frontends.onnx.node import Node, op, real
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.ops.recurrent import Cell
from spica.frontends.patterns import Unread
from spica.frontends.view import View

ORDERS = {"lstm": (0, 2, 3, 1), "gru": (0, 1, 2), "gru_reset_before": (0, 1, 2), "simple": (0,)}
"""Places of our blocks among ONNX', by cell."""

ACTIVATIONS = {
    "lstm": ("Sigmoid", "Tanh", "Tanh"), "gru": ("Sigmoid", "Tanh"), "gru_reset_before": ("Sigmoid", "Tanh"),
    "simple": ("Tanh",),
}  # fmt: skip
"""Functions that cells have by themselves: of gates first."""

WITHOUT_PARAMETERS = {"relu", "sigmoid", "softplus", "softsign", "tanh"}


@op("LSTM")
def _lstm(g: GraphBuilder, node: Node, x: View, *_: Any) -> list[Any]:
    for place, what in ((6, "a given initial cell state"), (7, "peepholes")):
        refuse(node.at, _given(node, place), what, "leave it out")
    refuse(node.at, bool(node.get("input_forget", 0)), "input_forget", "leave it out")
    return [*_run(g, node, x, "lstm"), Unread("a cell state")]


@op("GRU")
def _gru(g: GraphBuilder, node: Node, x: View, *_: Any) -> list[Any]:
    return _run(g, node, x, "gru" if node.get("linear_before_reset", 0) else "gru_reset_before")


@op("RNN")
def _simple(g: GraphBuilder, node: Node, x: View, *_: Any) -> list[Any]:
    return _run(g, node, x, "simple")


def _given(node: Node, place: int) -> bool:
    """Return whether an input that may be left out, or all zeros, is something else."""
    value = node.inputs[place] if len(node.inputs) > place else None
    return value is not None and (not isinstance(value, np.ndarray) or bool(np.any(value)))


def _run(g: GraphBuilder, node: Node, x: View, cell: str) -> list[Any]:
    """Return all states and the last ones, as ONNX lays them out."""
    steps = x.numbers.shape[1 if node.get("layout", 0) else 0]
    lengths = None if len(node.inputs) < 5 or node.inputs[4] is None else node.constant(4)
    shorter = lengths is not None and bool((lengths != steps).any())
    refuse(node.at, shorter, "sequences of several lengths", "give sequences of one length")
    refuse(node.at, _given(node, 5), "a given initial state", "start from zeros")
    refuse(node.at, node.get("clip") is not None, "a recurrence with clip", "leave it out")
    direction = node.get("direction", "forward")
    cells = iter(_cells(node, cell, 1 + (direction == "bidirectional")))
    layer = [next(cells) if direction in (way, "bidirectional") else None for way in ("forward", "reverse")]
    first = bool(node.get("layout", 0))
    whole, last = g.recurrences(x if first else x.transpose(0, 1), [layer], at=node.at)
    node.get("hidden_size")  # which the weights say as well
    apart = whole.unflatten(2, (sum(c is not None for c in layer), -1))  # (N, T, D, H)
    return [apart, last] if first else [apart.permute((1, 2, 0, 3)), last.transpose(0, 1)]


def _cells(node: Node, cell: str, directions: int) -> list[Cell]:
    """Return the cell of each direction."""
    usual = ACTIVATIONS[cell]
    names = [name.decode() if isinstance(name, bytes) else name for name in node.get("activations", usual * directions)]
    parameters = [*(node.get("activation_alpha") or []), *(node.get("activation_beta") or [])]
    made = []
    for i in range(directions):
        functions = [name.lower() for name in names[i * len(usual) : (i + 1) * len(usual)]]
        other = bool(parameters) or not WITHOUT_PARAMETERS.issuperset(functions) or len(functions) != len(usual)
        refuse(node.at, other, f"a recurrence with activations {names}", "use those without parameters")
        refuse(
            node.at, cell == "lstm" and functions[1] != functions[2], "different activations of cell and output",
            "use one for both",
        )  # fmt: skip
        kernel, recurrent = real(node.constant(1))[i], real(node.constant(2))[i]
        given = len(node.inputs) > 3 and node.inputs[3] is not None
        biases = np.split(real(node.constant(3))[i], 2) if given else (None, None)
        gate = functions[0] if cell != "simple" else "sigmoid"
        own = functions[1] if cell != "simple" else functions[0]
        made.append(Cell.of_rows(cell, kernel, recurrent, *biases, own, gate, order=ORDERS[cell]))
    return made
