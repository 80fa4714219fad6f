"""Recording what layers do with the integer primitives, as steps of a native program.

A layer's ``forward_integer`` runs once, on values that have a shape and a range but no content. Each primitive that it
calls becomes a step. So a layer is still said once, in its own file, and the native engine learns it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from spica import _native
from spica.network import TensorType
from spica.semantics import primitives
from spica.semantics.primitives import Complex, Epilogue, Padding, Pair

INT32 = np.iinfo(np.int32)
TWO_BYTES = (-32640, 32639)
"""Range of weights that split into two signed bytes."""

MOST_FRACTION = 90
"""Fractional bits at which 32-bit integers still are normal float32 numbers."""

LARGEST_LIST = 1 << 16
MOST_PRODUCTS = INT32.max // (255 * 128)
"""Products of bytes whose sum fits 32 bits, whatever they are."""

EXACT_FLOAT32 = 1 << 24
MOST_TOKENS, LARGEST_HEAD = 1 << 15, 1024
"""Tokens and channels of a head that native attention has room for."""

ANY_BITS = 62
"""An epilogue that leaves sums as they are."""


class Untraceable(Exception):
    """What a layer does here is beyond the 32 bits, or the steps, of a native program."""


@dataclass(eq=False)
class Format:
    """Range of a tensor's integers, and whether windows slide over it, which needs byte planes."""

    low: int
    high: int
    windowed: bool = False

    def planes(self) -> tuple[int, int]:
        """Number of byte planes (none for 32-bit words) and the value that is stored as zero."""
        for count in (1, 2, 3, 4):
            if count > 1 and not self.windowed:
                return 0, 0
            half = 1 << (8 * count - 1)
            if self.low >= 0 and self.high < 2 * half:
                return count, 0
            zero = _native.near_zero if count == 3 else -half
            if self.low >= zero and self.high < zero + 2 * half:
                return count, zero
        raise Untraceable(f"integers from {self.low} to {self.high}")


@dataclass(eq=False)
class Memory:
    """Where a tensor lies: its rows, columns and channels, and the border that windows reach into."""

    shape: tuple[int, int, int]
    format: Format
    border: list[int] = field(default_factory=lambda: [0, 0, 0, 0])  # top, bottom, left, right
    fill: NDArray[np.int64] | None = None
    shares: Memory | None = None
    shared: bool = False
    counter: int = -1
    number: int = -1


@dataclass(eq=False)
class Value:
    """What stands for an array while a layer is recorded: its shape with a batch axis of one, and where it lies.

    ``sums`` makes its step, where it is a sum that no epilogue has taken in yet.
    """

    shape: tuple[int, ...]
    memory: Memory | None
    range: tuple[int, int]
    dtype: DTypeLike = np.int64
    sums: Callable[[_native.Program, Memory, tuple], None] | None = None
    wide: bool = False  # whether these sums may pass 32 bits
    real: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None  # two factors, where it leaves as real numbers
    sums_shape: tuple[int, ...] = ()  # of the sums as they are made, where ``shape`` is another

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, *shape: Any) -> Value:
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        sizes = np.empty(self.shape, np.bool_).reshape(wanted).shape
        if self.memory is None:
            return replace(self, shape=sizes, sums_shape=self.sums_shape or self.shape)
        if image_shape(sizes) == self.memory.shape:
            return replace(self, shape=sizes)
        if any(self.memory.border):
            raise Untraceable("a bordered tensor in another shape")
        base = self.memory.shares or self.memory
        base.shared = True
        return replace(self, shape=sizes, memory=Memory(image_shape(sizes), base.format, shares=base))

    def __array__(self, *_: Any, **__: Any) -> NDArray:
        raise Untraceable("numpy")

    astype = __array__


def image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """Rows, columns and channels of an array of one sample."""
    if shape[0] != 1 or not 2 <= len(shape) <= 4:
        raise Untraceable(f"an array of shape {tuple(shape)}")
    rows, columns = (1, 1, *shape[1:-1])[-2:]
    return rows, columns, shape[-1]


class Tracer:
    """Integer primitives that record their use, and make a native program of it."""

    def __init__(self) -> None:
        self._memories: list[Memory] = []
        self._steps: list[tuple[str, Callable[[_native.Program], None]]] = []
        self.layer = ""  # name of the layer whose steps come next
        self.choosing: list[str] = []  # layers of the convolutions of a program that was built, in order
        self._counters = 0

    def input(self, shape: Sequence[int], low: int, high: int, dtype: DTypeLike) -> Value:
        """A value ``(1, *shape)`` of integers from ``low`` to ``high`` that every run is given."""
        if low < INT32.min or high > INT32.max:
            raise Untraceable("more than 32 bits")
        shape = (1, *shape)
        return Value(shape, self._memory(image_shape(shape), Format(low, high)), (low, high), dtype)

    def count(self, value: Value) -> int:
        """Number of the counter of this value's events."""
        memory = _base(_memory_of(value))
        if memory.counter < 0:
            memory.counter, self._counters = self._counters, self._counters + 1
        return memory.counter

    def mark(self) -> tuple[int, int]:
        """Where the trace is now, to go back to."""
        return len(self._memories), len(self._steps)

    def reset(self, mark: tuple[int, int]) -> None:
        """Forget what was recorded since ``mark``."""
        del self._memories[mark[0] :], self._steps[mark[1] :]

    def build(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> _native.Program:
        """The program that takes arrays for ``inputs`` to those of ``outputs``."""
        program = _native.Program()
        sources, targets = ([_place(program, _memory_of(v)) for v in values] for values in (inputs, outputs))
        for memory in self._memories:
            _place(program, memory)
        for layer, step in self._steps:
            program.name(layer)
            step(program)
        nothing = np.zeros(0, np.float32)
        program.finalize(sources, targets, [v.real or (nothing, nothing) for v in outputs])
        return program

    def convolve(self, x: Value, kernel: NDArray, strides: Pair, padding: Padding, fill: NDArray, bound: int) -> Value:
        _check_weights(kernel)
        memory = self._window(x, padding, fill)
        rows, columns = _slid(x.shape, kernel.shape, strides, padding)
        channels, per_group, layer = kernel.shape[2], 4, self.layer
        listed = channels % per_group == 0 and (x.shape[2] + sum(padding[1])) * channels < per_group * LARGEST_LIST

        def sums(program: _native.Program, y: Memory, epilogue: tuple) -> None:
            planes, zero = memory.format.planes()
            h, w = (n + memory.border[2 * i] + memory.border[2 * i + 1] for i, n in enumerate(memory.shape[:2]))
            # Two bytes for each group of a row, for each pixel, and for their end.
            row = 2 * (w * (channels // per_group + 1) + 1) if listed and (planes, zero) == (1, 0) else 0
            events = program.tensor((h, 1, row), [0] * 4, 1, 0, [], -1, -1) if row else -1
            before = [p[0] for p in padding]
            weights = np.ascontiguousarray(kernel, np.int16)
            self.choosing.append(layer)
            program.convolve(_place(program, memory), y.number, events, weights, list(strides), before, *epilogue)

        reach = np.stack([np.minimum(kernel, 0).sum(axis=(0, 1, 2)), np.maximum(kernel, 0).sum(axis=(0, 1, 2))])
        span = _sums_range(reach, x, fill, padding)
        wide = span[0] < INT32.min or span[1] > INT32.max
        if wide and (kernel[..., 0].size > MOST_PRODUCTS or max(-span[0], span[1]) >= primitives.EXACT_FLOAT64):
            raise Untraceable("sums that no accumulator holds")
        return Value((1, rows, columns, kernel.shape[3]), None, span, sums=sums, wide=True)

    def convolve_depthwise(self, x: Value, kernel: NDArray, strides: Pair, padding: Padding, bound: int) -> Value:
        _check_weights(kernel)
        nothing = np.zeros(kernel.shape[2], np.int64)
        memory = self._window(x, padding, nothing)
        rows, columns = _slid(x.shape, kernel.shape, strides, padding)

        def sums(program: _native.Program, y: Memory, epilogue: tuple) -> None:
            before = [p[0] for p in padding]
            weights = np.ascontiguousarray(kernel, np.int16)
            program.depthwise(_place(program, memory), y.number, weights, list(strides), before, *epilogue)

        reach = np.stack([np.minimum(kernel, 0).sum(axis=(0, 1)), np.maximum(kernel, 0).sum(axis=(0, 1))])
        return Value((1, rows, columns, kernel.shape[2]), None, _sums_range(reach, x, nothing, padding), sums=sums)

    def add(self, a: Value, b: Value, shifts: tuple[NDArray, NDArray], value_bits: int) -> Value:
        memories = [_memory_of(v) for v in (a, b)]
        lows, highs = zip(*[_scaled(v.range, s) for v, s in zip((a, b), shifts)])
        if min(lows) < -(1 << value_bits) or max(highs) >= 1 << value_bits:
            raise Untraceable("a sum that saturates")

        def sums(program: _native.Program, y: Memory, epilogue: tuple) -> None:
            left, right = (np.broadcast_to(s, y.shape[2:]).tolist() for s in shifts)
            first, second = (_place(program, m) for m in memories)
            program.add(first, second, y.number, left, right, *epilogue)

        return Value(a.shape, None, (sum(lows), sum(highs)), sums=sums)

    def look_up(self, x: Value, table: NDArray, lowest: int) -> Value:
        memory = _memory_of(x)

        def sums(program: _native.Program, y: Memory, epilogue: tuple) -> None:
            program.map(_place(program, memory), y.number, table.tolist(), lowest, *epilogue)

        return Value(x.shape, None, (int(table.min()), int(table.max())), sums=sums)

    def apply_epilogue(self, acc: Value, epilogue: Epilogue) -> Value:
        if epilogue.average:
            return self._average(acc, epilogue)
        if epilogue.pool is not None:
            return self._pool(self.apply_epilogue(acc, replace(epilogue, pool=None)), epilogue)
        low, high = acc.range
        if not acc.wide and (low < INT32.min or high > INT32.max):
            raise Untraceable("sums beyond 32 bits")
        ends = np.broadcast_to(np.array([[low], [high]]), (2, acc.shape[-1]))
        reached = primitives.apply_epilogue(ends, replace(epilogue, dtype=np.int64))
        least, most = int(reached.min()), int(reached.max())
        if acc.memory is not None and epilogue.multiplier is None and np.array_equal(reached, ends):
            return replace(acc, dtype=epilogue.dtype)
        if least < INT32.min or most > INT32.max:
            raise Untraceable("results beyond 32 bits")
        shape = acc.sums_shape or acc.shape
        memory = self._memory(image_shape(shape), Format(least, most))
        sums = acc.sums or _identity(_memory_of(acc))
        fields = epilogue_fields(epilogue, acc.shape[-1]), (low, high)
        self._add(lambda program: sums(program, memory, fields))
        return Value(shape, memory, (least, most), epilogue.dtype).reshape(acc.shape)

    def concatenate(self, values: Sequence[Value], dtype: DTypeLike) -> Value:
        shape = (*values[0].shape[:-1], sum(v.shape[-1] for v in values))
        low, high = (pick(v.range[i] for v in values) for i, pick in enumerate((min, max)))
        memory, start = self._memory(image_shape(shape), Format(low, high)), 0
        for i, value in enumerate(values):
            size, last = image_shape(value.shape), i == len(values) - 1
            self._copy(_memory_of(value), memory, size, _strides(size), to_start=(0, 0, start), last=last)
            start += size[2]
        return Value(shape, memory, (low, high), dtype)

    def permute(self, x: Value, axes: tuple[int, ...]) -> Value:
        """Axes in another order; ``axes`` counts from 0 and leaves the batch out."""
        sizes = x.shape[1:]
        strides = [int(np.prod(sizes[a + 1 :])) for a in range(len(sizes))]
        return self._moved(x, [sizes[a] for a in axes], [strides[a] for a in axes], 0)

    def take(self, x: Value, axis: int, positions: range) -> Value:
        """Some positions of one axis, which counts from 0 and leaves the batch out."""
        sizes = list(x.shape[1:])
        strides = [int(np.prod(sizes[a + 1 :])) for a in range(len(sizes))]
        offset = positions.start * strides[axis]
        sizes[axis], strides[axis] = len(positions), strides[axis] * positions.step
        return self._moved(x, sizes, strides, offset)

    def dilate(self, x: Value, strides: Pair, padding: Padding) -> Value:
        """Zeros between the pixels and around the image."""
        h, w, c = image_shape(x.shape)
        (top, bottom), (left, right) = padding
        if min(top, left) < 0:
            raise Untraceable("negative padding")
        sh, sw = strides
        shape = (1, top + (h - 1) * sh + 1 + bottom, left + (w - 1) * sw + 1 + right, c)
        if top + (h - 1) * sh >= shape[1] or left + (w - 1) * sw >= shape[2]:
            raise Untraceable("negative padding")
        low, high = min(x.range[0], 0), max(x.range[1], 0)
        memory = self._memory(image_shape(shape), Format(low, high))
        self._copy(
            _memory_of(x), memory, (h, w, c), _strides((h, w, c)), to_start=(top, left, 0), step=strides, clear=True
        )
        return Value(shape, memory, (low, high), x.dtype)

    def to_float(self, x: Value, kind: TensorType) -> Value:
        if np.abs(kind.frac_bits).max() > MOST_FRACTION:
            raise Untraceable("numbers beyond float32")
        factors = np.ldexp(np.float32(1), -kind.frac_bits), kind.scale
        power, scale = (np.broadcast_to(f, x.shape[-1:]).astype(np.float32) for f in factors)
        return replace(x, dtype=np.float32, real=(power, scale))

    def sliding_window(self, x: Value, past: Value, frames: int) -> tuple[Value, Value]:
        """The newest frame after those before it; every sample is a frame of another stream."""
        _, height, width, channels = x.shape
        if frames == 1:
            raise Untraceable("a window of one frame")
        low, high = (pick(value.range[i] for value in (x, past)) for i, pick in enumerate((min, max)))
        window = self._memory((frames, height * width, channels), Format(low, high))
        before, newest = (frames - 1, height * width, channels), (1, height * width, channels)
        self._copy(_memory_of(past), window, before, _strides(before), last=False)
        self._copy(_memory_of(x), window, newest, _strides(newest), to_start=(frames - 1, 0, 0))
        windows = Value((1, frames, height * width, channels), window, (low, high), x.dtype)
        return windows, self.take(windows, 0, range(1, frames))

    def scan(
        self, x: Value, state: tuple[Value, Value], factor: Complex, arrive: Epilogue, leave: Epilogue, bits: int
    ) -> tuple[Value, tuple[Value, Value]]:
        if arrive.bias is not None or leave.bias is not None:
            raise Untraceable("a recurrence with a bias")
        (_, steps, channels), ends = x.shape, (leave.low, leave.high)
        reads = [_memory_of(value) for value in (x, *state)]
        made = self._memory((steps, channels, 2), Format(*ends))
        last = [self._memory((1, 1, channels), Format(*ends)) for _ in state]

        def step(program: _native.Program) -> None:
            source, *before = (_place(program, memory) for memory in reads)
            after = [_place(program, memory) for memory in last]
            real, imaginary = (np.ascontiguousarray(part, np.int64) for part in factor)
            stages = epilogue_fields(arrive, channels), epilogue_fields(leave, channels)
            program.recur(source, before, _place(program, made), after, real, imaginary, *stages, bits)

        self._add(step)
        real, imaginary = (Value((1, channels), memory, ends, leave.dtype) for memory in last)
        return Value((1, steps, channels, 2), made, ends, leave.dtype), (real, imaginary)

    def normalise(self, x: Value) -> Value:
        memory, (low, high), channels = _memory_of(x), x.range, x.shape[-1]
        if (high - low) * channels * max(channels, 1 << primitives.NORM_BITS) > INT32.max:
            raise Untraceable("a normalisation beyond 32 bits")

        def sums(program: _native.Program, y: Memory, epilogue: tuple) -> None:
            program.normalise(_place(program, memory), y.number, *epilogue)

        largest = channels << primitives.NORM_BITS
        return self.apply_epilogue(Value(x.shape, None, (-largest, largest), sums=sums), Epilogue(value_bits=ANY_BITS))

    def attend(self, q: Value, k: Value, v: Value, heads: int, multiplier: int, shift: int) -> Value:
        memories, (tokens, channels) = [_memory_of(value) for value in (q, k, v)], q.shape[1:]
        queries, keys, values = (max(-value.range[0], value.range[1]) for value in (q, k, v))
        score = queries * keys * (channels // heads)
        mixed = values * ((1 << primitives.PROBABILITY_BITS) + tokens)  # every probability is rounded, by half at most
        exact = max(score, mixed) < EXACT_FLOAT32 and 2 * score * multiplier <= INT32.max
        if not exact or tokens > MOST_TOKENS or not 0 <= shift < 32 or channels // heads > LARGEST_HEAD:
            raise Untraceable("attention beyond 32 bits")

        def sums(program: _native.Program, y: Memory, epilogue: tuple) -> None:
            q, k, v = (_place(program, memory) for memory in memories)
            program.attend(q, k, v, y.number, heads, multiplier, shift, *epilogue)

        return Value(v.shape, None, (-mixed if v.range[0] < 0 else 0, mixed), sums=sums)

    def _add(self, step: Callable[[_native.Program], None]) -> None:
        self._steps.append((self.layer, step))

    def _memory(self, shape: tuple[int, int, int], kind: Format) -> Memory:
        self._memories.append(Memory(shape, kind))
        return self._memories[-1]

    def _window(self, x: Value, padding: Padding, fill: NDArray) -> Memory:
        """Memory of ``x`` with a border for the padding; a copy of it where its own cannot have this border."""
        memory, wanted = _memory_of(x), [n for pair in padding for n in pair]
        if min(wanted) < 0:
            raise Untraceable("negative padding")
        if any(wanted):
            other_fill = memory.fill is not None and not np.array_equal(memory.fill, fill)
            if other_fill or memory.shares is not None or memory.shared:
                copy = self._memory(memory.shape, Format(*x.range))
                self._copy(memory, copy, memory.shape, _strides(memory.shape))
                memory = copy
            memory.fill = np.asarray(fill, np.int64)
            memory.border = [max(pair) for pair in zip(memory.border, wanted)]
            memory.format.low = min(memory.format.low, int(memory.fill.min()))
            memory.format.high = max(memory.format.high, int(memory.fill.max()))
        memory.format.windowed = True
        return memory

    def _pool(self, x: Value, epilogue: Epilogue) -> Value:
        assert epilogue.pool is not None
        size, strides, padding = epilogue.pool
        if any(p >= k for k, pair in zip(size, padding) for p in pair):
            raise Untraceable("a window of padding alone")
        memory = _memory_of(x)
        shape = (1, *_slid(x.shape, size, strides, padding), x.shape[3])
        pooled, before = self._memory(image_shape(shape), memory.format), [p[0] for p in padding]
        self._add(
            lambda program: program.max_pool(_place(program, memory), pooled.number, list(size), list(strides), before)
        )
        return replace(x, shape=shape, memory=pooled, dtype=epilogue.dtype)

    def _average(self, acc: Value, epilogue: Epilogue) -> Value:
        values = self.apply_epilogue(acc, replace(epilogue, average=False, multiplier=None, shift=None, dtype=np.int64))
        memory, pixels = _memory_of(values), values.shape[1] * values.shape[2]

        def sums(program: _native.Program, y: Memory, epilogue: tuple) -> None:
            program.sum_of_pixels(_place(program, memory), y.number, *epilogue)

        reach = (values.range[0] * pixels, values.range[1] * pixels)
        total = Value((1, values.shape[3]), None, reach, sums=sums, wide=True)
        after = Epilogue(
            value_bits=32, multiplier=epilogue.multiplier, shift=epilogue.shift, buffer_bits=epilogue.buffer_bits,
            low=epilogue.low, high=epilogue.high, dtype=epilogue.dtype,
        )  # fmt: skip
        return self.apply_epilogue(total, after)

    def _moved(self, x: Value, sizes: list[int], strides: list[int], offset: int) -> Value:
        """A copy of some values of ``x``, from where ``strides`` say."""
        shape = (1, *sizes)
        memory = self._memory(image_shape(shape), Format(*x.range))
        rows, columns = ((1, 0), (1, 0), *zip(sizes[:-1], strides[:-1]))[-2:]
        self._copy(
            _memory_of(x), memory, (rows[0], columns[0], sizes[-1]), (rows[1], columns[1], strides[-1]), offset=offset
        )
        return replace(x, shape=shape, memory=memory)

    def _copy(
        self,
        source: Memory,
        target: Memory,
        shape: tuple[int, int, int],
        strides: tuple[int, int, int],
        *,
        offset: int = 0,
        to_start: tuple[int, int, int] = (0, 0, 0),
        step: Pair = (1, 1),
        clear: bool = False,
        last: bool = True,
    ) -> None:
        where = shape, strides, offset, to_start, step, clear, last
        self._add(lambda program: program.copy(_place(program, source), target.number, *where))


def _place(program: _native.Program, memory: Memory) -> int:
    """The tensor of ``memory`` in ``program``."""
    if memory.number < 0:
        shares = -1 if memory.shares is None else _place(program, memory.shares)
        planes, zero = memory.format.planes()
        fill = [] if memory.fill is None or not memory.fill.any() else memory.fill.tolist()
        counter = _base(memory).counter
        memory.number = program.tensor(memory.shape, memory.border, planes, zero, fill, counter, shares)
    return memory.number


def _base(memory: Memory) -> Memory:
    return memory.shares or memory


def _memory_of(value: Value) -> Memory:
    if value.memory is None:
        raise Untraceable("sums that no epilogue takes in")
    return value.memory


def _check_weights(kernel: NDArray) -> None:
    if kernel.min() < TWO_BYTES[0] or kernel.max() > TWO_BYTES[1]:
        raise Untraceable("weights beyond two bytes")


def _slid(shape: Sequence[int], kernel: Sequence[int], strides: Pair, padding: Padding) -> tuple[int, int]:
    """Rows and columns that a window slides to, over an array ``(1, H, W, C)``."""
    sizes = [primitives.output_size(s, k, t, p) for s, k, t, p in zip(shape[1:3], kernel, strides, padding)]
    return sizes[0], sizes[1]


def _sums_range(reach: NDArray, x: Value, fill: NDArray, padding: Padding) -> tuple[int, int]:
    """Smallest and largest sum, for the sums of negative and of positive weights of each filter ``(2, F)``."""
    low, high = x.range
    if any(any(p) for p in padding):
        low, high = min(low, int(fill.min())), max(high, int(fill.max()))
    return int((reach[0] * high + reach[1] * low).min()), int((reach[0] * low + reach[1] * high).max())


def _scaled(reach: tuple[int, int], shifts: NDArray) -> tuple[int, int]:
    """Smallest and largest value of a range after any of the left shifts."""
    ends = [end << int(s) for end in reach for s in (shifts.min(), shifts.max())]
    return min(ends), max(ends)


def _identity(memory: Memory) -> Callable[[_native.Program, Memory, tuple], None]:
    return lambda program, y, epilogue: program.map(_place(program, memory), y.number, [], 0, *epilogue)


def _strides(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    return shape[1] * shape[2], shape[2], 1


def epilogue_fields(epilogue: Epilogue, channels: int) -> tuple:
    """An epilogue without pooling, as the native program takes it."""

    def each(values: NDArray | None) -> NDArray | None:
        return None if values is None else np.ascontiguousarray(np.broadcast_to(values, (channels,)), np.int64)

    parameters = each(epilogue.bias), each(epilogue.ceiling), each(epilogue.multiplier), each(epilogue.shift)
    return *parameters, epilogue.value_bits, epilogue.buffer_bits, epilogue.relu, epilogue.low, epilogue.high
