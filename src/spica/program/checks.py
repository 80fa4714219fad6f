"""Rules of a program: what must hold so that every run of it stays within its tensors and its ranges.

A rule is a function that yields what is wrong, sentence by sentence; ``RULES`` lists them. Later rules may rely on what
earlier ones found right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

import numpy as np

from spica.errors import SpicaError
from spica.program.ir import INT32_MAX, INT32_MIN, Accumulate, Program, Step
from spica.program.steps import Copy


def check(program: Program) -> None:
    """Check that ``program`` keeps all rules.

    Raises:
        SpicaError: naming the first step or tensor that breaks one, and how.
    """
    for rule in RULES:
        for problem in rule(program):
            raise SpicaError(problem)


def tensors_are_well_formed(program: Program) -> Iterator[str]:
    """Tensors have values of up to 32 bits; one that shares storage has as many values as an earlier one of its own."""
    for number, t in enumerate(program.tensors):
        if min(t.shape) < 1:
            yield f"tensor {number}: every size must be at least 1; got {t.shape}"
        if not INT32_MIN <= t.low <= t.high <= INT32_MAX:
            yield f"tensor {number}: its range must be within 32 bits; got {t.low} to {t.high}"
        if t.shares is not None:
            base = program.tensors[t.shares] if 0 <= t.shares < number else None
            if base is None or base.shares is not None or (base.size, base.range) != (t.size, t.range):
                yield f"tensor {number}: must share an earlier tensor of {t.size} values of its range; got {t.shares}"


def numbers_exist(program: Program) -> Iterator[str]:
    """Steps, ports and events name tensors that exist, as many as they need."""
    count = len(program.tensors)
    for step in program.steps:
        if (len(step.inputs), len(step.outputs)) != (step.reads, step.writes):
            yield f"{step}: reads and writes {len(step.inputs)} and {len(step.outputs)} tensors, " + (
                f"but a step of this kind {step.reads} and {step.writes}"
            )
    named = [(str(step), step.numbers) for step in program.steps]
    named += [(port.name, (port.tensor,)) for port in (*program.reads, *program.writes)]
    named += [(events.layer, events.tensors) for events in program.events]
    for name, numbers in named:
        for number in numbers:
            if not 0 <= number < count:
                yield f"{name}: tensor {number} does not exist; there are {count}"


def tensors_are_written_before_they_are_read(program: Program) -> Iterator[str]:
    """Inputs are there at first; one step writes each other tensor, or several copies do, before any reads it."""
    writers: dict[int, type[Step] | None] = {port.tensor: None for port in program.reads}
    for step in program.steps:
        for number in step.inputs:
            if program.base(number) not in writers:
                yield f"{step}: reads tensor {number}, which nothing has written"
        for number in step.outputs:
            if program.tensors[number].shares is not None or number in map(program.base, step.inputs):
                yield f"{step}: writes tensor {number}, whose storage another tensor has"
            if number in writers and not (writers[number] is type(step) is Copy):
                yield f"{step}: writes tensor {number}, which is written already"
            writers[number] = type(step)
    for port in program.writes:
        if program.base(port.tensor) not in writers:
            yield f"{port.name}: leaves from tensor {port.tensor}, which nothing has written"


def ports_fit_their_tensors(program: Program) -> Iterator[str]:
    """Arrays have as many values as their tensors, and a type that holds these; factors have one entry a channel."""
    for port in (*program.reads, *program.writes):
        tensor = program.tensors[port.tensor]
        if prod(port.shape) != tensor.size:
            yield f"{port.name}: an array {port.shape} does not fit tensor {port.tensor} of shape {tensor.shape}"
        if np.dtype(port.dtype).kind not in ("iu" if port.factors is None else "f"):
            yield f"{port.name}: an array of {port.dtype} cannot hold its values"
        if port.factors is not None and any(f.shape != tensor.shape[2:] for f in port.factors):
            yield f"{port.name}: needs one factor for each of {tensor.shape[2]} channels"


def steps_fit_their_tensors(program: Program) -> Iterator[str]:
    """Weights, parameters and shapes of every step fit the tensors that it reads and writes."""
    for step in program.steps:
        yield from (f"{step}: {problem}" for problem in step.problems(program.read_by(step), program.written_by(step)))


def copies_fill_their_tensors(program: Program) -> Iterator[str]:
    """Copies that fill a tensor together leave none of its values out."""
    filled: dict[int, np.ndarray] = {}
    for step in program.steps:
        if isinstance(step, Copy):
            (number,) = step.outputs
            done = filled.setdefault(number, np.zeros(program.tensors[number].shape, np.bool_))
            done[step.places] = True
            done |= step.clear
    for number, done in filled.items():
        if not done.all():
            yield f"tensor {number}: copies leave {done.size - int(done.sum())} of its values unwritten"


def ranges_hold(program: Program) -> Iterator[str]:
    """Accumulators and outputs stay within the ranges that are stated for them."""
    for step in program.steps:
        read = program.read_by(step)
        if isinstance(step, Accumulate):
            low, high = step.sums_range(read)
            if not step.sums[0] <= low <= high <= step.sums[1]:
                yield f"{step}: accumulators reach from {low} to {high}, but its range is {step.sums}"
            if problem := step.excess(read):
                yield f"{step}: {problem}"
        low, high = step.output_range(read)
        for number, tensor in zip(step.outputs, program.written_by(step)):
            if not tensor.low <= low <= high <= tensor.high:
                yield f"{step}: makes {low} to {high}, but tensor {number} holds {tensor.low} to {tensor.high}"


RULES: tuple[Callable[[Program], Iterator[str]], ...] = (
    tensors_are_well_formed,
    numbers_exist,
    tensors_are_written_before_they_are_read,
    ports_fit_their_tensors,
    steps_fit_their_tensors,
    copies_fill_their_tensors,
    ranges_hold,
)
