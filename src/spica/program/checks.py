"""Rules of a program: what must hold so that every run of it stays within its tensors and its ranges.

A rule is a function that says what is wrong, sentence by sentence; ``RULES`` lists them. Later rules may rely on what
earlier ones found right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields

import numpy as np

from spica.errors import SpicaError
from spica.program.infer import accumulator_range, output_range, output_shapes
from spica.program.ir import (
    Accumulate,
    Add,
    Attention,
    Conv,
    Copy,
    Depthwise,
    Epilogue,
    Lut,
    Normalize,
    Pool,
    Program,
    Scan,
    Shape,
    Step,
    SumPixels,
    Windowed,
)
from spica.program.limits import INT32_MAX, INT32_MIN, TWO_BYTES, excess

ARITY = {
    Conv: (1, 1), Depthwise: (1, 1), Add: (2, 1), Lut: (1, 1), SumPixels: (1, 1), Attention: (3, 1), Normalize: (1, 1),
    Scan: (3, 3), Copy: (1, 1), Pool: (1, 1),
}  # fmt: skip
"""Tensors that each kind of step reads and writes."""


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
        if (len(step.inputs), len(step.outputs)) != ARITY.get(type(step)):
            counts = f"{len(step.inputs)} and {len(step.outputs)}"
            yield f"{_name(step)}: reads and writes {counts} tensors, but a step of this kind others"
        for number in (*step.inputs, *step.outputs):
            if not 0 <= number < count:
                yield f"{_name(step)}: tensor {number} does not exist; there are {count}"
    used = [(port.name, port.tensor) for port in (*program.reads, *program.writes)]
    for name, number in [*used, *((e.layer, n) for e in program.events for n in e.tensors)]:
        if not 0 <= number < count:
            yield f"{name}: tensor {number} does not exist; there are {count}"


def tensors_are_written_before_they_are_read(program: Program) -> Iterator[str]:
    """Inputs are there at first; one step writes each other tensor, or several copies do, before any reads it."""
    writers: dict[int, type[Step] | None] = {port.tensor: None for port in program.reads}
    for step in program.steps:
        for number in step.inputs:
            if program.base(number) not in writers:
                yield f"{_name(step)}: reads tensor {number}, which nothing has written"
        for number in step.outputs:
            if program.tensors[number].shares is not None or number in map(program.base, step.inputs):
                yield f"{_name(step)}: writes tensor {number}, whose storage another tensor has"
            if number in writers and not (writers[number] is type(step) is Copy):
                yield f"{_name(step)}: writes tensor {number}, which is written already"
            writers[number] = type(step)
    for port in program.writes:
        if program.base(port.tensor) not in writers:
            yield f"{port.name}: leaves from tensor {port.tensor}, which nothing has written"


def ports_fit_their_tensors(program: Program) -> Iterator[str]:
    """Arrays have as many values as their tensors, and a type that holds these; factors have one entry a channel."""
    for port in (*program.reads, *program.writes):
        tensor = program.tensors[port.tensor]
        if int(np.prod(port.shape)) != tensor.size:
            yield f"{port.name}: an array {port.shape} does not fit tensor {port.tensor} of shape {tensor.shape}"
        kinds = "f" if port.factors is not None else "iu"
        if np.dtype(port.dtype).kind not in kinds:
            yield f"{port.name}: an array of {port.dtype} cannot hold its values"
        if port.factors is not None and any(f.shape != tensor.shape[2:] for f in port.factors):
            yield f"{port.name}: needs one factor for each of {tensor.shape[2]} channels"


def weights_fit(program: Program) -> Iterator[str]:
    """Kernels are int8 or int16 and fit their tensors; parameters of channels are as many as these."""
    for step in program.steps:
        channels = program.tensors[step.inputs[0]].shape[2]
        if isinstance(step, Windowed):
            kernel, rank = step.kernel, 4 if isinstance(step, Conv) else 3
            if kernel.dtype not in (np.int8, np.int16) or kernel.ndim != rank or kernel.shape[2] != channels:
                yield f"{_name(step)}: a kernel {kernel.shape} of {kernel.dtype} does not fit {channels} channels"
            if int(kernel.min()) < TWO_BYTES[0] or int(kernel.max()) > TWO_BYTES[1]:
                yield f"{_name(step)}: weights must be {TWO_BYTES[0]} to {TWO_BYTES[1]}"
            if step.fill.shape != (channels,) or (isinstance(step, Depthwise) and step.fill.any()):
                yield f"{_name(step)}: the padding needs one value for each of {channels} channels, zero if depthwise"
        if isinstance(step, Add | Scan):
            for parameter in step.shifts if isinstance(step, Add) else step.factor:
                if parameter.shape != (channels,):
                    yield f"{_name(step)}: needs one parameter for each of {channels} channels; got {parameter.shape}"
        if isinstance(step, Lut) and step.table is not None:
            low, high = program.tensors[step.inputs[0]].range
            if step.table.ndim != 1 or not step.lowest <= low <= high < step.lowest + len(step.table):
                yield f"{_name(step)}: its table must have an entry for each value from {low} to {high}"
        wanted = program.tensors[step.outputs[0]].shape[2] if isinstance(step, Accumulate) else channels
        for epilogue in (v for f in fields(step) if isinstance(v := getattr(step, f.name), Epilogue)):
            yield from (f"{_name(step)}: {problem}" for problem in _epilogue_problems(epilogue, wanted))


def _epilogue_problems(epilogue: Epilogue, channels: int) -> Iterator[str]:
    for name in ("bias", "ceiling", "multiplier", "shift"):
        values = getattr(epilogue, name)
        if values is not None and (values.shape != (channels,) or values.dtype != np.int64):
            yield f"{name} must be int64, one for each of {channels} channels; got {values.dtype} {values.shape}"
    if (epilogue.multiplier is None) != (epilogue.shift is None):
        yield "multiplier and shift come together"
    if not (0 < epilogue.value_bits < 63 and 0 < epilogue.buffer_bits < 63):
        yield f"buffers have 1 to 62 bits; got {epilogue.value_bits} and {epilogue.buffer_bits}"


def shapes_fit(program: Program) -> Iterator[str]:
    """Every output has the shape that its step makes; copies stay within their tensors."""
    for step in program.steps:
        inputs, outputs = ([program.tensors[n] for n in numbers] for numbers in (step.inputs, step.outputs))
        if isinstance(step, Copy):
            ends = [(size - 1) * stride for size, stride in zip(step.shape, step.strides)]
            last = [at + (n - 1) * by for at, n, by in zip(step.start, step.shape, (*step.step, 1))]
            inside = min(*step.shape, *step.step) > 0 <= min(*step.strides, *step.start, step.offset)
            if not inside or step.offset + sum(ends) >= inputs[0].size or not _below(last, outputs[0].shape):
                yield f"{_name(step)}: copies values from or to places that its tensors do not have"
            continue
        if isinstance(step, Windowed | Pool) and (min(step.strides) < 1 or min(map(min, step.padding)) < 0):
            yield f"{_name(step)}: strides must be 1 or more and padding 0 or more"
        if isinstance(step, Pool) and any(p >= k for k, pair in zip(step.size, step.padding) for p in pair):
            yield f"{_name(step)}: its padding must be smaller than its window"
        if isinstance(step, Add | Attention) and len({t.shape for t in inputs}) > 1:
            yield f"{_name(step)}: its inputs must have one shape; got {[t.shape for t in inputs]}"
        if isinstance(step, Attention) and (step.heads < 1 or inputs[0].shape[2] % step.heads):
            yield f"{_name(step)}: {inputs[0].shape[2]} channels cannot be cut into {step.heads} heads"
        made = output_shapes(step, inputs)
        if tuple(t.shape for t in outputs) != made:
            yield f"{_name(step)}: writes {made}, but its tensors are {tuple(t.shape for t in outputs)}"


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


def _below(places: list[int], shape: Shape) -> bool:
    return all(place < size for place, size in zip(places, shape))


def ranges_hold(program: Program) -> Iterator[str]:
    """Accumulators and outputs stay within the ranges that are stated for them."""
    for step in program.steps:
        inputs, outputs = ([program.tensors[n] for n in numbers] for numbers in (step.inputs, step.outputs))
        if isinstance(step, Accumulate):
            low, high = accumulator_range(step, inputs)
            if not step.sums[0] <= low <= high <= step.sums[1]:
                yield f"{_name(step)}: accumulators reach from {low} to {high}, but its range is {step.sums}"
            if problem := excess(step, inputs):
                yield f"{_name(step)}: {problem}"
        low, high = output_range(step, inputs)
        for number, tensor in zip(step.outputs, outputs):
            if not tensor.low <= low <= high <= tensor.high:
                yield f"{_name(step)}: makes {low} to {high}, but tensor {number} holds {tensor.low} to {tensor.high}"


def _name(step: Step) -> str:
    return f"{step.layer} ({type(step).__name__})"


RULES: tuple[Callable[[Program], Iterator[str]], ...] = (
    tensors_are_well_formed,
    numbers_exist,
    tensors_are_written_before_they_are_read,
    ports_fit_their_tensors,
    weights_fit,
    shapes_fit,
    copies_fill_their_tensors,
    ranges_hold,
)
