"""The steps of programs: each class is all there is to say of one.

The docstring has the equation, the fields are its parameters, and the methods give shapes and ranges of what it makes,
what must hold of it, and the same equation in numpy. A new step is a new class here, a method of the tracer that makes
it, and for the native engine a line in ``program.native``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spica.program.ir import INT32_MAX, Accumulate, Epilogue, Range, Shape, Step, Tensor
from spica.semantics import primitives
from spica.semantics.primitives import EXACT_FLOAT64, NORM_BITS, PROBABILITY_BITS, Padding, Pair
from spica.semantics.reference import Reference

TWO_BYTES = (-32640, 32639)
"""Range of weights that split into two signed bytes."""

MOST_PRODUCTS = INT32_MAX // (255 * 128)
"""Products of bytes whose sum fits 32 bits, whatever they are."""

EXACT_FLOAT32 = 1 << 24
MOST_TOKENS, LARGEST_HEAD = 1 << 15, 1024
"""Tokens and channels of a head that attention has room for."""


class Windowed(Accumulate, abstract=True):
    """A step that slides a window over rows and columns.

    Attributes:
        kernel: weights, int8 where they fit it, otherwise int16; rows, columns and channels first.
        strides: rows and columns between windows.
        padding: rows ``(top, bottom)`` and columns ``(left, right)`` around the image.
        fill: int64 value of each input channel there.
    """

    kernel_axes: ClassVar[int]

    kernel: NDArray
    strides: Pair
    padding: Padding
    fill: NDArray[np.int64]

    @property
    def padded(self) -> bool:
        """True where windows reach beyond the image."""
        return self.padding != ((0, 0), (0, 0))

    def output_shapes(self, x: Sequence[Tensor]) -> tuple[Shape, ...]:
        """Return as many rows and columns as windows fit, and as many channels as the kernel makes."""
        return (_slid(x[0], self.kernel.shape[:2], self.strides, self.padding, self.kernel.shape[-1]),)

    def sums_range(self, x: Sequence[Tensor]) -> Range:
        """Return the range that the signs of the weights allow."""
        low, high = x[0].range
        if self.padded:
            low, high = min(low, int(self.fill.min())), max(high, int(self.fill.max()))
        weights = self.kernel.reshape(-1, self.kernel.shape[-1])
        negative, positive = (part(weights, 0).sum(axis=0, dtype=np.int64) for part in (np.minimum, np.maximum))
        return int((negative * high + positive * low).min()), int((negative * low + positive * high).max())

    def _problems(self, x: Sequence[Tensor]) -> Iterator[str]:
        kernel, channels = self.kernel, x[0].shape[2]
        if kernel.dtype not in (np.int8, np.int16) or kernel.ndim != self.kernel_axes or kernel.shape[2] != channels:
            yield f"a kernel {kernel.shape} of {kernel.dtype} does not fit {channels} channels"
        if int(kernel.min()) < TWO_BYTES[0] or int(kernel.max()) > TWO_BYTES[1]:
            yield f"weights must be {TWO_BYTES[0]} to {TWO_BYTES[1]}"
        if self.fill.shape != (channels,):
            yield f"the padding needs one value for each of {channels} channels"
        yield from _window_problems(self.strides, self.padding)


class Conv(Windowed):
    """``y[i, j, f] = sum over r, s, c of x[i * stride + r - top, j * stride + s - left, c] * kernel[r, s, c, f]``.

    ``kernel`` is (rows, columns, channels, filters). A dense layer is a window of one pixel over an image of one.
    """

    kernel_axes = 4

    def excess(self, x: Sequence[Tensor]) -> str | None:
        """Return which limit it is beyond: past 32 bits, bytes are summed plane by plane and put together in 64."""
        products = self.kernel[..., 0].size
        if super().excess(x) and products > MOST_PRODUCTS:
            return f"{products} products of planes are beyond 32 bits"
        return _not_exact(self)

    def accumulate(self, x: Sequence[NDArray]) -> NDArray:
        """Run ``primitives.convolve``."""
        return primitives.convolve(x[0], self.kernel, self.strides, self.padding, self.fill, 0)


class Depthwise(Windowed):
    """``y[i, j, c] = sum over r, s of x[i * stride + r - top, j * stride + s - left, c] * kernel[r, s, c]``.

    ``kernel`` is (rows, columns, channels); ``fill`` is zero.
    """

    kernel_axes = 3

    def _problems(self, x: Sequence[Tensor]) -> Iterator[str]:
        if self.fill.any():
            yield "the padding of a depthwise step must be zero"
        yield from super()._problems(x)

    def accumulate(self, x: Sequence[NDArray]) -> NDArray:
        """Run ``primitives.convolve_depthwise``."""
        return primitives.convolve_depthwise(x[0], self.kernel, self.strides, self.padding, 0)


class Add(Accumulate):
    """``y = a * 2**shifts[0] + b * 2**shifts[1]``; ``shifts`` are int64, zero or more, one for each channel."""

    reads = 2

    shifts: tuple[NDArray[np.int64], NDArray[np.int64]]

    def sums_range(self, x: Sequence[Tensor]) -> Range:
        """Return the sum of both ranges, shifted."""
        lows, highs = zip(*[shifted_range(t.range, shift) for t, shift in zip(x, self.shifts)])
        return sum(lows), sum(highs)

    def _problems(self, x: Sequence[Tensor]) -> Iterator[str]:
        yield from _channel_problems(self.shifts, x[0].shape[2])

    def accumulate(self, x: Sequence[NDArray]) -> NDArray:
        """Run ``primitives.add``."""
        return primitives.add(x[0], x[1], self.shifts, 62)


class Multiply(Accumulate):
    """``y[i, j, c] = a[i, j, c] * b[i, j, c]``; rows, columns or channels of ``b`` are one where all of them are."""

    reads, alike = 2, False

    def sums_range(self, x: Sequence[Tensor]) -> Range:
        """Return the range of the products of both ranges' ends."""
        ends = [a * b for a in x[0].range for b in x[1].range]
        return min(ends), max(ends)

    def _problems(self, x: Sequence[Tensor]) -> Iterator[str]:
        if any(n not in (1, m) for m, n in zip(x[0].shape, x[1].shape)):
            yield f"a tensor of {x[1].shape} does not spread over one of {x[0].shape}"

    def accumulate(self, x: Sequence[NDArray]) -> NDArray:
        """Run ``primitives.multiply``."""
        return primitives.multiply(x[0], x[1])


class Lut(Accumulate):
    """``y = table[x - lowest]``; without a table ``y = x``, so that its epilogue alone remains. ``table`` is int64."""

    table: NDArray[np.int64] | None = None
    lowest: int = 0

    def sums_range(self, x: Sequence[Tensor]) -> Range:
        """Return the range of the table."""
        return x[0].range if self.table is None else (int(self.table.min()), int(self.table.max()))

    def _problems(self, x: Sequence[Tensor]) -> Iterator[str]:
        low, high = x[0].range
        table, first = self.table, self.lowest
        if table is not None and (table.ndim != 1 or not first <= low <= high < first + len(table)):
            yield f"its table must have an entry for each value from {low} to {high}"

    def accumulate(self, x: Sequence[NDArray]) -> NDArray:
        """Run ``primitives.look_up``."""
        return x[0] if self.table is None else primitives.look_up(x[0], self.table, self.lowest)


class SumPixels(Accumulate):
    """``y[c] = sum over i, j of x[i, j, c]``, which an epilogue makes an average of."""

    def output_shapes(self, x: Sequence[Tensor]) -> tuple[Shape, ...]:
        """Return one pixel."""
        return ((1, 1, x[0].shape[2]),)

    def sums_range(self, x: Sequence[Tensor]) -> Range:
        """Return the range of as many values as there are pixels."""
        rows, columns, _ = x[0].shape
        return x[0].low * rows * columns, x[0].high * rows * columns

    def excess(self, x: Sequence[Tensor]) -> str | None:
        """Return which limit it is beyond: it sums in 64 bits."""
        return _not_exact(self)

    def accumulate(self, x: Sequence[NDArray]) -> NDArray:
        """Sum over rows and columns."""
        return x[0].sum(axis=(1, 2), keepdims=True)


class Attention(Accumulate):
    """Values mixed by a softmax over tokens, with 10 bits behind the point; inputs are queries, keys and values.

    For each of ``heads`` groups of channels, with rows of one and tokens as columns: ``s = (q . k) * multiplier >>
    shift`` is the exponent of a power of two in 1/256, ``p`` each power over their sum, and ``y = sum of p * v``.
    ``primitives.attend`` says how both are rounded.
    """

    reads = 3

    heads: int
    multiplier: int
    shift: int

    def sums_range(self, x: Sequence[Tensor]) -> Range:
        """Return the range of ``v`` times probabilities, which add up to one but for half of a unit of each."""
        _, _, v = x
        largest = max(-v.low, v.high) * ((1 << PROBABILITY_BITS) + v.shape[1])
        return -largest if v.low < 0 else 0, largest

    def _problems(self, x: Sequence[Tensor]) -> Iterator[str]:
        if self.heads < 1 or x[0].shape[2] % self.heads:
            yield f"{x[0].shape[2]} channels cannot be cut into {self.heads} heads"

    def excess(self, x: Sequence[Tensor]) -> str | None:
        """Return which limit it is beyond: scores and sums are exact in float32."""
        q, k, _ = x
        _, tokens, channels = q.shape
        width = channels // self.heads
        score = max(-q.low, q.high) * max(-k.low, k.high) * width
        exact = max(score, self.sums[1]) < EXACT_FLOAT32 and 2 * score * self.multiplier <= INT32_MAX
        fits = exact and tokens <= MOST_TOKENS and 0 <= self.shift < 32 and width <= LARGEST_HEAD
        return None if fits else f"attention over {tokens} tokens of {q.bits} bits is beyond 32 bits"

    def accumulate(self, x: Sequence[NDArray]) -> NDArray:
        """Run ``primitives.attend``."""
        q, k, v = (a[:, 0] for a in x)
        return primitives.attend(q, k, v, self.heads, self.multiplier, self.shift)[:, None]


class Normalize(Accumulate):
    """``y = floor(2**8 * (C * x - sum) / max(floor(sum of |C * x - sum| / C), 1))`` over C channels of each pixel."""

    def sums_range(self, x: Sequence[Tensor]) -> Range:
        """Return the largest deviation, either way."""
        largest = x[0].shape[2] << NORM_BITS
        return -largest, largest

    def excess(self, x: Sequence[Tensor]) -> str | None:
        """Return which limit it is beyond: deviations and their sums have 32 bits."""
        channels = x[0].shape[2]
        fits = (x[0].high - x[0].low) * channels * max(channels, 1 << NORM_BITS) <= INT32_MAX
        return None if fits else f"a normalisation of {channels} channels of {x[0].bits} bits is beyond 32 bits"

    def accumulate(self, x: Sequence[NDArray]) -> NDArray:
        """Run ``primitives.normalise``."""
        return primitives.normalise(x[0])


class Scan(Step):
    """A linear recurrence of complex states over time; columns are time steps.

    ``state = leave(sat(factor * state + arrive(x), value_bits))`` for each channel, every product and sum saturated to
    ``value_bits``. Inputs are ``x`` (1, T, C) and the real and imaginary state before (1, 1, C); outputs are the states
    after each step (T, C, 2), real and imaginary, and the two after the last.

    Attributes:
        factor: real and imaginary parts, int64, one for each channel.
        arrive, leave: epilogues of what arrives and of the new state.
        value_bits: bits without the sign.
    """

    reads, writes = 3, 3

    factor: tuple[NDArray[np.int64], NDArray[np.int64]]
    arrive: Epilogue
    leave: Epilogue
    value_bits: int

    def output_shapes(self, x: Sequence[Tensor]) -> tuple[Shape, ...]:
        """Return the shape of the states after each step, and of the two parts after the last."""
        _, steps, channels = x[0].shape
        return (steps, channels, 2), (1, 1, channels), (1, 1, channels)

    def output_range(self, x: Sequence[Tensor]) -> Range:
        """Return the range of states."""
        return self.leave.low, self.leave.high

    def _problems(self, x: Sequence[Tensor]) -> Iterator[str]:
        channels = x[0].shape[2]
        yield from _channel_problems(self.factor, channels)
        yield from self.arrive.problems(channels)
        yield from self.leave.problems(channels)

    def compute(self, x: Sequence[NDArray], y: Sequence[NDArray]) -> Sequence[NDArray]:
        """Run ``Reference.scan``."""
        state = x[1][:, 0, 0], x[2][:, 0, 0]
        arrive, leave = (primitives.Epilogue(**vars(epilogue)) for epilogue in (self.arrive, self.leave))
        states, last = Reference().scan(x[0][:, 0], state, self.factor, arrive, leave, self.value_bits)
        return [states, *(part[:, None, None] for part in last)]


class Copy(Step):
    """``y[start + (i, j, c) * (step, 1)] = x.flat[offset + (i, j, c) . strides]`` for ``(i, j, c)`` within ``shape``.

    Several copies may fill one tensor.

    Attributes:
        shape: rows, columns, channels to copy.
        strides: values of the input between neighbours along each.
        offset: number of the first value of the input.
        start: row, column and channel of the output where the first goes.
        step: rows and columns of the output between neighbours.
        clear: whether the rest of the output becomes zero first.
    """

    shape: Shape
    strides: Shape
    offset: int = 0
    start: Shape = (0, 0, 0)
    step: Pair = (1, 1)
    clear: bool = False

    @property
    def places(self) -> tuple[slice, slice, slice]:
        """Rows, columns and channels of the output that are written."""
        ends = zip(self.start, (*self.step, 1), self.shape)
        rows, columns, channels = (slice(first, first + (size - 1) * by + 1, by) for first, by, size in ends)
        return rows, columns, channels

    def output_range(self, x: Sequence[Tensor]) -> Range:
        """Return the range of the input, with zero where the output is cleared."""
        low, high = x[0].range
        return (min(low, 0), max(high, 0)) if self.clear else (low, high)

    def problems(self, x: Sequence[Tensor], y: Sequence[Tensor]) -> Iterator[str]:
        """Yield whether it copies from or to places that are not there; it need not fill its output."""
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides))
        inside = min(*self.shape, *self.step) > 0 <= min(*self.strides, *self.start, self.offset)
        if not inside or last >= x[0].size or any(p.stop > size for p, size in zip(self.places, y[0].shape)):
            yield "copies values from or to places that its tensors do not have"

    def compute(self, x: Sequence[NDArray], y: Sequence[NDArray]) -> Sequence[NDArray]:
        """Copy with numpy's indices."""
        made = np.zeros_like(y[0]) if self.clear else y[0].copy()
        indices = np.ogrid[tuple(map(slice, self.shape))]
        places = self.offset + sum(index * stride for index, stride in zip(indices, self.strides))
        made[:, *self.places] = x[0].reshape(len(made), -1)[:, places]
        return [made]


class Gather(Step):
    """``y.flat[i] = x.flat[positions[i]]``, or zero where that is -1; ``shape`` is that of ``y``."""

    positions: NDArray[np.int64]
    shape: Shape

    def output_shapes(self, x: Sequence[Tensor]) -> tuple[Shape, ...]:
        """Return the shape that it is given."""
        return (self.shape,)

    def output_range(self, x: Sequence[Tensor]) -> Range:
        """Return the range of the input, widened to zero where a position is -1."""
        low, high = x[0].range
        return (min(low, 0), max(high, 0)) if self.positions.min() < 0 else (low, high)

    def _problems(self, x: Sequence[Tensor]) -> Iterator[str]:
        if self.positions.shape != (np.prod(self.shape),):
            yield f"{len(self.positions)} positions do not fill an output of {self.shape}"
        elif self.positions.min() < -1 or self.positions.max() >= x[0].size:
            yield "gathers values from places that its input does not have"

    def compute(self, x: Sequence[NDArray], y: Sequence[NDArray]) -> Sequence[NDArray]:
        """Run ``primitives.gather``."""
        return [primitives.gather(x[0], self.positions, self.shape)]


class Pool(Step):
    """``y[i, j, c]`` = maximum over a window of ``size``, channel by channel; places outside the image never win."""

    size: Pair
    strides: Pair
    padding: Padding

    def output_shapes(self, x: Sequence[Tensor]) -> tuple[Shape, ...]:
        """Return as many rows and columns as windows fit."""
        return (_slid(x[0], self.size, self.strides, self.padding, x[0].shape[2]),)

    def _problems(self, x: Sequence[Tensor]) -> Iterator[str]:
        yield from _window_problems(self.strides, self.padding)
        if any(p >= k for k, pair in zip(self.size, self.padding) for p in pair):
            yield "its padding must be smaller than its window"

    def compute(self, x: Sequence[NDArray], y: Sequence[NDArray]) -> Sequence[NDArray]:
        """Run ``primitives.max_pool``."""
        return [primitives.max_pool(x[0], self.size, self.strides, self.padding)]


def shifted_range(values: Range, shifts: NDArray) -> Range:
    """Return the smallest and the largest value of a range after any of the left shifts."""
    ends = [end << int(shift) for end in values for shift in (shifts.min(), shifts.max())]
    return min(ends), max(ends)


def _slid(x: Tensor, window: Sequence[int], strides: Pair, padding: Padding, channels: int) -> Shape:
    """Return the shape that a window makes of ``x``."""
    rows, columns = map(primitives.output_size, x.shape[:2], window, strides, padding)
    return rows, columns, channels


def _not_exact(step: Accumulate) -> str | None:
    low, high = step.sums
    return None if max(-low, high) < EXACT_FLOAT64 else f"accumulators {low} to {high} are beyond 53 bits"


def _window_problems(strides: Pair, padding: Padding) -> Iterator[str]:
    if min(strides) < 1 or min(map(min, padding)) < 0:
        yield "strides must be 1 or more and padding 0 or more"


def _channel_problems(parameters: Sequence[NDArray], channels: int) -> Iterator[str]:
    for parameter in parameters:
        if parameter.shape != (channels,):
            yield f"needs one parameter for each of {channels} channels; got {parameter.shape}"


def weight_arrays(step: Step) -> list[NDArray]:
    """Return the parameters of a step that count as weights: a kernel, a table, or the factors of a recurrence."""
    found = [content for name, content in vars(step).items() if name in ("kernel", "table", "factor")]
    return [a for value in found if value is not None for a in (value if isinstance(value, tuple) else (value,))]
