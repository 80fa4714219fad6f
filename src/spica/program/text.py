"""Programs for people and scripts: one row for each step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from spica.program.ir import ANY_BITS, Accumulate, Epilogue, Program, Step
from spica.program.steps import Copy, Pool, Scan, Windowed, weight_arrays
from spica.util.table import table

COLUMNS = ("step", "layer", "reads", "writes", "shape", "range", "bits", "sums", "weights", "epilogue")


def program_text(program: Program) -> str:
    """Return a program as a table: ports first, then a row for each step; ``%3`` is tensor 3."""
    rows: list[tuple[str, ...]] = [COLUMNS]
    for row in describe(program):
        cells = {**row, "shape": " x ".join(map(str, row["shape"])), "range": "{} to {}".format(*row["range"])}
        for name in ("reads", "writes"):
            cells[name] = " ".join(f"%{number}" for number in row[name])
        rows.append(tuple(str(cells[name]) for name in COLUMNS))
    given, made = (", ".join(f"{p.name} %{p.tensor}" for p in ports) for ports in (program.reads, program.writes))
    parts = [f"reads {given}; writes {made}"]
    if shared := [(n, t) for n, t in enumerate(program.tensors) if t.shares is not None]:
        parts.append("in another shape: " + ", ".join(f"%{n} is %{t.shares}" for n, t in shared))
    return "\n".join([*parts, table(rows, left=len(COLUMNS))] if program.steps else parts)


def describe(program: Program) -> list[dict[str, Any]]:
    """Return the facts of every step: what it reads and writes, and the shape, range and bits of its first output."""
    rows = []
    for step in program.steps:
        tensor, sums = program.written_by(step)[0], step.sum_bits if isinstance(step, Accumulate) else ""
        ends = list(step.inputs), list(step.outputs), list(tensor.shape), list(tensor.range), tensor.bits
        cells = type(step).__name__, step.layer, *ends, sums, _weights(step), _epilogues(step)
        rows.append(dict(zip(COLUMNS, cells)))
    return rows


def _weights(step: Step) -> str:
    """Shapes and types of a step's weights, and what is said of its window."""
    words = [f"{_by(array.shape)} {array.dtype}" for array in weight_arrays(step)]
    if isinstance(step, Pool):
        words.append(f"max {_by(step.size)}")
    if isinstance(step, Windowed | Pool):
        words += [f"/{_by(step.strides)}"] if step.strides != (1, 1) else []
        words += (
            [f"pad {','.join(str(n) for pair in step.padding for n in pair)}"] if any(sum(step.padding, ())) else []
        )
    if isinstance(step, Copy):
        words.append(f"{_by(step.shape)} values")
    return " ".join(words)


def _by(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _epilogues(step: Step) -> str:
    if isinstance(step, Scan):
        return f"in: {_epilogue(step.arrive)}; state: {_epilogue(step.leave)}"
    return _epilogue(step.epilogue) if isinstance(step, Accumulate) else ""


def _epilogue(epilogue: Epilogue) -> str:
    """The operations of an epilogue in their order, with the range of each parameter."""
    words = [f"sat {epilogue.value_bits + 1}"] if epilogue.value_bits < ANY_BITS else []
    words += ["+bias"] if epilogue.bias is not None else []
    words += ["relu"] if epilogue.relu else []
    words += [f"min {_span(epilogue.ceiling)}"] if epilogue.ceiling is not None else []
    if epilogue.multiplier is not None and epilogue.shift is not None:
        words.append(f"*{_span(epilogue.multiplier)} >>{_span(epilogue.shift)} clip {epilogue.low}..{epilogue.high}")
    return " ".join(words)


def _span(values: np.ndarray) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}..{high}"
