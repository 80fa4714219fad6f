"""Recurrences with gates over sequences ``(N, T, C)``, one layer or a stack of them in one or both directions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from spica.frontends.ops.base import Array, refuse
from spica.frontends.ops.mixing import Mixing
from spica.frontends.view import View
from spica.layers import Concatenate
from spica.layers.host import ACTIVATIONS, CELLS, GatedRecurrence


@dataclass(frozen=True)
class Cell:
    """Cell of one direction of a recurrence, with its weights; see ``layers.GatedRecurrence``. No bias means zeros."""

    cell: str
    kernel: Array
    recurrent_kernel: Array
    bias: Array | None = None
    recurrent_bias: Array | None = None
    activation: str = "tanh"
    gate_activation: str = "sigmoid"

    @classmethod
    def of_rows(cls, cell: str, kernel: Array, recurrent_kernel: Array, *rest: Any, order: Sequence[int]) -> Cell:
        """Return a cell of a source that has blocks of rows, in another order: ``order`` names them in ours."""

        def turned(rows: Array | None) -> Array | None:
            blocks = None if rows is None else np.split(np.asarray(rows, np.float32), CELLS[cell])
            return None if blocks is None else np.concatenate([blocks[i] for i in order]).T

        weights = [turned(rows) for rows in (kernel, recurrent_kernel, *rest[:2])]
        return cls(cell, *weights, *rest[2:])  # type: ignore[arg-type]


class Recurrent(Mixing):
    """Recurrences; see ``GraphBuilder``."""

    def recurrence(self, x: View, cell: Cell, backwards: bool = False, *, at: str) -> View:
        """Return the state after each step of a sequence ``(N, T, C)``, as ``(N, T, H)``, starting from zeros."""
        refuse(at, x.numbers.ndim != 3, "a recurrence of other than sequences", "give it sequences (N, T, C)")
        for name in (cell.activation, cell.gate_activation):
            known = ", ".join(sorted(ACTIVATIONS))
            refuse(at, name not in ACTIVATIONS, f"activation {name!r} of a recurrence", f"use one of {known}")
        none = np.zeros(cell.kernel.shape[-1], np.float32)
        return self.make(
            GatedRecurrence, at, self.whole(x, at), backwards=backwards, cell=cell.cell, kernel=cell.kernel,
            recurrent_kernel=cell.recurrent_kernel, bias=none if cell.bias is None else cell.bias,
            recurrent_bias=none if cell.recurrent_bias is None else cell.recurrent_bias, activation=cell.activation,
            gate_activation=cell.gate_activation,
        )  # fmt: skip

    def recurrences(self, x: View, stack: Sequence[Sequence[Cell | None]], *, at: str) -> tuple[View, View]:
        """Apply layers of recurrences one after the other, each in one or both directions.

        Args:
            x: the sequence ``(N, T, C)``.
            stack: for each layer the cell that goes forwards and the one that goes backwards; ``None`` for one that
                there is not.
            at: name of the layer that is made where it is one alone; others have theirs behind it.

        Returns:
            The states of the last layer ``(N, T, H)``, or ``(N, T, 2 H)`` with those of both directions side by side;
            and the last states of all directions of all layers in order, ``(N, D, H)``.
        """
        last: list[View] = []
        alone = sum(cell is not None for layer in stack for cell in layer) == 1
        for number, layer in enumerate(stack):
            made = []
            for direction, cell in zip(("forward", "backward"), layer):
                if cell is None:
                    continue
                backwards, name = direction == "backward", at if alone else f"{at}/{number}/{direction}"
                made.append(self.recurrence(x, cell, backwards, at=name))
                last.append(made[-1].select(1, 0 if backwards else -1).unsqueeze(1))
            x = made[0] if len(made) == 1 else self.make(Concatenate, f"{at}/{number}", *made)
        return x, last[0] if alone else self.concat(last, 1, at=f"{at}/last")
