"""The integer primitives, defined in numpy: slow, plain, and the truth that every engine must reproduce.

All values are exact integers. Products are summed in float64 by the matrix routine only where the sum is known
to stay below 2**53, which every network that fits the accumulators of the hardware does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import DTypeLike, NDArray

from spica.errors import SpicaError
from spica.network.types import TensorType

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]
Complex = tuple[NDArray, NDArray]
"""Real and imaginary parts."""


EXACT_FLOAT64 = 1 << 53
NORM_BITS, EXPONENT_BITS, PROBABILITY_BITS = 8, 8, 10
"""Bits behind the point of normalised values, of exponents of two, and of probabilities."""

POWER_UNIT, SMALLEST_POWER = 64, 20
"""A power of one is 512 times the first; those below ``2**-20`` are as that."""

LARGEST_LEFT_SHIFT = 30


@dataclass(frozen=True, eq=False, kw_only=True)
class Epilogue:
    """Steps that take an accumulator to a layer's output, in this order.

    Attributes:
        value_bits: the accumulator saturates to ``[-2**value_bits, 2**value_bits - 1]``, before and after the bias.
        bias: integers on the accumulator's grid, one a channel.
        pool: max pooling as ``(size, strides, padding)``.
        relu: whether negative values become zero.
        ceiling: upper bound of a bounded ReLU on the accumulator's grid, one a channel or scalar.
        average: whether to sum over height and width (the division is part of the multiplier).
        multiplier: integer channel scale; ``None`` leaves the accumulator as it is.
        shift: right shift that follows, rounding half up; negative shifts left.
        buffer_bits: the scaled value saturates to ``[-2**buffer_bits, 2**buffer_bits - 1]``.
        low, high: range of the output integers.
        dtype: type of the output array.
    """

    value_bits: int
    bias: NDArray[np.int64] | None = None
    pool: tuple[Pair, Pair, Padding] | None = None
    relu: bool = False
    ceiling: NDArray[np.int64] | None = None
    average: bool = False
    multiplier: NDArray[np.int64] | None = None
    shift: NDArray[np.int64] | None = None
    buffer_bits: int = 32
    low: int = 0
    high: int = 0
    dtype: DTypeLike = np.int64


def saturate(x: NDArray, value_bits: int) -> NDArray:
    """Clip to ``[-2**value_bits, 2**value_bits - 1]``."""
    return x.clip(-(1 << value_bits), (1 << value_bits) - 1)


def shift_round(x: NDArray[np.int64], shift: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return ``floor(x * 2**-shift + 0.5)`` on integers; a negative shift is an exact left shift."""
    right, left = shift.clip(0, 62), (-shift).clip(0, LARGEST_LEFT_SHIFT)
    half = (np.int64(1) << right) >> 1
    return ((x << left) + half) >> right


def output_size(size: int, kernel: int, stride: int, pad: Pair) -> int:
    """Return how many windows fit along an axis."""
    return (size + pad[0] + pad[1] - kernel) // stride + 1


def same_padding(size: int, kernel: int, stride: int) -> Pair:
    """Return the zeros before and after an axis so that ``ceil(size / stride)`` windows fit; the odd one goes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def resolve_padding(padding: str | Padding, size: Pair, kernel: Pair, strides: Pair, where: str) -> Padding:
    """Return padding as explicit amounts ``((top, bottom), (left, right))``."""
    if padding == "same":
        top_bottom, left_right = (same_padding(s, k, t) for s, k, t in zip(size, kernel, strides))
        return top_bottom, left_right
    if padding == "valid":
        return (0, 0), (0, 0)
    if isinstance(padding, tuple):
        return padding
    raise SpicaError(f"{where}: padding {padding!r} is not 'same', 'valid' or ((top, bottom), (left, right))")


def windows(x: NDArray, kernel: Pair, strides: Pair, padding: Padding, fill: NDArray) -> NDArray:
    """Return a view (N, rows, columns, C, kh, kw) of every window of ``x`` (N, H, W, C), padded with ``fill`` (C,)."""
    (top, bottom), (left, right) = padding
    n, h, w, c = x.shape
    padded = np.empty((n, h + top + bottom, w + left + right, c), np.result_type(x, fill))
    padded[:] = fill
    padded[:, top : top + h, left : left + w] = x
    return sliding_window_view(padded, kernel, axis=(1, 2))[:, :: strides[0], :: strides[1]]


def convolve(
    x: NDArray, kernel: NDArray, strides: Pair, padding: Padding, fill: NDArray, bound: int
) -> NDArray[np.int64]:
    """Sum ``x * kernel`` over every window: ``(N, H, W, C)``, ``(kh, kw, C, F)`` to ``(N, rows, columns, F)``.

    ``bound`` is the largest magnitude that any sum can reach.
    """
    if bound >= EXACT_FLOAT64:
        raise SpicaError(f"a sum of products may reach {bound:.3g}, beyond what any accumulator holds")
    kh, kw, c, f = kernel.shape
    patches = windows(x, (kh, kw), strides, padding, fill)
    rows = patches.reshape(-1, c * kh * kw).astype(np.float64)
    columns = kernel.transpose(2, 0, 1, 3).reshape(-1, f).astype(np.float64)
    return (rows @ columns).astype(np.int64).reshape(*patches.shape[:3], f)


def convolve_depthwise(x: NDArray, kernel: NDArray, strides: Pair, padding: Padding, bound: int) -> NDArray[np.int64]:
    """Convolve each channel with its own kernel: ``(N, H, W, C)``, ``(kh, kw, C)`` to ``(N, rows, columns, C)``."""
    patches = windows(x, kernel.shape[:2], strides, padding, np.zeros(kernel.shape[2], x.dtype))
    return np.einsum("nhwcij,ijc->nhwc", patches.astype(np.int64), kernel.astype(np.int64))


def max_pool(x: NDArray, size: Pair, strides: Pair, padding: Padding) -> NDArray:
    """Return the largest value of every window; padded positions never win."""
    lowest = np.full(x.shape[3], np.iinfo(x.dtype).min if x.dtype.kind in "iu" else -np.inf, x.dtype)
    return windows(x, size, strides, padding, lowest).max(axis=(4, 5))


def apply_epilogue(acc: NDArray, epilogue: Epilogue) -> NDArray:
    """Take an accumulator ``(N, H, W, F)`` or ``(N, F)`` through the steps of ``epilogue``."""
    acc = saturate(acc.astype(np.int64), epilogue.value_bits)
    if epilogue.bias is not None:
        acc = saturate(acc + epilogue.bias, epilogue.value_bits)
    if epilogue.pool is not None:
        acc = max_pool(acc, *epilogue.pool)
    if epilogue.relu:
        acc = np.maximum(acc, 0)
    if epilogue.ceiling is not None:
        acc = np.minimum(acc, epilogue.ceiling)
    if epilogue.average:
        acc = saturate(acc.sum(axis=(1, 2)), 32)
    if epilogue.multiplier is not None and epilogue.shift is not None:
        acc = saturate(acc * epilogue.multiplier, epilogue.buffer_bits)
        acc = shift_round(acc, epilogue.shift).clip(epilogue.low, epilogue.high)
    return acc.astype(epilogue.dtype)


def sliding_window(x: NDArray, past: NDArray, frames: int) -> tuple[NDArray, NDArray]:
    """Return the last ``frames`` frames at each moment, and the past of the next moment.

    Args:
        x: new frames ``(S * N, H, W, C)`` of S streams, all of the first one's before those of the second.
        past: the frames before them ``(S, frames - 1, H * W, C)``.
        frames: how many there are in a window.

    Returns:
        Windows ``(S * N, frames, H * W, C)``, and as many frames as ``past`` has.
    """
    streams, known, *frame = past.shape
    history = np.concatenate([past, x.reshape(streams, -1, *frame)], axis=1)
    windows = np.moveaxis(sliding_window_view(history, frames, axis=1), -1, 2)
    return windows.reshape(len(x), frames, *frame), history[:, history.shape[1] - known :]


def turn(state: Complex, factor: Complex, x: NDArray, value_bits: int) -> Complex:
    """Return the complex ``state * factor + x``; every product and sum saturates to ``value_bits``."""
    (real, imaginary), (cosine, sine) = state, factor
    kept = saturate(saturate(real * cosine, value_bits) - saturate(imaginary * sine, value_bits), value_bits)
    crossed = saturate(real * sine, value_bits) + saturate(imaginary * cosine, value_bits)
    return saturate(kept + x, value_bits), saturate(crossed, value_bits)


def normalise(x: NDArray) -> NDArray[np.int64]:
    """Normalise each token of ``x`` (N, T, C) by its mean absolute deviation, to ``NORM_BITS`` fractional bits.

    ``floor(2**NORM_BITS * (C * x - sum) / max(floor(sum of |C * x - sum| / C), 1))``: 32 bits hold every step for up to
    2,048 channels of 8 bits, or 128 of 16.
    """
    values, channels = x.astype(np.int64), x.shape[-1]
    centred = channels * values - values.sum(axis=-1, keepdims=True)
    deviation = np.abs(centred).sum(axis=-1, keepdims=True) // channels
    return (centred << NORM_BITS) // np.maximum(deviation, 1)


def attend(q: NDArray, k: NDArray, v: NDArray, heads: int, multiplier: int, shift: int) -> NDArray[np.int64]:
    """Mix values (N, T, C) by a softmax over tokens, in integers, with ``PROBABILITY_BITS`` fractional bits.

    A score ``floor((q . k) * multiplier / 2**shift)`` is the exponent of a power of two, in 1/256. The power of the
    difference to the largest score, ``-n - f/256``, is ``(512 - f) * 64 >> n``: a line between whole powers. A
    probability is its power over their sum, rounded.
    """
    n, tokens, channels = q.shape
    queries, keys, values = (
        a.reshape(n, tokens, heads, channels // heads).transpose(0, 2, 1, 3).astype(np.int64) for a in (q, k, v)
    )
    scores = (queries @ keys.swapaxes(-1, -2)) * multiplier >> shift
    below = np.minimum(scores.max(axis=-1, keepdims=True) - scores, SMALLEST_POWER << EXPONENT_BITS)
    whole, part = below >> EXPONENT_BITS, below & ((1 << EXPONENT_BITS) - 1)
    powers = ((2 << EXPONENT_BITS) - part) * POWER_UNIT >> whole
    total = powers.sum(axis=-1, keepdims=True)
    probabilities = ((powers << PROBABILITY_BITS + 1) + total) // (2 * total)
    return (probabilities @ values).transpose(0, 2, 1, 3).reshape(n, tokens, channels)


def add(a: NDArray, b: NDArray, shifts: tuple[NDArray, NDArray], value_bits: int) -> NDArray[np.int64]:
    """Add two arrays of one shape, each first shifted left, by channel, and saturated to ``value_bits``."""
    left, right = (saturate(x.astype(np.int64) << shift, value_bits) for x, shift in zip((a, b), shifts))
    return left + right


def multiply(a: NDArray, b: NDArray) -> NDArray[np.int64]:
    """Multiply two arrays; axes of one of the second spread over the first."""
    return a.astype(np.int64) * b


def look_up(x: NDArray, table: NDArray, lowest: int) -> NDArray:
    """Return the entry of ``table`` for each value of ``x``; the first entry is that of ``lowest``."""
    return table[x.astype(np.int64) - lowest]


def concatenate(arrays: Sequence[NDArray], dtype: DTypeLike) -> NDArray:
    """Concatenate the channels of several arrays."""
    return np.concatenate([x.astype(dtype) for x in arrays], axis=-1)


def permute(x: NDArray, axes: tuple[int, ...]) -> NDArray:
    """Permute axes; ``axes`` counts from 0 and leaves the batch out."""
    return np.ascontiguousarray(x.transpose(0, *(a + 1 for a in axes)))


def take(x: NDArray, axis: int, positions: range) -> NDArray:
    """Take some positions of one axis, which counts from 0 and leaves the batch out."""
    return np.take(x, positions, axis=axis + 1)


def gather(x: NDArray, positions: NDArray[np.int64], shape: tuple[int, ...]) -> NDArray:
    """Return the values of each sample at ``positions``, zero where one is -1, in another shape."""
    values = x.reshape(len(x), -1)[:, np.maximum(positions, 0)]
    return np.where(positions < 0, np.zeros((), x.dtype), values).reshape(len(x), *shape)


def dilate(x: NDArray, strides: Pair, padding: Padding) -> NDArray:
    """Put zeros between the pixels of ``x`` (N, H, W, C), so that they lie ``strides`` apart, and around the image."""
    n, h, w, c = x.shape
    (sh, sw), ((top, bottom), (left, right)) = strides, padding
    wide = np.zeros((n, top + (h - 1) * sh + 1 + bottom, left + (w - 1) * sw + 1 + right, c), x.dtype)
    wide[:, top : top + (h - 1) * sh + 1 : sh, left : left + (w - 1) * sw + 1 : sw] = x
    return wide


def to_float(x: NDArray, kind: TensorType) -> NDArray[np.float32]:
    """Return the real numbers that integers of type ``kind`` stand for."""
    return kind.to_float(x)
