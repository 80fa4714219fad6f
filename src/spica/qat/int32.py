"""The integer arithmetic of the hardware in Keras ops, bit for bit, on backends that have no 64-bit integers.

Products are summed by float32 convolutions of operands so narrow that every sum stays below 2**24, where float32 is
exact; wider operands are split into planes of bits. Integers beyond 32 bits are two limbs: ``high * 2**16 + low``, both
int32, ``0 <= low < 2**16``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from keras import ops

FLOAT_BITS = 24
LIMB = 16
LIMB_MASK = (1 << LIMB) - 1
LARGEST_MULTIPLIER = 1 << 12
LARGEST_OUTPUT = 1 << 15
LARGEST_INT32 = (1 << 31) - 1

Limbs = tuple[Any, Any]


def planes(x: Any, low: int, high: int, bits: int) -> list[tuple[int, Any]]:
    """Planes of ``bits`` bits of int32 values from ``low`` to ``high``, each with its shift, as float32."""
    width = max(high, -low - 1, 1).bit_length()
    count = -(-width // bits)
    split = [
        (
            bits * i,
            ops.right_shift(x, bits * i) if i == count - 1 else (ops.right_shift(x, bits * i)) & ((1 << bits) - 1),
        )
        for i in range(count)
    ]
    return [(shift, ops.cast(plane, "float32")) for shift, plane in split]


def products(
    x: Any, x_range: tuple[int, int], w: Any, w_range: tuple[int, int], count: int, convolve: Callable[[Any, Any], Any]
) -> Any | Limbs:
    """Sums of ``count`` products of int32 values: int32, or limbs where a sum may not fit.

    Args:
        x, w: the operands.
        x_range, w_range: the smallest and largest integer of each.
        count: products in a sum.
        convolve: a float32 convolution of planes of both.
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
    return high + ops.right_shift(low, LIMB), low & LIMB_MASK


def limbs(x: Any | Limbs) -> Limbs:
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
    """int32, clipped to ``[-2**bits, 2**bits - 1]``."""
    if isinstance(x, tuple):
        high, low = saturate(x, max(min(bits, 31), LIMB))
        x = ops.left_shift(high, LIMB) | low
    return x if bits >= 31 else ops.clip(x, -(1 << bits), (1 << bits) - 1)


def shift_round(x: Any, shift: Any) -> Any:
    """``floor(x * 2**-shift + 0.5)`` of int32 by int32, saturated to int32; a negative shift goes left."""
    right, left = ops.clip(shift, 1, 31), ops.clip(-shift, 0, 31)
    rounded = ops.right_shift(x, right) + (ops.right_shift(x, right - 1) & 1)  # the half, where no sum can overflow
    most = ops.right_shift(LARGEST_INT32, left)
    wide = ops.where(x > most, LARGEST_INT32, ops.where(x < -most - 1, -LARGEST_INT32 - 1, ops.left_shift(x, left)))
    return ops.where(shift > 31, 0, ops.where(shift > 0, rounded, wide))


def scale(x: Limbs, multiplier: Any, shift: Any, buffer_bits: int, low: int, high: int) -> Any:
    """``floor(x * multiplier * 2**-shift + 0.5)`` from ``low`` to ``high``; the product saturates to ``buffer_bits``.

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
