"""Keras' spellings of recurrences: LSTM, GRU, SimpleRNN and Bidirectional."""

from __future__ import annotations

from typing import Any

import numpy as np

from spica.frontends.keras.operations import array, function_name, op
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.ops.pointwise import SPELLINGS
from spica.frontends.ops.recurrent import Cell
from spica.frontends.view import View

RECURRENT = {"LSTM": "lstm", "GRU": "gru", "SimpleRNN": "simple"}
"""Layers, and the cells that they have."""

WHOLE = {"Bidirectional", *RECURRENT}
"""Layers that have their activation inside."""


@op(*RECURRENT)
def _recurrent(g: GraphBuilder, at: str, layer: Any, x: View, *states: View) -> View:
    refuse(at, bool(states), "a given initial state", "start from zeros")
    whole = _states(g, at, layer, x)
    if not layer.return_sequences:
        return whole.select(1, 0 if layer.go_backwards else -1).named(f"{at}/last")
    return whole.flip([1]).named(f"{at}/flipped") if layer.go_backwards else whole


def _states(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    """Return the state at each step of a sequence, each in the place of its step."""
    for option in ("return_state", "stateful", "time_major"):
        refuse(at, bool(getattr(layer, option, False)), f"a recurrence with {option}", "leave it out")
    weights, cell = getattr(layer, "cell", layer), RECURRENT[type(layer).__name__]
    bias = array(weights.bias) if layer.use_bias else None
    after = None
    if cell == "gru" and layer.reset_after:
        bias, after = (None, None) if bias is None else (bias[0], bias[1])
    elif cell == "gru":
        cell = "gru_reset_before"
    made = Cell(
        cell, array(weights.kernel), array(weights.recurrent_kernel), bias, after,
        _named(layer.activation), "sigmoid" if cell == "simple" else _named(layer.recurrent_activation),
    )  # fmt: skip
    return g.recurrence(x, made, bool(layer.go_backwards), at=at)


def _named(activation: Any) -> str:
    """Return the name that a cell has for a function of Keras."""
    name = function_name(activation)
    return SPELLINGS.get(name, name)


@op("Bidirectional")
def _bidirectional(g: GraphBuilder, at: str, layer: Any, x: View, *states: View) -> View:
    refuse(at, bool(states), "a given initial state", "start from zeros")
    refuse(at, layer.merge_mode is None, "merge_mode None", 'use "concat", "sum", "mul" or "ave"')
    ways = (layer.forward_layer, layer.backward_layer)
    other = [type(way).__name__ for way in ways if type(way).__name__ not in RECURRENT]
    refuse(at, bool(other), f"Bidirectional of {other[:1]}", f"use one of {', '.join(RECURRENT)}")
    refuse(at, bool(ways[0].go_backwards), "Bidirectional of a layer that goes backwards", "let it go forwards")
    pair = [_states(g, f"{at}/{name}", way, x) for name, way in zip(("forward", "backward"), ways)]
    if not layer.return_sequences:
        pair = [made.select(1, 0 if way.go_backwards else -1) for made, way in zip(pair, ways)]
    match layer.merge_mode:
        case "concat":
            return g.concat(pair, -1, at=at)
        case "mul":
            return g.multiply(*pair, at=at)
        case "sum":
            return g.add(*pair, at=at)
    return g.affine(g.add(*pair, at=f"{at}/sum"), np.float32(0.5), 0, at=at)
