"""Primitives for evaluation: the integer arithmetic of the hardware, bit for bit, without 64-bit integers.

Not every backend has these. Products are summed by float32 convolutions of operands so narrow that every sum stays
below 2**24, where float32 is exact; wider operands are split into planes of bits. Integers beyond 32 bits are two
limbs: ``high * 2**16 + low``, both int32, ``0 <= low < 2**16``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras import ops
from spica.errors import SpicaError
from spica.qat.tracer import Convolution, Learned, Primitives, Range, Value, range_of, tensor_of
from spica.semantics.primitives import EXPONENT_BITS, NORM_BITS, POWER_UNIT, PROBABILITY_BITS, SMALLEST_POWER, Epilogue

FLOAT_BITS = 24
LIMB = 16
LIMB_MASK = (1 << LIMB) - 1
LARGEST_MULTIPLIER = 1 << 12
LARGEST_OUTPUT = 1 << 15
LARGEST_INT32 = (1 << 31) - 1

Limbs = tuple[Any, Any]


def planes(x: Any, low: int, high: int, bits: int) -> list[tuple[int, Any]]:
    """Return planes of ``bits`` bits of int32 values from ``low`` to ``high``, each with its shift, as float32."""
    width = max(high, -low - 1, 1).bit_length()
    count = -(-width // bits)
    shifted = [ops.right_shift(x, bits * i) for i in range(count)]
    split = [*(plane & ((1 << bits) - 1) for plane in shifted[:-1]), shifted[-1]]
    return [(bits * i, ops.cast(plane, "float32")) for i, plane in enumerate(split)]


def products(
    x: Any, x_range: tuple[int, int], w: Any, w_range: tuple[int, int], count: int, convolve: Convolution
) -> Any | Limbs:
    """Return sums of ``count`` products of int32 values within ranges: int32, or limbs where a sum may not fit.

    ``convolve`` is a float32 convolution, of a plane of each operand.
    """
    x_bits, w_bits = (max(high, -low - 1, 1).bit_length() for low, high in (x_range, w_range))
    reach = (1 << x_bits) * (1 << w_bits) * count
    while (1 << x_bits) * (1 << w_bits) * count > 1 << FLOAT_BITS:
        x_bits, w_bits = (x_bits, -(-w_bits // 2)) if w_bits > x_bits else (-(-x_bits // 2), w_bits)
    terms = [
        (i + j, ops.cast(convolve(a, b), "int32"))
        for i, a in planes(x, *x_range, x_bits)
        for j, b in planes(w, *w_range, w_bits)
    ]
    if reach < 1 << 31:
        return sum(ops.left_shift(term, shift) if shift else term for shift, term in terms)
    high: Any = 0
    low: Any = 0
    for shift, term in terms:
        if shift < LIMB:
            high = high + ops.right_shift(term, LIMB - shift)
            low = low + (ops.left_shift(term, shift) & LIMB_MASK)
        else:
            high = high + ops.left_shift(term, shift - LIMB)
    return carry(high, low)


def carry(high: Any, low: Any) -> Limbs:
    """Return limbs of ``high * 2**16 + low`` for any int32 ``low``."""
    return high + ops.right_shift(low, LIMB), low & LIMB_MASK


def limbs(x: Any | Limbs) -> Limbs:
    """Return int32 values as limbs."""
    return x if isinstance(x, tuple) else (ops.right_shift(x, LIMB), x & LIMB_MASK)


def saturate(x: Limbs, bits: int) -> Limbs:
    """Clip to ``[-2**bits, 2**bits - 1]``."""
    high, low = x
    if bits < LIMB:
        return limbs(to_int32(x, bits))
    most = (1 << (bits - LIMB)) - 1
    low = ops.where(high > most, LIMB_MASK, ops.where(high < -most - 1, 0, low))
    return ops.clip(high, -most - 1, most), low


def to_int32(x: Any | Limbs, bits: int) -> Any:
    """Return int32, clipped to ``[-2**bits, 2**bits - 1]``."""
    if isinstance(x, tuple):
        high, low = saturate(x, max(min(bits, 31), LIMB))
        x = ops.left_shift(high, LIMB) | low
    return x if bits >= 31 else ops.clip(x, -(1 << bits), (1 << bits) - 1)


def added(a: Any, b: Any, bits: int) -> Any:
    """Return the sum of int32 values, clipped to ``[-2**bits, 2**bits - 1]``."""
    return to_int32(carry(*(x + y for x, y in zip(limbs(a), limbs(b)))), bits)


def shift_round(x: Any, shift: Any) -> Any:
    """Return ``floor(x * 2**-shift + 0.5)`` of int32 by int32, saturated to int32; a negative shift goes left."""
    right, left = ops.clip(shift, 1, 31), ops.clip(-shift, 0, 31)
    rounded = ops.right_shift(x, right) + (ops.right_shift(x, right - 1) & 1)  # the half, where no sum can overflow
    most = ops.right_shift(LARGEST_INT32, left)
    wide = ops.where(x > most, LARGEST_INT32, ops.where(x < -most - 1, -LARGEST_INT32 - 1, ops.left_shift(x, left)))
    return ops.where(shift > 31, 0, ops.where(shift > 0, rounded, wide))


def scale(x: Limbs, multiplier: Any, shift: Any, buffer_bits: int, low: int, high: int) -> Any:
    """Return ``floor(x * multiplier * 2**-shift + 0.5)``, clipped; the product saturates to ``buffer_bits``.

    ``multiplier`` and ``shift`` are int32, one a channel or scalar; a negative shift goes left.
    """
    top, bottom = saturate(carry(x[0] * multiplier, x[1] * multiplier), buffer_bits)
    right = ops.clip(shift, 0, 46)
    # Beyond a limb, the rounding half and the shift are in the high one.
    beyond = ops.maximum(right - LIMB, 0)
    half = ops.where(beyond > 0, ops.left_shift(ops.ones_like(beyond), ops.clip(beyond - 1, 0, 30)), 0)
    carried = ops.right_shift(bottom + ops.where(right == LIMB, 1 << (LIMB - 1), 0), LIMB)
    far = ops.right_shift(top + carried + half, ops.minimum(beyond, 31))
    # Within it, whatever 30 bits do not hold is beyond every output.
    near = to_int32((top, bottom), 30)
    within = ops.minimum(right, LIMB - 1)
    near = ops.right_shift(near + ops.right_shift(ops.left_shift(ops.ones_like(within), within), 1), within)
    left = ops.clip(-shift, 0, LIMB - 1)
    wide = ops.left_shift(to_int32((top, bottom), LIMB - 1), left)
    return ops.clip(ops.where(shift < 0, wide, ops.where(right >= LIMB, far, near)), low, high)


class Exact(Primitives):
    """The primitives in int32, with the integers of the reference."""

    dtype, lowest = "int32", -(1 << 31)

    def _products(self, x: Any, limits: Range, kernel: NDArray, count: int, convolve: Convolution) -> Any:
        return products(x, limits, tensor_of(kernel, "int32"), range_of(kernel), count, convolve)

    def look_up(self, x: Value, table: NDArray, lowest: int) -> Value:
        """Look integers up in a table that starts at ``lowest``."""
        tensor = ops.take(ops.convert_to_tensor(table.astype(np.int32)), x.tensor - lowest)
        return Value(x.shape, tensor, (int(table.min()), int(table.max())))

    def normalise(self, x: Value) -> Value:
        """Divide what each value is off its token's mean by the mean absolute deviation."""
        channels = x.shape[-1]
        if max(map(abs, x.range)) * channels * max(channels, 2 << NORM_BITS) >= 1 << 31:
            raise SpicaError(f"{self.layer}: normalises integers too wide to train; use fewer channels or bits")
        centred = x.tensor * channels - ops.sum(x.tensor, axis=-1, keepdims=True)
        deviation = ops.floor_divide(ops.sum(ops.abs(centred), axis=-1, keepdims=True), channels)
        normal = ops.floor_divide(centred * (1 << NORM_BITS), ops.maximum(deviation, 1))
        return Value(x.shape, normal, (-(channels << NORM_BITS), channels << NORM_BITS))

    def _softmax(self, scores: Any, multiplier: int, shift: int) -> Any:
        steps = ops.floor_divide(scores * multiplier, 1 << shift)
        below = ops.minimum(ops.max(steps, axis=-1, keepdims=True) - steps, SMALLEST_POWER << EXPONENT_BITS)
        whole = ops.floor_divide(below, 1 << EXPONENT_BITS)
        part = below - whole * (1 << EXPONENT_BITS)
        halves = ops.take(ops.convert_to_tensor(1 << np.arange(SMALLEST_POWER + 1, dtype=np.int32)), whole)
        powers = ops.floor_divide(((2 << EXPONENT_BITS) - part) * POWER_UNIT, halves)
        total = ops.sum(powers, axis=-1, keepdims=True)
        return ops.floor_divide(powers * (2 << PROBABILITY_BITS) + total, 2 * total)

    def _biased(self, acc: Value, epilogue: Epilogue) -> Any:
        if epilogue.value_bits > 31 and isinstance(acc.tensor, tuple):
            raise SpicaError(f"{self.layer}: its accumulator of {epilogue.value_bits} bits is too wide to train")
        v = to_int32(acc.tensor, epilogue.value_bits)
        return v if epilogue.bias is None else added(v, tensor_of(epilogue.bias, "int32"), epilogue.value_bits)

    def _summed(self, v: Any) -> Limbs:
        high, low = (ops.sum(part, axis=(1, 2)) for part in limbs(v))
        return saturate(carry(high, low), 32)

    def _requantized(self, acc: Value, epilogue: Epilogue) -> Value:
        v, low, high, bits = acc.tensor, epilogue.low, epilogue.high, epilogue.buffer_bits
        if epilogue.multiplier is None or epilogue.shift is None:
            limit = 1 << min(epilogue.value_bits, 31)
            if low == high:  # not said; pooling alone says its own, that of its input
                low, high = -limit, limit - 1
            limits = max(low, 0 if epilogue.relu else -limit), min(high, limit - 1)
            return Value(acc.shape, to_int32(v, 31), limits, epilogue.dtype)
        if not isinstance(epilogue.multiplier, Learned) and not np.any(epilogue.shift):
            return self._multiplied(acc, epilogue)
        if int(np.max(epilogue.multiplier)) > LARGEST_MULTIPLIER or (high >= LARGEST_OUTPUT and bits > 31):
            raise SpicaError(f"{self.layer}: its output stage is too wide to train; use at most 8 bits")
        multiplier, shift = (tensor_of(a, "int32") for a in (epilogue.multiplier, epilogue.shift))
        if bits > 31:
            v = scale(limbs(v), multiplier, shift, bits, low, high)
        else:
            product = carry(*(part * multiplier for part in limbs(v)))
            v = ops.clip(shift_round(to_int32(product, bits), shift), low, high)
        return Value(acc.shape, v, (low, high), epilogue.dtype)

    def _turn(self, state: tuple[Any, Any], factor: tuple[Any, Any], x: Any, bits: int) -> tuple[Any, Any]:
        """Step as ``primitives.turn``; 16-bit states and factors below 1 keep the sum of products in int32."""
        (real, imaginary), (cosine, sine) = state, factor
        kept, crossed = real * cosine - imaginary * sine, real * sine + imaginary * cosine
        return added(kept, x, bits), crossed

    def _multiplied(self, acc: Value, epilogue: Epilogue) -> Value:
        """Multiply by whole numbers, as exponents are aligned."""
        assert epilogue.multiplier is not None
        reach = max(map(abs, acc.range)) * int(np.max(epilogue.multiplier))
        if not 0 < reach < 1 << 31:
            raise SpicaError(f"{self.layer}: reads integers too wide to align in training; give them one exponent")
        low, high = max(epilogue.low, -reach), min(epilogue.high, reach)
        v = ops.clip(acc.tensor * tensor_of(epilogue.multiplier, "int32"), low, high)
        return Value(acc.shape, v, (low, high), epilogue.dtype)
