"""Shapes and ranges of what steps compute, worked out from the tensors that they read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

import numpy as np

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
    Range,
    Scan,
    Shape,
    Step,
    SumPixels,
    Tensor,
    Windowed,
)
from spica.semantics import primitives
from spica.semantics.primitives import Padding, Pair


@singledispatch
def output_shapes(step: Step, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    """Return the shapes of the tensors that a step writes; unless a step has a rule of its own, that of its input."""
    return (inputs[0].shape,)


@output_shapes.register
def _(step: Conv, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    return ((*_slid(inputs[0].shape, step.kernel.shape, step.strides, step.padding), step.kernel.shape[3]),)


@output_shapes.register(Depthwise)
def _(step: Depthwise, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    return ((*_slid(inputs[0].shape, step.kernel.shape, step.strides, step.padding), step.kernel.shape[2]),)


@output_shapes.register
def _(step: Pool, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    return ((*_slid(inputs[0].shape, step.size, step.strides, step.padding), inputs[0].shape[2]),)


@output_shapes.register
def _(step: SumPixels, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    return ((1, 1, inputs[0].shape[2]),)


@output_shapes.register
def _(step: Scan, inputs: Sequence[Tensor]) -> tuple[Shape, ...]:
    _, steps, channels = inputs[0].shape
    return (steps, channels, 2), (1, 1, channels), (1, 1, channels)


def _slid(shape: Shape, kernel: Sequence[int], strides: Pair, padding: Padding) -> Pair:
    """Rows and columns that a window slides to."""
    sizes = [primitives.output_size(s, k, t, p) for s, k, t, p in zip(shape, kernel, strides, padding)]
    return sizes[0], sizes[1]


@singledispatch
def accumulator_range(step: Accumulate, inputs: Sequence[Tensor]) -> Range:
    """Return the smallest and the largest accumulator of a step, before its epilogue."""
    raise TypeError(f"a {type(step).__name__} makes no accumulators")


@accumulator_range.register
def _(step: Windowed, inputs: Sequence[Tensor]) -> Range:
    low, high = inputs[0].range
    if step.padded:
        low, high = min(low, int(step.fill.min())), max(high, int(step.fill.max()))
    axes = (0, 1, 2) if isinstance(step, Conv) else (0, 1)
    negative, positive = (part(step.kernel, 0).sum(axis=axes, dtype=np.int64) for part in (np.minimum, np.maximum))
    return int((negative * high + positive * low).min()), int((negative * low + positive * high).max())


@accumulator_range.register
def _(step: Add, inputs: Sequence[Tensor]) -> Range:
    lows, highs = zip(*[shifted_range(x.range, shift) for x, shift in zip(inputs, step.shifts)])
    return sum(lows), sum(highs)


@accumulator_range.register
def _(step: Lut, inputs: Sequence[Tensor]) -> Range:
    return inputs[0].range if step.table is None else (int(step.table.min()), int(step.table.max()))


@accumulator_range.register
def _(step: SumPixels, inputs: Sequence[Tensor]) -> Range:
    (x,), (rows, columns, _) = inputs, inputs[0].shape
    return x.low * rows * columns, x.high * rows * columns


@accumulator_range.register
def _(step: Attention, inputs: Sequence[Tensor]) -> Range:
    v = inputs[2]
    # Probabilities add up to one, but for the rounding of each, which is half at most.
    largest = max(-v.low, v.high) * ((1 << primitives.PROBABILITY_BITS) + v.shape[1])
    return -largest if v.low < 0 else 0, largest


@accumulator_range.register
def _(step: Normalize, inputs: Sequence[Tensor]) -> Range:
    largest = inputs[0].shape[2] << primitives.NORM_BITS
    return -largest, largest


def shifted_range(values: Range, shifts: np.ndarray) -> Range:
    """Return the smallest and the largest value of a range after any of the left shifts."""
    ends = [end << int(s) for end in values for s in (shifts.min(), shifts.max())]
    return min(ends), max(ends)


@singledispatch
def output_range(step: Step, inputs: Sequence[Tensor]) -> Range:
    """Return the smallest and the largest value that a step writes."""
    return inputs[0].range


@output_range.register
def _(step: Accumulate, inputs: Sequence[Tensor]) -> Range:
    return epilogue_range(step.epilogue, step.sums)


@output_range.register
def _(step: Scan, inputs: Sequence[Tensor]) -> Range:
    return step.leave.low, step.leave.high


@output_range.register
def _(step: Copy, inputs: Sequence[Tensor]) -> Range:
    low, high = inputs[0].range
    return (min(low, 0), max(high, 0)) if step.clear else (low, high)


def epilogue_range(epilogue: Epilogue, sums: Range) -> Range:
    """Return the range of what an epilogue makes of accumulators: it never falls, or never rises, between two ends."""
    ends = finish(both_ends(sums, channels_of(epilogue)), epilogue)
    return int(ends.min()), int(ends.max())


def both_ends(values: Range, channels: int) -> np.ndarray:
    """Return the ends of a range for each channel (2, channels)."""
    ends = np.empty((2, channels), np.int64)
    ends[0], ends[1] = values
    return ends


def channels_of(epilogue: Epilogue) -> int:
    """Return the number of channels that an epilogue has parameters for; 1 where it treats all alike."""
    parameters = (epilogue.bias, epilogue.ceiling, epilogue.multiplier, epilogue.shift)
    return next((len(p) for p in parameters if p is not None), 1)


def finish(acc: np.ndarray, epilogue: Epilogue) -> np.ndarray:
    """Take accumulators, channels last, through an epilogue; int64."""
    return primitives.apply_epilogue(acc, epilogue)  # type: ignore[arg-type]
