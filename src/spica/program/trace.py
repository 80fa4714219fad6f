"""Tracing: what layers do with the integer primitives becomes the steps of a program.

A layer's ``forward_integer`` runs once, on values that have a shape and a range but no content. Each primitive that it
calls adds a step. So a layer is said once, in its own file, and whatever reads programs learns it from there.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from spica.network import TensorType
from spica.program import ir
from spica.program.infer import (
    accumulator_range,
    both_ends,
    epilogue_range,
    finish,
    output_range,
    output_shapes,
    shifted_range,
)
from spica.program.ir import Range, Shape
from spica.program.limits import INT32_MAX, INT32_MIN, TWO_BYTES, excess
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
        sums, sums_shape: the step that makes these accumulators, without its output, and the shape in which it does.
    """

    tracer: Tracer
    shape: tuple[int, ...]
    tensor: int | None
    dtype: DTypeLike = np.int64
    factors: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    sums: ir.Accumulate | None = None
    sums_shape: Shape = (0, 0, 0)

    @property
    def ndim(self) -> int:
        """Number of axes, the batch axis included."""
        return len(self.shape)

    @property
    def range(self) -> Range:
        """Smallest and largest value."""
        if self.tensor is not None:
            return self.tracer.tensors[self.tensor].range
        assert self.sums is not None
        return self.sums.sums

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, *shape: Any) -> Value:
        """Return the same values in another shape, as numpy does."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        sizes = np.empty(self.shape, np.bool_).reshape(wanted).shape
        tensor = self.tensor
        if tensor is not None and image_shape(sizes) != self.tracer.tensors[tensor].shape:
            tensor = self.tracer.view(tensor, image_shape(sizes))
        return Value(self.tracer, sizes, tensor, self.dtype, self.factors, self.sums, self.sums_shape)

    def __array__(self, *_: Any, **__: Any) -> NDArray:
        raise Untraceable("numpy")

    astype = __array__


def image_shape(shape: Sequence[int]) -> Shape:
    """Return rows, columns and channels of an array of one sample, batch axis first."""
    if shape[0] != 1 or not 2 <= len(shape) <= 4:
        raise Untraceable(f"an array of shape {tuple(shape)}")
    rows, columns = (1, 1, *shape[1:-1])[-2:]
    return rows, columns, shape[-1]


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
        step = ir.Conv(
            kernel=_weights(kernel), strides=strides, padding=_checked(padding), fill=np.asarray(fill, np.int64),
            **self._pending(x),
        )  # fmt: skip
        return self._sums(step, x)

    def convolve_depthwise(self, x: Value, kernel: NDArray, strides: Pair, padding: Padding, bound: int) -> Value:
        """Trace ``primitives.convolve_depthwise``."""
        fill = np.zeros(kernel.shape[2], np.int64)
        step = ir.Depthwise(
            kernel=_weights(kernel), strides=strides, padding=_checked(padding), fill=fill, **self._pending(x)
        )
        return self._sums(step, x)

    def add(self, a: Value, b: Value, shifts: tuple[NDArray, NDArray], value_bits: int) -> Value:
        """Trace ``primitives.add``."""
        lows, highs = zip(*[shifted_range(v.range, s) for v, s in zip((a, b), shifts)])
        if min(lows) < -(1 << value_bits) or max(highs) >= 1 << value_bits:
            raise Untraceable("a sum that saturates")
        left, right = (_each(shift, a.shape[-1]) for shift in shifts)
        return self._sums(ir.Add(shifts=(left, right), **self._pending(a, b)), a)

    def look_up(self, x: Value, table: NDArray, lowest: int) -> Value:
        """Trace ``primitives.look_up``."""
        return self._sums(ir.Lut(table=np.asarray(table, np.int64), lowest=lowest, **self._pending(x)), x)

    def apply_epilogue(self, acc: Value, epilogue: Epilogue) -> Value:
        """Trace ``primitives.apply_epilogue``."""
        if epilogue.average:
            return self._average(acc, epilogue)
        if epilogue.pool is not None:
            return self._pool(self.apply_epilogue(acc, replace(epilogue, pool=None)), epilogue)
        after = channel_epilogue(epilogue, acc.shape[-1])
        if acc.tensor is not None and epilogue.multiplier is None and _leaves(after, acc.range, acc.shape[-1]):
            return replace(acc, dtype=epilogue.dtype)
        sums, shape = acc.sums, acc.sums_shape
        if sums is None:
            sums, shape = ir.Lut(**self._pending(acc) | {"sums": acc.range}), image_shape(acc.shape)
        made = self._tensor(shape, epilogue_range(after, acc.range))
        self.steps.append(sums.with_fields(outputs=(made,), epilogue=after))
        return Value(self, (1, *shape), made, epilogue.dtype).reshape(acc.shape)

    def concatenate(self, values: Sequence[Value], dtype: DTypeLike) -> Value:
        """Trace ``primitives.concatenate``."""
        shape = (*values[0].shape[:-1], sum(v.shape[-1] for v in values))
        made, start = self._tensor(image_shape(shape), _joined(*values)), 0
        for value in values:
            size = image_shape(value.shape)
            self._copy(value, made, shape=size, strides=_strides(size), start=(0, 0, start))
            start += size[2]
        return Value(self, shape, made, dtype)

    def permute(self, x: Value, axes: tuple[int, ...]) -> Value:
        """Trace ``primitives.permute``."""
        sizes = x.shape[1:]
        strides = [prod(sizes[a + 1 :]) for a in range(len(sizes))]
        return self._moved(x, [sizes[a] for a in axes], [strides[a] for a in axes], 0)

    def take(self, x: Value, axis: int, positions: range) -> Value:
        """Trace ``primitives.take``."""
        sizes = list(x.shape[1:])
        strides = [prod(sizes[a + 1 :]) for a in range(len(sizes))]
        offset = positions.start * strides[axis]
        sizes[axis], strides[axis] = len(positions), strides[axis] * positions.step
        return self._moved(x, sizes, strides, offset)

    def dilate(self, x: Value, strides: Pair, padding: Padding) -> Value:
        """Trace ``primitives.dilate``."""
        size = h, w, c = image_shape(x.shape)
        (top, bottom), (left, right) = _checked(padding)
        shape = (1, top + (h - 1) * strides[0] + 1 + bottom, left + (w - 1) * strides[1] + 1 + right, c)
        low, high = x.range
        made = self._tensor(image_shape(shape), (min(low, 0), max(high, 0)))
        self._copy(x, made, shape=size, strides=_strides(size), start=(top, left, 0), step=strides, clear=True)
        return Value(self, shape, made, x.dtype)

    def to_float(self, x: Value, kind: TensorType) -> Value:
        """Trace ``primitives.to_float``."""
        if np.abs(kind.frac_bits).max() > MOST_FRACTION:
            raise Untraceable("numbers beyond float32")
        factors = np.ldexp(np.float32(1), -kind.frac_bits), kind.scale
        power, scale = (np.broadcast_to(f, x.shape[-1:]).astype(np.float32) for f in factors)
        return replace(x, dtype=np.float32, factors=(power, scale))

    def sliding_window(self, x: Value, past: Value, frames: int) -> tuple[Value, Value]:
        """Trace ``primitives.sliding_window`` where every sample is the next frame of another stream."""
        _, height, width, channels = x.shape
        if frames == 1:
            raise Untraceable("a window of one frame")
        made = self._tensor((frames, height * width, channels), _joined(x, past))
        before, newest = (frames - 1, height * width, channels), (1, height * width, channels)
        self._copy(past, made, shape=before, strides=_strides(before))
        self._copy(x, made, shape=newest, strides=_strides(newest), start=(frames - 1, 0, 0))
        windows = Value(self, (1, frames, height * width, channels), made, x.dtype)
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
        reads = tuple(map(tensor_of, (x, *state)))
        step = ir.Scan(
            layer=self.layer, inputs=reads, outputs=(), factor=(real, imaginary), arrive=arrives, leave=leaves,
            value_bits=bits,
        )  # fmt: skip
        tensors = [self.tensors[n] for n in reads]
        shapes, ends = output_shapes(step, tensors), output_range(step, tensors)
        made = [self._tensor(shape, ends) for shape in shapes]
        self.steps.append(step.with_fields(outputs=tuple(made)))
        last_real, last_imaginary = (Value(self, (1, channels), number, leave.dtype) for number in made[1:])
        return Value(self, (1, *shapes[0]), made[0], leave.dtype), (last_real, last_imaginary)

    def normalise(self, x: Value) -> Value:
        """Trace ``primitives.normalise``."""
        return self.apply_epilogue(self._sums(ir.Normalize(**self._pending(x)), x), Epilogue(value_bits=ir.ANY_BITS))

    def attend(self, q: Value, k: Value, v: Value, heads: int, multiplier: int, shift: int) -> Value:
        """Trace ``primitives.attend``."""
        step = ir.Attention(heads=heads, multiplier=multiplier, shift=shift, **self._pending(q, k, v))
        return self._sums(step, v)

    # -- building steps -----------------------------------------------------------------------------------------

    def _tensor(self, shape: Shape, values: Range, shares: int | None = None) -> int:
        if values[0] < INT32_MIN or values[1] > INT32_MAX:
            raise Untraceable("values beyond 32 bits")
        self.tensors.append(ir.Tensor(shape=shape, low=values[0], high=values[1], shares=shares))
        return len(self.tensors) - 1

    def _pending(self, *reads: Value) -> dict[str, Any]:
        """Fields of a step that accumulates, until its range and its output are known."""
        inputs = tuple(map(tensor_of, reads))
        return {"layer": self.layer, "inputs": inputs, "outputs": (), "sums": (0, 0), "epilogue": ir.PLAIN}

    def _sums(self, step: ir.Accumulate, x: Value) -> Value:
        """Accumulators of ``step``, which wait for an epilogue; tokens stay tokens."""
        tensors = [self.tensors[n] for n in step.inputs]
        (shape,) = output_shapes(step, tensors)
        step = step.with_fields(sums=accumulator_range(step, tensors))
        if problem := excess(step, tensors):
            raise Untraceable(problem)
        return Value(self, x.shape if shape == tensors[0].shape else (1, *shape), None, sums=step, sums_shape=shape)

    def _pool(self, x: Value, epilogue: Epilogue) -> Value:
        assert epilogue.pool is not None
        size, strides, padding = epilogue.pool
        if any(p >= k for k, pair in zip(size, padding) for p in pair):
            raise Untraceable("a window of padding alone")
        source = tensor_of(x)
        step = ir.Pool(
            layer=self.layer, inputs=(source,), outputs=(), size=size, strides=strides, padding=_checked(padding)
        )
        (shape,) = output_shapes(step, [self.tensors[source]])
        pooled = self._tensor(shape, x.range)
        self.steps.append(step.with_fields(outputs=(pooled,)))
        return replace(x, shape=(1, *shape), tensor=pooled, dtype=epilogue.dtype)

    def _average(self, acc: Value, epilogue: Epilogue) -> Value:
        values = self.apply_epilogue(acc, replace(epilogue, average=False, multiplier=None, shift=None, dtype=np.int64))
        total = self._sums(ir.SumPixels(**self._pending(values)), values)
        after = Epilogue(
            value_bits=32, multiplier=epilogue.multiplier, shift=epilogue.shift, buffer_bits=epilogue.buffer_bits,
            low=epilogue.low, high=epilogue.high, dtype=epilogue.dtype,
        )  # fmt: skip
        return self.apply_epilogue(replace(total, shape=(1, values.shape[3])), after)

    def _moved(self, x: Value, sizes: list[int], strides: list[int], offset: int) -> Value:
        """A copy of some values of ``x``, from where ``strides`` say."""
        shape = (1, *sizes)
        made = self._tensor(image_shape(shape), x.range)
        rows, columns = ((1, 0), (1, 0), *zip(sizes[:-1], strides[:-1]))[-2:]
        size, steps = (rows[0], columns[0], sizes[-1]), (rows[1], columns[1], strides[-1])
        self._copy(x, made, shape=size, strides=steps, offset=offset)
        return replace(x, shape=shape, tensor=made)

    def _copy(self, source: Value, target: int, **where: Any) -> None:
        self.steps.append(ir.Copy(layer=self.layer, inputs=(tensor_of(source),), outputs=(target,), **where))


def port(name: str, value: Value) -> ir.Port:
    """Return the array that brings or takes ``value``, called ``name``."""
    return ir.Port(
        name=name, tensor=tensor_of(value), shape=value.shape[1:], dtype=_dtype_name(value.dtype),  # type: ignore[arg-type]
        factors=value.factors,
    )  # fmt: skip


@cache
def _dtype_name(dtype: Hashable) -> str:
    return np.dtype(dtype).name  # type: ignore[call-overload]


def channel_epilogue(epilogue: Epilogue, channels: int) -> ir.Epilogue:
    """Return an epilogue without pooling and averaging, with parameters for each channel."""
    bias, ceiling, multiplier, shift = (
        None if values is None else _each(values, channels)
        for values in (epilogue.bias, epilogue.ceiling, epilogue.multiplier, epilogue.shift)
    )
    return ir.Epilogue(
        value_bits=epilogue.value_bits, bias=bias, relu=epilogue.relu, ceiling=ceiling, multiplier=multiplier,
        shift=shift, buffer_bits=epilogue.buffer_bits, low=epilogue.low, high=epilogue.high,
    )  # fmt: skip


def tensor_of(value: Value) -> int:
    """Return the number of the tensor of ``value``; refuse accumulators, which are in none."""
    if value.tensor is None:
        raise Untraceable("sums that no epilogue takes in")
    return value.tensor


def _each(values: NDArray, channels: int) -> NDArray[np.int64]:
    full = np.empty(channels, np.int64)
    full[:] = values
    return full


def _leaves(epilogue: ir.Epilogue, values: Range, channels: int) -> bool:
    """Return whether an epilogue leaves all values of a range as they are."""
    ends = both_ends(values, channels)
    return np.array_equal(finish(ends, epilogue), ends)


def _weights(kernel: NDArray) -> NDArray:
    """Weights in the narrowest type that the engine takes."""
    low, high = int(kernel.min()), int(kernel.max())
    if low < TWO_BYTES[0] or high > TWO_BYTES[1]:
        raise Untraceable("weights beyond two bytes")
    return np.ascontiguousarray(kernel, np.int8 if low >= -128 and high < 128 else np.int16)


def _checked(padding: Padding) -> Padding:
    if min(map(min, padding)) < 0:
        raise Untraceable("negative padding")
    return padding


def _joined(*values: Value) -> Range:
    return min(v.range[0] for v in values), max(v.range[1] for v in values)


def _strides(shape: Shape) -> Shape:
    return shape[1] * shape[2], shape[2], 1
