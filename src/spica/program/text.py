"""Programs for people and scripts: one row for each step."""

from __future__ import annotations

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
        tensor = program.tensors[step.outputs[0]]
        rows.append(
            {
                "step": type(step).__name__,
                "layer": step.layer,
                "reads": list(step.inputs),
                "writes": list(step.outputs),
                "shape": list(tensor.shape),
                "range": list(tensor.range),
                "bits": tensor.bits,
                "sums": step.sum_bits if isinstance(step, Accumulate) else "",
                "weights": _weights(step),
                "epilogue": _epilogues(step),
            }
        )
    return rows


def _weights(step: Step) -> str:
    """Shapes and types of a step's weights, and what is said of its window."""
    words = [f"{'x'.join(map(str, a.shape))} {a.dtype}" for a in weight_arrays(step)]
    if isinstance(step, Pool):
        words.append(f"max {step.size[0]}x{step.size[1]}")
    if isinstance(step, Windowed | Pool) and step.strides != (1, 1):
        words.append(f"/{step.strides[0]}x{step.strides[1]}")
    if isinstance(step, Windowed | Pool) and step.padding != ((0, 0), (0, 0)):
        words.append(f"pad {','.join(str(n) for pair in step.padding for n in pair)}")
    if isinstance(step, Copy):
        words.append(f"{'x'.join(map(str, step.shape))} values")
    return " ".join(words)


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
        words += [f"*{_span(epilogue.multiplier)}", f">>{_span(epilogue.shift)}"]
        words += [f"clip {epilogue.low}..{epilogue.high}"]
    return " ".join(words)


def _span(values: np.ndarray) -> str:
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low}..{high}"
