"""Building a program for the native engine: a line for each kind of step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica import _native
from spica.program import steps
from spica.program.ir import Accumulate, Epilogue, Program, Range, Step
from spica.program.lower import lower
from spica.semantics.primitives import Pair

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
        self._convolutions = [step.layer for step in program.steps if isinstance(step, steps.Conv)]
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
            fill = () if layout.fill is None else layout.fill.tolist()
            shares, counter = -1 if tensor.shares is None else tensor.shares, counters.get(program.base(number), -1)
            self.native.tensor(tensor.shape, layout.border, layout.planes, layout.zero, fill, counter, shares)
        self.last_writer = {number: step for step in program.steps for number in step.outputs}
        for step in program.steps:
            self.native.name(step.layer)
            ADD_STEP[type(step)](step, self)
        factors = [port.factors or NO_FACTORS for port in program.writes]
        self.native.finalize([p.tensor for p in program.reads], [p.tensor for p in program.writes], factors)

    def event_lists(self, step: steps.Conv) -> int:
        """Make a tensor with room for the events of each row that a convolution reads; -1 where it never lists them."""
        tensor, layout, channels = self.tensors[step.inputs[0]], self.layouts[step.inputs[0]], step.kernel.shape[2]
        columns = tensor.shape[1] + sum(step.padding[1])
        listed = channels % GROUP == 0 and columns * channels < GROUP * LARGEST_LIST
        if not listed or (layout.planes, layout.zero) != (1, 0):
            return -1
        top, bottom, left, right = layout.border
        # Two bytes for each group of a row, for each pixel, and for their end.
        row = 2 * ((tensor.shape[1] + left + right) * (channels // GROUP + 1) + 1)
        return self.native.tensor((tensor.shape[0] + top + bottom, 1, row), (0, 0, 0, 0), 1, 0, (), -1, -1)

    def copy(self, step: steps.Copy) -> None:
        """Add a copy; of a tensor that several copies fill, the last one counts the events."""
        last = self.last_writer[step.outputs[0]] is step
        where = step.shape, step.strides, step.offset, step.start, step.step, step.clear
        self.native.copy(*step.numbers, *where, last)

    def scan(self, step: steps.Scan) -> None:
        """Add a recurrence, whose states go by pairs."""
        (x, *before), (y, *after) = step.inputs, step.outputs
        epilogues = _fields(step.arrive), _fields(step.leave)
        self.native.recur(x, before, y, after, *step.factor, *epilogues, step.value_bits)


ADD_STEP: dict[type[Step], Callable[[Any, _Builder], None]] = {
    steps.Conv: lambda s, to: to.native.convolve(*s.numbers, to.event_lists(s), s.kernel, *_window(s), *_epilogue(s)),
    steps.Depthwise: lambda s, to: to.native.depthwise(*s.numbers, s.kernel, *_window(s), *_epilogue(s)),
    steps.Add: lambda s, to: to.native.add(*s.numbers, *(shift.tolist() for shift in s.shifts), *_epilogue(s)),
    steps.Multiply: lambda s, to: to.native.multiply(*s.numbers, *_epilogue(s)),
    steps.Lut: lambda s, to: to.native.map(
        *s.numbers, () if s.table is None else s.table.tolist(), s.lowest, *_epilogue(s)
    ),
    steps.SumPixels: lambda s, to: to.native.sum_of_pixels(*s.numbers, *_epilogue(s)),
    steps.Attention: lambda s, to: to.native.attend(*s.numbers, s.heads, s.multiplier, s.shift, *_epilogue(s)),
    steps.Normalize: lambda s, to: to.native.normalise(*s.numbers, *_epilogue(s)),
    steps.Pool: lambda s, to: to.native.max_pool(*s.numbers, s.size, *_window(s)),
    steps.Copy: lambda s, to: to.copy(s),
    steps.Gather: lambda s, to: to.native.gather(*s.numbers, s.positions),
    steps.Scan: lambda s, to: to.scan(s),
}  # fmt: skip
"""How each kind of step is added."""


def _window(step: steps.Windowed | steps.Pool) -> tuple[Pair, Pair]:
    """Strides, and the padding above and on the left."""
    (top, _), (left, _) = step.padding
    return step.strides, (top, left)


def _epilogue(step: Accumulate) -> tuple[tuple, Range]:
    return _fields(step.epilogue), step.sums


def _fields(e: Epilogue) -> tuple:
    return e.bias, e.ceiling, e.multiplier, e.shift, e.value_bits, e.buffer_bits, e.relu, e.low, e.high
