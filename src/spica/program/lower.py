"""Lowering: how the native engine lays the tensors of a program out in its memory.

Windows reach into a border around a tensor, which whoever writes the tensor fills. Integers are kept as unsigned **byte
planes** of ``value - zero``, or as 32-bit words. A program itself says nothing of either.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spica import _native
from spica.program.ir import Program, Range, Step, Tensor
from spica.program.steps import Copy, Pool, Windowed

Sides = tuple[int, int, int, int]


class Layout(NamedTuple):
    """Place of a tensor in memory.

    Attributes:
        border: rows above and below it, columns left and right.
        fill: value of each channel there; ``None`` for zeros.
        planes: number of byte planes; 0 for 32-bit words.
        zero: value that bytes of zero stand for.
    """

    border: Sides
    fill: NDArray[np.int64] | None
    planes: int
    zero: int


def lower(program: Program) -> tuple[Program, list[Layout]]:
    """Return the program with a copy of each tensor that cannot have a border itself, and the layout of all tensors."""
    program, borders = _make_borders(program)
    # Tensors that share storage, or are pooled from each other, have one format: that of the first.
    pooled = {step.outputs[0]: step.inputs[0] for step in program.steps if isinstance(step, Pool)}
    first: list[int] = []
    for number, tensor in enumerate(program.tensors):
        other = pooled.get(number, tensor.shares)
        first.append(number if other is None else first[other])
    ranges = [tensor.range for tensor in program.tensors]
    for number, (_, fill) in borders.items():
        ranges[number] = min(ranges[number][0], int(fill.min())), max(ranges[number][1], int(fill.max()))
    spans: dict[int, Range] = {}
    for number, (low, high) in zip(first, ranges):
        known = spans.get(number, (low, high))
        spans[number] = min(low, known[0]), max(high, known[1])
    windowed = {first[step.inputs[0]] for step in program.steps if isinstance(step, Windowed)}
    formats = {number: byte_planes(*span, number in windowed) for number, span in spans.items()}
    layouts = [Layout((0, 0, 0, 0), None, *formats[number]) for number in first]
    for number, (border, fill) in borders.items():
        layouts[number] = Layout(border, fill if fill.any() else None, *formats[first[number]])
    return program, layouts


def byte_planes(low: int, high: int, windowed: bool) -> tuple[int, int]:
    """Return the number of byte planes for integers of a range (0 for 32-bit words), and the value stored as zero.

    Windows need planes; other tensors have one plane or are words.
    """
    for count in (1, 2, 3, 4):
        if count > 1 and not windowed:
            return 0, 0
        half = 1 << (8 * count - 1)
        if low >= 0 and high < 2 * half:
            return count, 0
        zero = _native.near_zero if count == 3 else -half
        if low >= zero and high < zero + 2 * half:
            return count, zero
    raise ValueError(f"integers from {low} to {high} have more than 32 bits")


def _make_borders(program: Program) -> tuple[Program, dict[int, tuple[Sides, NDArray]]]:
    """Find the border of each tensor that padded windows read; windows over one that cannot have it read a copy."""
    tensors: list[Tensor] = list(program.tensors)
    steps: list[Step] = []
    borders: dict[int, tuple[Sides, NDArray]] = {}
    shared = {n for number, t in enumerate(tensors) if t.shares is not None for n in (number, t.shares)}
    for step in program.steps:
        if isinstance(step, Windowed) and step.padded:
            (x,) = step.inputs
            if x in shared or (x in borders and not np.array_equal(borders[x][1], step.fill)):
                shape = _, columns, channels = tensors[x].shape
                copy, strides = len(tensors), (columns * channels, channels, 1)
                tensors.append(replace(tensors[x], shares=None))
                steps.append(Copy(layer=step.layer, inputs=(x,), outputs=(copy,), shape=shape, strides=strides))
                step, x = replace(step, inputs=(copy,)), copy
            known = borders[x][0] if x in borders else (0, 0, 0, 0)
            wanted = (*step.padding[0], *step.padding[1])
            borders[x] = _widest(known, wanted), step.fill
        steps.append(step)
    return replace(program, tensors=tuple(tensors), steps=tuple(steps)), borders


def _widest(a: Sequence[int], b: Sequence[int]) -> Sides:
    top, bottom, left, right = map(max, a, b)
    return top, bottom, left, right
