"""Building a program for the native engine: one small function for each kind of step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica import _native
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
    Step,
    SumPixels,
)
from spica.program.lower import lower

GROUP, LARGEST_LIST = 4, 1 << 16
"""Channels that events are listed in groups of, and entries that a list of one row has room for."""

NO_FACTORS = (np.zeros(0, np.float32), np.zeros(0, np.float32))


class NativeProgram:
    """A program in the native engine's memory, ready to run.

    Attributes:
        sizes: values that each layer reads of one sample, by layer name.
    """

    def __init__(self, program: Program) -> None:
        """Pack the weights of ``program`` and lay out its memory."""
        bases = [program.base(number) for events in program.events for number in events.tensors]
        counters = {number: i for i, number in enumerate(dict.fromkeys(bases))}
        self._native = build_native(program, counters)
        self._formats = [(port.shape, np.dtype(port.dtype)) for port in program.writes]
        self._counters = [(e.layer, [counters[program.base(n)] for n in e.tensors]) for e in program.events]
        self._convolutions = [step.layer for step in program.steps if isinstance(step, Conv)]
        self.sizes = {e.layer: sum(program.tensors[n].size for n in e.tensors) for e in program.events}

    def __call__(self, read: Sequence[NDArray], threads: int, count: bool = False) -> tuple[list[NDArray], list[int]]:
        """Run samples through the program.

        Args:
            read: arrays ``(N, ...)`` for all its inputs and states.
            threads: threads that share the work.
            count: whether to count events.

        Returns:
            Arrays ``(N, ...)`` of all outputs and states, and the counts that ``events`` takes; zeros where ``count``
            is false.
        """
        samples = len(read[0])
        made = [np.empty((samples, *shape), dtype) for shape, dtype in self._formats]
        return made, self._native.run([np.ascontiguousarray(a) for a in read], made, samples, threads, count)

    def events(self, counts: Sequence[int]) -> dict[str, int]:
        """Return the non-zero values that each layer read in a run that gave ``counts``, by layer name."""
        return {layer: sum(counts[number] for number in numbers) for layer, numbers in self._counters}

    def seconds(self) -> list[tuple[str, float]]:
        """Return the layer of each step and the seconds that all threads have spent in it so far."""
        return self._native.seconds()

    def paths(self) -> list[tuple[str, int, int]]:
        """Return the layer of each convolution, and how many groups of samples took its dense and its event path."""
        return [(layer, dense, events) for layer, (dense, events) in zip(self._convolutions, self._native.paths())]

    @property
    def sample_bytes(self) -> int:
        """Bytes of memory for the activations of one sample."""
        return self._native.sample_bytes


def build_native(program: Program, counters: Mapping[int, int] | None = None) -> Any:
    """Return ``program`` in the native engine's memory; ``counters`` numbers the event counters of tensors."""
    return _Builder(program, counters or {}).native


class _Builder:
    """Makes a native program: tensors first, under their numbers, then step after step."""

    def __init__(self, program: Program, counters: Mapping[int, int]) -> None:
        self.native: Any = _native.Program()
        program, self.layouts = lower(program)
        self.tensors = program.tensors
        for number, (tensor, layout) in enumerate(zip(program.tensors, self.layouts)):
            fill = [] if layout.fill is None else layout.fill.tolist()
            shares, counter = -1 if tensor.shares is None else tensor.shares, counters.get(program.base(number), -1)
            self.native.tensor(
                tensor.shape, list(layout.border), layout.planes, layout.zero, fill, counter, shares
            )  # fmt: skip
        self.last_writer = {number: step for step in program.steps for number in step.outputs}
        for step in program.steps:
            self.native.name(step.layer)
            add_step(step, self)
        factors = [port.factors or NO_FACTORS for port in program.writes]
        self.native.finalize([p.tensor for p in program.reads], [p.tensor for p in program.writes], factors)

    def event_lists(self, step: Conv) -> int:
        """Make a tensor with room for the events of each row that a convolution reads; -1 where it never lists them."""
        tensor, layout, channels = self.tensors[step.inputs[0]], self.layouts[step.inputs[0]], step.kernel.shape[2]
        columns = tensor.shape[1] + sum(step.padding[1])
        listed = channels % GROUP == 0 and columns * channels < GROUP * LARGEST_LIST
        if not listed or (layout.planes, layout.zero) != (1, 0):
            return -1
        top, bottom, left, right = layout.border
        # Two bytes for each group of a row, for each pixel, and for their end.
        row = 2 * ((tensor.shape[1] + left + right) * (channels // GROUP + 1) + 1)
        return self.native.tensor((tensor.shape[0] + top + bottom, 1, row), [0] * 4, 1, 0, [], -1, -1)


@singledispatch
def add_step(step: Step, to: _Builder) -> None:
    """Add a step to the native program that ``to`` builds."""
    raise TypeError(f"the native engine has no step {type(step).__name__}")


@add_step.register
def _(step: Conv, to: _Builder) -> None:
    before = [pair[0] for pair in step.padding]
    to.native.convolve(
        *step.inputs, *step.outputs, to.event_lists(step), step.kernel, list(step.strides), before, *_epilogue(step)
    )


@add_step.register
def _(step: Depthwise, to: _Builder) -> None:
    before = [pair[0] for pair in step.padding]
    to.native.depthwise(*_numbers(step), step.kernel, list(step.strides), before, *_epilogue(step))


@add_step.register
def _(step: Add, to: _Builder) -> None:
    to.native.add(*_numbers(step), *(shift.tolist() for shift in step.shifts), *_epilogue(step))


@add_step.register
def _(step: Lut, to: _Builder) -> None:
    table = [] if step.table is None else step.table.tolist()
    to.native.map(*_numbers(step), table, step.lowest, *_epilogue(step))


@add_step.register
def _(step: SumPixels, to: _Builder) -> None:
    to.native.sum_of_pixels(*_numbers(step), *_epilogue(step))


@add_step.register
def _(step: Attention, to: _Builder) -> None:
    to.native.attend(*_numbers(step), step.heads, step.multiplier, step.shift, *_epilogue(step))


@add_step.register
def _(step: Normalize, to: _Builder) -> None:
    to.native.normalise(*_numbers(step), *_epilogue(step))


@add_step.register
def _(step: Scan, to: _Builder) -> None:
    (x, *before), (y, *after) = step.inputs, step.outputs
    epilogues = _fields(step.arrive), _fields(step.leave)
    to.native.recur(x, before, y, after, *step.factor, *epilogues, step.value_bits)


@add_step.register
def _(step: Copy, to: _Builder) -> None:
    # Of a tensor that several copies fill, the last one counts the events.
    last = to.last_writer[step.outputs[0]] is step
    to.native.copy(
        *_numbers(step), step.shape, step.strides, step.offset, step.start, step.step, step.clear, last
    )  # fmt: skip


@add_step.register
def _(step: Pool, to: _Builder) -> None:
    before = [pair[0] for pair in step.padding]
    to.native.max_pool(*_numbers(step), list(step.size), list(step.strides), before)


def _numbers(step: Step) -> tuple[int, ...]:
    return *step.inputs, *step.outputs


def _epilogue(step: Accumulate) -> tuple:
    return _fields(step.epilogue), step.sums


def _fields(epilogue: Epilogue) -> tuple:
    """An epilogue as the native engine takes it."""
    parameters = epilogue.bias, epilogue.ceiling, epilogue.multiplier, epilogue.shift
    return *parameters, epilogue.value_bits, epilogue.buffer_bits, epilogue.relu, epilogue.low, epilogue.high
