"""PyTorch's spellings of recurrences: ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN``."""

from __future__ import annotations

from typing import Any

import numpy as np

from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.ops.recurrent import Cell
from spica.frontends.patterns import Unread
from spica.frontends.torch.operations import op
from spica.frontends.view import View

ORDERS = {"lstm": (0, 1, 2, 3), "gru": (1, 0, 2), "simple": (0,)}
"""Places of our blocks among PyTorch's, by cell."""


def _run(
    g: GraphBuilder, at: str, x: View, states: list[Any], cell: str, options: tuple, activation: str = "tanh"
) -> list[Any]:
    """Return the outputs and the last states of a recurrence; ``options`` are those that all kinds have."""
    refuse(at, len(options) != 7, "a packed sequence", "give sequences of one length")
    weights, biased, layers, _dropout, _training, both, batch_first = options
    constant = not any(isinstance(state, View) for state in states)
    refuse(at, not constant or any(np.any(state) for state in states), "a given initial state", "start from zeros")
    each = 4 if biased else 2
    refuse(at, len(weights) != layers * (1 + both) * each, "proj_size", "use a linear layer behind it")
    made = [
        Cell.of_rows(
            cell, *weights[start : start + 2], *(weights[start + 2 : start + 4] if biased else (None, None)),
            activation, order=ORDERS[cell],
        )
        for start in range(0, len(weights), each)
    ]  # fmt: skip
    stack = [tuple(made[i : i + 2]) if both else (made[i], None) for i in range(0, len(made), 1 + both)]
    whole, last = g.recurrences(x if batch_first else x.transpose(0, 1), stack, at=at)
    return [whole if batch_first else whole.transpose(0, 1), last.transpose(0, 1)]


@op("lstm")
def _lstm(g: GraphBuilder, at: str, x: View, states, *options) -> list[Any]:
    return [*_run(g, at, x, states if isinstance(states, list) else [states], "lstm", options), Unread("a cell state")]


@op("gru")
def _gru(g: GraphBuilder, at: str, x: View, state, *options) -> list[Any]:
    return _run(g, at, x, [state], "gru", options)


@op("rnn_tanh")
def _rnn_tanh(g: GraphBuilder, at: str, x: View, state, *options) -> list[Any]:
    return _run(g, at, x, [state], "simple", options)


@op("rnn_relu")
def _rnn_relu(g: GraphBuilder, at: str, x: View, state, *options) -> list[Any]:
    return _run(g, at, x, [state], "simple", options, "relu")
