"""A plain interpreter of programs in numpy: slow, and the check that they say what layers mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.program.ir import Accumulate, Program, Range


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
        _check_range(values, program.tensors[number].range, f"{where}: tensor {number}")
        for other, tensor in enumerate(program.tensors):
            if program.base(other) == number:
                tensors[other] = values.reshape(samples, *tensor.shape)

    for port, array in zip(program.reads, arrays, strict=True):
        write(port.tensor, np.asarray(array, np.int64), port.name)
    for step in program.steps:
        read = [tensors[n] for n in step.inputs]
        if isinstance(step, Accumulate):
            sums = step.accumulate(read)
            _check_range(sums, step.sums, f"{step.layer}: accumulators")
            made: Sequence[NDArray] = [step.epilogue.apply(sums)]
        else:
            made = step.compute(read, [tensors[n] for n in step.outputs])
        for number, values in zip(step.outputs, made, strict=True):
            write(number, values, step.layer)
    return tensors


def _check_range(values: NDArray, span: Range, what: str) -> None:
    low, high = int(values.min()), int(values.max())
    if low < span[0] or high > span[1]:
        raise SpicaError(f"{what} must be {span[0]} to {span[1]}, but reach from {low} to {high}")
