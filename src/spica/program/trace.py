"""Tracing: what layers do with the integer primitives becomes the steps of a program.

A layer's ``forward_integer`` runs once, on values that have a shape and a range but no content. Each primitive that it
calls adds a step. So a layer is said once, in its own file, and whatever reads programs learns it from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from spica.network import TensorType
from spica.program import ir, steps
from spica.program.ir import ANY_BITS, INT32_MAX, INT32_MIN, PLAIN, Range, Shape
from spica.semantics.primitives import Complex, Epilogue, Padding, Pair

MOST_FRACTION = 90
"""Fractional bits at which 32-bit integers still are normal float32 numbers."""


class Untraceable(Exception):
    """A layer does something beyond the 32 bits, or the steps, of a program."""


@dataclass(eq=False)
class Value:
    """Stand-in for an array while a layer is traced: its shape, with a batch axis of one, and where it lies.

    Attributes:
        tensor: number of its tensor; ``None`` for accumulators that no epilogue has taken in yet.
        factors: two of each channel, where it leaves as real numbers.
        sums: the step that makes these accumulators, without its output.
    """

    tracer: Tracer
    shape: tuple[int, ...]
    tensor: int | None
    dtype: DTypeLike = np.int64
    factors: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    sums: ir.Accumulate | None = None

    @property
    def ndim(self) -> int:
        """Number of axes, the batch axis included."""
        return len(self.shape)

    @property
    def range(self) -> Range:
        """Smallest and largest value."""
        return self.sums.sums if self.sums is not None else self.tracer.tensors[tensor_of(self)].range

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, *shape: Any) -> Value:
        """Return the same values in another shape, as numpy does."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        sizes = np.empty(self.shape, np.bool_).reshape(wanted).shape
        tensor = self.tensor
        if tensor is not None and image_shape(sizes) != self.tracer.tensors[tensor].shape:
            tensor = self.tracer.view(tensor, image_shape(sizes))
        return Value(self.tracer, sizes, tensor, self.dtype, self.factors, self.sums)

    def __array__(self, *_: Any, **__: Any) -> NDArray:
        raise Untraceable("numpy")

    astype = __array__


def image_shape(shape: Sequence[int]) -> Shape:
    """Return rows, columns and channels of an array of one sample, batch axis first."""
    if shape[0] != 1 or not 2 <= len(shape) <= 4:
        raise Untraceable(f"an array of shape {tuple(shape)}")
    rows, columns = (1, 1, *shape[1:-1])[-2:]
    return rows, columns, shape[-1]


def tensor_of(value: Value) -> int:
    """Return the number of the tensor of ``value``; refuse accumulators, which are in none."""
    if value.tensor is None:
        raise Untraceable("sums that no epilogue takes in")
    return value.tensor


def port(name: str, value: Value) -> ir.Port:
    """Return the array that brings or takes ``value``, called ``name``."""
    dtype = np.dtype(value.dtype).type.__name__
    return ir.Port(name=name, tensor=tensor_of(value), shape=value.shape[1:], dtype=dtype, factors=value.factors)


class Tracer:
    """Integer primitives that record their use as the steps of a program.

    Attributes:
        tensors, steps: of the program so far.
        layer: name of the layer whose steps come next.
    """

    def __init__(self) -> None:
        self.tensors: list[ir.Tensor] = []
        self.steps: list[ir.Step] = []
        self.layer = ""

    def input(self, shape: Sequence[int], low: int, high: int, dtype: DTypeLike) -> Value:
        """Return a value ``(1, *shape)`` of integers from ``low`` to ``high`` that every run is given."""
        shape = (1, *shape)
        return Value(self, shape, self._tensor(image_shape(shape), (low, high)), dtype)

    def view(self, tensor: int, shape: Shape) -> int:
        """Return the number of a new tensor that has the values of ``tensor`` in another shape."""
        known = self.tensors[tensor]
        return self._tensor(shape, known.range, tensor if known.shares is None else known.shares)

    def mark(self) -> tuple[int, int]:
        """Return where the trace is now, to go back to with ``reset``."""
        return len(self.tensors), len(self.steps)

    def reset(self, mark: tuple[int, int]) -> None:
        """Forget what was traced since ``mark``."""
        del self.tensors[mark[0] :], self.steps[mark[1] :]

    def program(self, inputs: Mapping[str, Value], outputs: Mapping[str, Value], **fields: Any) -> ir.Program:
        """Return the program that takes arrays for ``inputs`` to those of ``outputs``, with its other fields given."""
        reads, writes = (tuple(port(*item) for item in values.items()) for values in (inputs, outputs))
        return ir.Program(tensors=tuple(self.tensors), steps=tuple(self.steps), inputs=reads, outputs=writes, **fields)

    # -- the primitives, as `network.layer.Ops` lists them --------------------------------------------------------

    def convolve(self, x: Value, kernel: NDArray, strides: Pair, padding: Padding, fill: NDArray, bound: int) -> Value:
        """Trace ``primitives.convolve``."""
        kernel, padding, fill = _weights(kernel), _checked(padding), np.asarray(fill, np.int64)
        return self._sums(steps.Conv, x, kernel=kernel, strides=strides, padding=padding, fill=fill)

    def convolve_depthwise(self, x: Value, kernel: NDArray, strides: Pair, padding: Padding, bound: int) -> Value:
        """Trace ``primitives.convolve_depthwise``."""
        kernel, padding, fill = _weights(kernel), _checked(padding), np.zeros(kernel.shape[2], np.int64)
        return self._sums(steps.Depthwise, x, kernel=kernel, strides=strides, padding=padding, fill=fill)

    def add(self, a: Value, b: Value, shifts: tuple[NDArray, NDArray], value_bits: int) -> Value:
        """Trace ``primitives.add``."""
        lows, highs = zip(*map(steps.shifted_range, (a.range, b.range), shifts))
        if min(lows) < -(1 << value_bits) or max(highs) >= 1 << value_bits:
            raise Untraceable("a sum that saturates")
        left, right = (_each(shift, a.shape[-1]) for shift in shifts)
        return self._sums(steps.Add, a, b, shifts=(left, right))

    def multiply(self, a: Value, b: Value) -> Value:
        """Trace ``primitives.multiply``."""
        return self._sums(steps.Multiply, a, b)

    def look_up(self, x: Value, table: NDArray, lowest: int) -> Value:
        """Trace ``primitives.look_up``."""
        return self._sums(steps.Lut, x, table=np.asarray(table, np.int64), lowest=lowest)

    def apply_epilogue(self, acc: Value, epilogue: Epilogue) -> Value:
        """Trace ``primitives.apply_epilogue``."""
        if epilogue.average:
            return self._average(acc, epilogue)
        if epilogue.pool is not None:
            return self._pool(self.apply_epilogue(acc, replace(epilogue, pool=None)), epilogue)
        after = channel_epilogue(epilogue, acc.shape[-1])
        if acc.tensor is not None and epilogue.multiplier is None and not after.changes(acc.range):
            return replace(acc, dtype=epilogue.dtype)
        sums = acc.sums or self._sums(steps.Lut, acc).sums
        assert sums is not None
        (made,) = self._write(sums, after.range(acc.range), epilogue=after)
        return Value(self, (1, *self.tensors[made].shape), made, epilogue.dtype).reshape(acc.shape)

    def concatenate(self, values: Sequence[Value], dtype: DTypeLike) -> Value:
        """Trace ``primitives.concatenate``."""
        shape = (*values[0].shape[:-1], sum(v.shape[-1] for v in values))
        made, start = self._tensor(image_shape(shape), _joined(*values)), 0
        for value in values:
            size = image_shape(value.shape)
            self._copy(value, made, size, start=(0, 0, start))
            start += size[2]
        return Value(self, shape, made, dtype)

    def permute(self, x: Value, axes: tuple[int, ...]) -> Value:
        """Trace ``primitives.permute``."""
        sizes, strides = x.shape[1:], _strides(x.shape[1:])
        return self._moved(x, [sizes[a] for a in axes], [strides[a] for a in axes], 0)

    def take(self, x: Value, axis: int, positions: range) -> Value:
        """Trace ``primitives.take``."""
        sizes, strides = list(x.shape[1:]), _strides(x.shape[1:])
        offset = positions.start * strides[axis]
        sizes[axis], strides[axis] = len(positions), strides[axis] * positions.step
        return self._moved(x, sizes, strides, offset)

    def gather(self, x: Value, positions: NDArray, shape: tuple[int, ...]) -> Value:
        """Trace ``primitives.gather``."""
        step = self._step(steps.Gather, x, positions=positions, shape=image_shape((1, *shape)))
        (made,) = self._write(step, step.output_range(self._read(step)))
        return replace(x, shape=(1, *shape), tensor=made)

    def dilate(self, x: Value, strides: Pair, padding: Padding) -> Value:
        """Trace ``primitives.dilate``."""
        size = h, w, c = image_shape(x.shape)
        (top, bottom), (left, right) = _checked(padding)
        shape = (1, top + (h - 1) * strides[0] + 1 + bottom, left + (w - 1) * strides[1] + 1 + right, c)
        low, high = x.range
        made = self._tensor(image_shape(shape), (min(low, 0), max(high, 0)))
        self._copy(x, made, size, start=(top, left, 0), step=strides, clear=True)
        return Value(self, shape, made, x.dtype)

    def to_float(self, x: Value, kind: TensorType) -> Value:
        """Trace ``primitives.to_float``."""
        if np.abs(kind.frac_bits).max() > MOST_FRACTION:
            raise Untraceable("numbers beyond float32")
        factors = np.ldexp(np.float32(1), -kind.frac_bits), kind.scale
        power, scale = (np.full(x.shape[-1], f, np.float32) for f in factors)
        return replace(x, dtype=np.float32, factors=(power, scale))

    def sliding_window(self, x: Value, past: Value, frames: int) -> tuple[Value, Value]:
        """Trace ``primitives.sliding_window`` where every sample is the next frame of another stream."""
        _, height, width, channels = x.shape
        if frames == 1:
            raise Untraceable("a window of one frame")
        shape = frames, height * width, channels
        made = self._tensor(shape, _joined(x, past))
        self._copy(past, made, (frames - 1, *shape[1:]))
        self._copy(x, made, (1, *shape[1:]), start=(frames - 1, 0, 0))
        windows = Value(self, (1, *shape), made, x.dtype)
        return windows, self.take(windows, 0, range(1, frames))

    def scan(
        self, x: Value, state: tuple[Value, Value], factor: Complex, arrive: Epilogue, leave: Epilogue, bits: int
    ) -> tuple[Value, tuple[Value, Value]]:
        """Trace ``Reference.scan``."""
        if arrive.bias is not None or leave.bias is not None:
            raise Untraceable("a recurrence with a bias")
        channels = x.shape[-1]
        real, imaginary = (_each(part, channels) for part in factor)
        arrives, leaves = (channel_epilogue(epilogue, channels) for epilogue in (arrive, leave))
        step = self._step(
            steps.Scan, x, *state, factor=(real, imaginary), arrive=arrives, leave=leaves, value_bits=bits
        )
        states, *last = self._write(step, (leave.low, leave.high))
        after = [Value(self, (1, channels), number, leave.dtype) for number in last]
        return Value(self, (1, *self.tensors[states].shape), states, leave.dtype), (after[0], after[1])

    def normalise(self, x: Value) -> Value:
        """Trace ``primitives.normalise``."""
        return self.apply_epilogue(self._sums(steps.Normalize, x), Epilogue(value_bits=ANY_BITS))

    def attend(self, q: Value, k: Value, v: Value, heads: int, multiplier: int, shift: int) -> Value:
        """Trace ``primitives.attend``."""
        return self._sums(steps.Attention, q, k, v, heads=heads, multiplier=multiplier, shift=shift)

    # -- building steps -----------------------------------------------------------------------------------------

    def _tensor(self, shape: Shape, values: Range, shares: int | None = None) -> int:
        if values[0] < INT32_MIN or values[1] > INT32_MAX:
            raise Untraceable("values beyond 32 bits")
        self.tensors.append(ir.Tensor(shape=shape, low=values[0], high=values[1], shares=shares))
        return len(self.tensors) - 1

    def _step(self, kind: Any, *reads: Value, **parameters: Any) -> Any:
        """A step that writes nothing yet."""
        return kind(layer=self.layer, inputs=tuple(map(tensor_of, reads)), outputs=(), **parameters)

    def _read(self, step: ir.Step) -> list[ir.Tensor]:
        return [self.tensors[number] for number in step.inputs]

    def _write(self, step: ir.Step, values: Range, **changes: Any) -> tuple[int, ...]:
        """Add a step, with some fields changed, and tensors for the values that it writes; return their numbers."""
        made = tuple(self._tensor(shape, values) for shape in step.output_shapes(self._read(step)))
        self.steps.append(step.with_fields(outputs=made, **changes))
        return made

    def _sums(self, kind: type[ir.Accumulate], *reads: Value, **parameters: Any) -> Value:
        """Accumulators of a step, which wait for an epilogue; tokens stay tokens."""
        step = self._step(kind, *reads, sums=(0, 0), epilogue=PLAIN, **parameters)
        read = self._read(step)
        step = step.with_fields(sums=step.sums_range(read))
        if problem := step.excess(read):
            raise Untraceable(problem)
        (shape,) = step.output_shapes(read)
        return Value(self, reads[0].shape if shape == read[0].shape else (1, *shape), None, sums=step)

    def _pool(self, x: Value, epilogue: Epilogue) -> Value:
        assert epilogue.pool is not None
        size, strides, padding = epilogue.pool
        if any(p >= k for k, pair in zip(size, padding) for p in pair):
            raise Untraceable("a window of padding alone")
        step = self._step(steps.Pool, x, size=size, strides=strides, padding=_checked(padding))
        (made,) = self._write(step, x.range)
        return replace(x, shape=(1, *self.tensors[made].shape), tensor=made, dtype=epilogue.dtype)

    def _average(self, acc: Value, epilogue: Epilogue) -> Value:
        values = self.apply_epilogue(acc, replace(epilogue, average=False, multiplier=None, shift=None, dtype=np.int64))
        total = self._sums(steps.SumPixels, values)
        mean = replace(epilogue, value_bits=32, bias=None, pool=None, relu=False, ceiling=None, average=False)
        return self.apply_epilogue(replace(total, shape=(1, values.shape[3])), mean)

    def _moved(self, x: Value, sizes: list[int], strides: list[int], offset: int) -> Value:
        """A copy of some values of ``x``, from where ``strides`` say."""
        made = self._tensor(image_shape((1, *sizes)), x.range)
        rows, columns = ((1, 0), (1, 0), *zip(sizes[:-1], strides[:-1]))[-2:]
        size, apart = (rows[0], columns[0], sizes[-1]), (rows[1], columns[1], strides[-1])
        self._copy(x, made, size, strides=apart, offset=offset)
        return replace(x, shape=(1, *sizes), tensor=made)

    def _copy(self, source: Value, target: int, shape: Shape, **where: Any) -> None:
        """Add a copy of ``shape`` values; ``where`` as of ``Copy``, by default from neighbours to neighbours."""
        where = {"strides": tuple(_strides(shape)), **where}
        self.steps.append(
            steps.Copy(layer=self.layer, inputs=(tensor_of(source),), outputs=(target,), shape=shape, **where)
        )


def channel_epilogue(epilogue: Epilogue, channels: int) -> ir.Epilogue:
    """Return an epilogue without pooling and averaging, with parameters for each channel."""
    fields = dict(vars(epilogue))
    del fields["pool"], fields["average"], fields["dtype"]
    for name in ir.PER_CHANNEL:
        if fields[name] is not None:
            fields[name] = _each(fields[name], channels)
    return ir.Epilogue(**fields)


def _each(values: NDArray, channels: int) -> NDArray[np.int64]:
    return np.full(channels, values, np.int64)


def _weights(kernel: NDArray) -> NDArray:
    """Weights in the narrowest type that the engine takes."""
    low, high = int(kernel.min()), int(kernel.max())
    if low < steps.TWO_BYTES[0] or high > steps.TWO_BYTES[1]:
        raise Untraceable("weights beyond two bytes")
    return np.ascontiguousarray(kernel, np.int8 if low >= -128 and high < 128 else np.int16)


def _checked(padding: Padding) -> Padding:
    if min(map(min, padding)) < 0:
        raise Untraceable("negative padding")
    return padding


def _joined(*values: Value) -> Range:
    return min(v.range[0] for v in values), max(v.range[1] for v in values)


def _strides(sizes: Sequence[int]) -> list[int]:
    """Values between neighbours along each axis."""
    return [prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
