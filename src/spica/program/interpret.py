"""A plain interpreter of programs in numpy: slow, and the check that they say what layers mean."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.program.infer import finish
from spica.program.ir import (
    Accumulate,
    Add,
    Attention,
    Conv,
    Copy,
    Depthwise,
    Lut,
    Normalize,
    Pool,
    Program,
    Range,
    Scan,
    Step,
    SumPixels,
)
from spica.semantics import primitives
from spica.semantics.primitives import Epilogue
from spica.semantics.reference import Reference


def interpret(program: Program, arrays: Sequence[NDArray]) -> list[NDArray]:
    """Run samples through a program, every range checked on the way.

    Args:
        program: the program.
        arrays: samples ``(N, ...)`` for each of ``program.reads``.

    Returns:
        Arrays ``(N, ...)`` for each of ``program.writes``.

    Raises:
        SpicaError: where an accumulator or a value leaves the range that the program states: it is wrong, or the
            samples are.
    """
    tensors, made = interpret_tensors(program, arrays), []
    for port in program.writes:
        values: NDArray = tensors[port.tensor].reshape(-1, *port.shape)
        if port.factors is not None:
            values = values.astype(np.float32) * port.factors[0] * port.factors[1]
        made.append(values.astype(port.dtype))
    return made


def interpret_tensors(program: Program, arrays: Sequence[NDArray]) -> list[NDArray[np.int64]]:
    """Run samples through a program as ``interpret``; return all tensors ``(N, rows, columns, channels)``."""
    samples = len(arrays[0])
    tensors = [np.full((samples, *t.shape), t.low, np.int64) for t in program.tensors]

    def write(number: int, values: NDArray, where: str) -> None:
        tensor = program.tensors[number]
        _check_range(values, tensor.range, f"{where}: tensor {number}")
        for other, shape in ((n, t.shape) for n, t in enumerate(program.tensors) if program.base(n) == number):
            tensors[other] = values.reshape(samples, *shape)

    for port, array in zip(program.reads, arrays, strict=True):
        write(port.tensor, np.asarray(array, np.int64).reshape(samples, *program.tensors[port.tensor].shape), port.name)
    for step in program.steps:
        before = [tensors[n] for n in step.outputs]
        made = compute_step(step, [tensors[n] for n in step.inputs], before)
        for number, values in zip(step.outputs, made, strict=True):
            write(number, values, step.layer)
    return tensors


def compute_step(step: Step, inputs: Sequence[NDArray], before: Sequence[NDArray]) -> Sequence[NDArray]:
    """Return what a step writes for the tensors that it reads, given what its outputs hold before."""
    if not isinstance(step, Accumulate):
        return move(step, inputs, before)
    sums = accumulate(step, inputs)
    _check_range(sums, step.sums, f"{step.layer}: accumulators")
    return [finish(sums, step.epilogue)]


@singledispatch
def accumulate(step: Accumulate, inputs: Sequence[NDArray]) -> NDArray:
    """Return the accumulators of a step, before its epilogue."""
    raise TypeError(f"the interpreter has no step {type(step).__name__}")


@accumulate.register
def _(step: Conv, inputs: Sequence[NDArray]) -> NDArray:
    return primitives.convolve(inputs[0], step.kernel, step.strides, step.padding, step.fill, 0)


@accumulate.register
def _(step: Depthwise, inputs: Sequence[NDArray]) -> NDArray:
    return primitives.convolve_depthwise(inputs[0], step.kernel, step.strides, step.padding, 0)


@accumulate.register
def _(step: Add, inputs: Sequence[NDArray]) -> NDArray:
    return primitives.add(inputs[0], inputs[1], step.shifts, 62)


@accumulate.register
def _(step: Lut, inputs: Sequence[NDArray]) -> NDArray:
    return inputs[0] if step.table is None else primitives.look_up(inputs[0], step.table, step.lowest)


@accumulate.register
def _(step: SumPixels, inputs: Sequence[NDArray]) -> NDArray:
    return inputs[0].sum(axis=(1, 2), keepdims=True)


@accumulate.register
def _(step: Attention, inputs: Sequence[NDArray]) -> NDArray:
    q, k, v = (x[:, 0] for x in inputs)
    return primitives.attend(q, k, v, step.heads, step.multiplier, step.shift)[:, None]


@accumulate.register
def _(step: Normalize, inputs: Sequence[NDArray]) -> NDArray:
    return primitives.normalise(inputs[0])


@singledispatch
def move(step: Step, inputs: Sequence[NDArray], before: Sequence[NDArray]) -> Sequence[NDArray]:
    """Return what a step without an epilogue of its own writes."""
    raise TypeError(f"the interpreter has no step {type(step).__name__}")


@move.register
def _(step: Copy, inputs: Sequence[NDArray], before: Sequence[NDArray]) -> Sequence[NDArray]:
    (x,), y = inputs, np.zeros_like(before[0]) if step.clear else before[0].copy()
    indices = np.ogrid[tuple(map(slice, step.shape))]
    places = step.offset + sum(index * stride for index, stride in zip(indices, step.strides))
    y[:, *step.places] = x.reshape(len(x), -1)[:, places]
    return [y]


@move.register
def _(step: Pool, inputs: Sequence[NDArray], before: Sequence[NDArray]) -> Sequence[NDArray]:
    return [primitives.max_pool(inputs[0], step.size, step.strides, step.padding)]


@move.register
def _(step: Scan, inputs: Sequence[NDArray], before: Sequence[NDArray]) -> Sequence[NDArray]:
    x, real, imaginary = inputs
    arrive, leave = (Epilogue(**vars(epilogue)) for epilogue in (step.arrive, step.leave))
    state = real[:, 0, 0], imaginary[:, 0, 0]
    states, last = Reference().scan(x[:, 0], state, step.factor, arrive, leave, step.value_bits)
    return [states, *(part[:, None, None] for part in last)]


def _check_range(values: NDArray, span: Range, what: str) -> None:
    low, high = int(values.min()), int(values.max())
    if low < span[0] or high > span[1]:
        raise SpicaError(f"{what} must be {span[0]} to {span[1]}, but reach from {low} to {high}")
