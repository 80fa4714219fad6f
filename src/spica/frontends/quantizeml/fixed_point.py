"""Compute the integers behind quantizeml's files, exactly as the reference does.

A Keras file holds float weights and ranges, from which integers, exponents and multipliers follow by public rules. Each
rule is computed in float32 where the reference does so, since what it rounds to depends on it. An ONNX file holds the
integers themselves; only the requantization's buffer is worked out here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.errors import SpicaError
from spica.layers import Requantize
from spica.layers.epilogue import WIDEST_BUFFER
from spica.network import TensorType

SMALLEST_SCALE = np.float32(1e-6)
MULTIPLIER_BITS = 8
BIAS_BITS = 8
TABLE_BITS = 14
BUFFER_BITS = 32


def ceil_log2(x: ArrayLike) -> NDArray[np.float32]:
    """Return ``ceil(log2(x))`` as the reference does: a float32 quotient of logarithms, so 2**13 gives 14."""
    with np.errstate(divide="ignore"):
        return np.ceil(np.log(np.asarray(x, np.float32)) / np.log(np.float32(2)))


def fractional_bits(value_bits: int, ranges: ArrayLike) -> NDArray[np.float32]:
    """Return the fractional bits, ``value_bits`` at most, with which ``value_bits`` hold ``ranges``."""
    return np.minimum(np.float32(value_bits) - ceil_log2(ranges), np.float32(value_bits))


def round_and_saturate(x: NDArray, value_bits: int) -> NDArray[np.int64]:
    """Round half to even, then saturate to ``[-2**value_bits, 2**value_bits - 1]``."""
    return np.clip(np.rint(x), -(1 << value_bits), (1 << value_bits) - 1).astype(np.int64)


def quantize_kernel(kernel: NDArray, bits: int, per_filter: bool) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return a kernel's integers and their scale: one for each filter (the last axis), or one for all."""
    ranges = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)) if per_filter else None)
    # The reference's compiled graph divides by a constant by multiplying with its reciprocal.
    scale = np.maximum(np.float32(ranges) * (np.float32(1) / np.float32((1 << (bits - 1)) - 1)), SMALLEST_SCALE)
    return round_and_saturate(kernel / scale, bits - 1).astype(np.int8), np.asarray(scale, np.float32)


def quantize_aligned(x: NDArray, value_bits: int, bits: int, other: TensorType, other_bits: int) -> NDArray[np.int64]:
    """Put real numbers on the grid of another tensor: rounded to ``value_bits`` first, then shifted onto it.

    Numbers that the file states to have 4 ``bits`` or fewer share one exponent. The result saturates to ``other_bits``,
    its sign not counted.
    """
    scaled = np.asarray(x, np.float32) / other.scale
    ranges = np.abs(np.asarray(x, np.float32)) if bits > 4 else np.abs(x).max()
    with np.errstate(divide="ignore"):
        frac = np.minimum(fractional_bits(value_bits, ranges / other.scale), other.frac_bits)
    integers = round_and_saturate(scaled * np.exp2(frac), value_bits)
    shift = (other.frac_bits - frac).astype(np.int64)
    return np.clip(integers << shift, -(1 << other_bits), (1 << other_bits) - 1)


def saturating_multiplier(scale: NDArray, bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a float scale as ``multiplier * 2**-exponent``, the way the reference reads it from a file.

    A scale at a power of two, or just below, rounds to ``2**bits``, which does not fit and saturates: 1.0 becomes 255
    of 256. Files must be read so. ``quantization.rounding.nearest_multiplier``, with which Spica chooses numbers of its
    own, keeps such a scale's value by halving the multiplier to 128 of 128; elsewhere the two agree.
    """
    exponent = np.float32(bits) - ceil_log2(scale)
    return round_and_saturate(scale * np.exp2(exponent), bits), exponent.astype(np.int64)


# -- requantization -------------------------------------------------------------------------------------------------


def requantize_from_range(
    quantizer: dict[str, Any], range_max: NDArray, rate: NDArray | None, x: TensorType, rectified: bool = False
) -> Requantize:
    """Return the requantization of an accumulator of type ``x`` that a Keras file's output quantizer stands for.

    Args:
        quantizer: the quantizer's settings.
        range_max: largest magnitude of the output, one or one a channel.
        rate: factor on the scale of ``x``; ``None`` for fixed-point numbers, which have no scale and are only shifted.
        x: type of the accumulator.
        rectified: nothing in ``x`` is negative, so the output may be unsigned.
    """
    bits, signed = quantizer.get("bitwidth", 8), quantizer.get("signed", True)
    value_bits = bits - signed
    frac_bits = fractional_bits(value_bits, range_max).astype(np.int64)
    multiplier, exponent = np.ones((), np.int64), np.zeros((), np.int64)
    if rate is not None:
        multiplier, exponent = saturating_multiplier(x.scale * rate, quantizer.get("scale_bits") or MULTIPLIER_BITS)
    return Requantize(
        multiplier=multiplier,
        shift=x.frac_bits + exponent - frac_bits,
        # What is not rectified may be negative: the reference saturates it to both signs of its value bits.
        bits=bits if signed or rectified else bits + 1,
        signed=signed or not rectified,
        frac_bits=frac_bits,
        buffer_bits=min(quantizer.get("buffer_bitwidth", BUFFER_BITS), BUFFER_BITS),
    )


def requantize_from_integers(where: str, multiplier: NDArray, divisor: NDArray, peak: NDArray, bits: int) -> Requantize:
    """Return the requantization ``floor(x * multiplier / divisor + 0.5)``, saturated to ``bits``.

    The buffer is as wide as ``peak``, the largest magnitude of ``x``, needs.

    Raises:
        SpicaError: naming the layer ``where``, if a divisor is not a power of two or no buffer is wide enough.
    """
    exponent = np.log2(divisor.astype(np.float64))
    if (exponent != np.rint(exponent)).any():
        raise SpicaError(f"{where}: its output shift {divisor} is not a power of two")
    exponent = exponent.astype(np.int64)
    buffer_bits = max(BUFFER_BITS, int(np.max(peak * multiplier)).bit_length())
    if buffer_bits + max(0, -int(exponent.min())) > WIDEST_BUFFER:
        raise SpicaError(f"{where}: its scaled output may pass {WIDEST_BUFFER} bits; no buffer holds it")
    return Requantize(
        multiplier=multiplier,
        shift=exponent,
        bits=bits,
        signed=True,
        frac_bits=np.zeros((), np.int64),
        buffer_bits=buffer_bits,
    )


def step_after(requantize: Requantize) -> NDArray[np.float32]:
    """Return what one step of an accumulator is worth on the grid of step one to which ``requantize`` takes it."""
    return np.asarray(np.ldexp(requantize.multiplier.astype(np.float64), -requantize.shift.astype(int)), np.float32)


# -- tables of activations -----------------------------------------------------------------------------------------


ACTIVATIONS: dict[str, Callable[[NDArray, np.float32], NDArray]] = {
    "gelu": lambda x, alpha: x * 0.5 * (1 + np.array([math.erf(v / math.sqrt(2)) for v in x.tolist()])),
    "swish": lambda x, alpha: x * (np.float32(1) / (np.float32(1) + np.exp(-x))),
    "hard_silu": lambda x, alpha: x * np.clip(x + np.float32(3), 0, 6) / np.float32(6),
    "leaky_relu": lambda x, alpha: np.where(x > 0, x, x * alpha),
}
ACTIVATIONS["silu"] = ACTIVATIONS["swish"]
"""Functions that a table stands for, in float32 as the reference computes them; ``alpha`` is a slope below zero."""


def activation_table(function: str, x: NDArray, alpha: float, bits: int) -> tuple[NDArray[np.int64], NDArray]:
    """Return the integers of ``bits`` that ``function`` gives for real numbers ``x``, and their scale."""
    y = ACTIVATIONS[function](x, np.float32(alpha)).astype(np.float32)
    scale = np.asarray(np.abs(y).max() / np.float32((1 << (bits - 1)) - 1), np.float32)
    return round_and_saturate(y / scale, bits - 1), scale
