"""Round real weights, biases and scales to the integers that hardware holds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spica.layers import ReLU, Requantize
from spica.layers.weighted import WEIGHT_RANGE
from spica.network import TensorType

SCALE_BITS = 8
BIAS_BITS = 7
"""Value bits of a bias; its sign takes one more."""

BOUND_BITS = 8
"""Value bits of the bound of a rectifier."""

BUFFER_BITS = 32
"""Value bits of the output stage's buffer."""

SMALLEST_SCALE = 1e-6


def nearest_multiplier(scale: NDArray, bits: NDArray | int = SCALE_BITS) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a positive scale as ``multiplier * 2**-exponent``, the multiplier as wide as ``bits`` allow.

    1.0 stays exact. In quantizeml's files, ``frontends.quantizeml.fixed_point.saturating_multiplier`` gives 255 of 256.
    """
    scale = np.asarray(scale, np.float64)
    exponent = bits - np.ceil(np.log2(scale)).astype(np.int64)
    multiplier = np.rint(np.ldexp(scale, exponent)).astype(np.int64)
    too_wide = multiplier == 1 << np.asarray(bits)
    return np.where(too_wide, multiplier // 2, multiplier), np.where(too_wide, exponent - 1, exponent)


def multiplier_bits(scale: NDArray, frac_bits: NDArray, target: TensorType) -> NDArray[np.int64]:
    """Return the bits of the widest multiplier, eight at most, whose product stays in the output stage's buffer.

    The product of an accumulator and its multiplier saturates at ``2**32``. After the shift that must still be
    above the largest output, or the buffer would clip values that the output could hold.
    """
    _, exponent = nearest_multiplier(scale)
    shift = exponent + frac_bits - target.frac_bits
    excess = np.maximum(shift - (BUFFER_BITS - int(target.range[1]).bit_length()), 0)
    return np.maximum(SCALE_BITS - excess, 1)


def step_of(kind: TensorType) -> NDArray[np.float64]:
    """Return what one step of a type's integers is worth, a scalar or one a channel."""
    return np.ldexp(kind.scale.astype(np.float64), -kind.frac_bits)


def output_stage(scale: NDArray, frac_bits: NDArray, target: TensorType | None) -> Requantize | None:
    """Return the output stage from integers worth ``scale * 2**-frac_bits`` to those of ``target``, if there is one."""
    if target is None or target.bits is None:
        return None
    multiplier, exponent = nearest_multiplier(scale, multiplier_bits(scale, frac_bits, target))
    return Requantize(
        multiplier=multiplier,
        shift=exponent + frac_bits - target.frac_bits,
        bits=target.bits,
        signed=target.signed,
        frac_bits=target.frac_bits,
    )


def representable(scale: NDArray, outer: NDArray, bits: NDArray) -> NDArray[np.float32]:
    """Return a weight scale near ``scale`` whose product with ``outer`` is a multiplier of ``bits`` and a shift.

    Weights rounded on such a scale leave no error to the output stage. With a multiplier of full width the scale is the
    next smaller one, so that the largest weight of a filter stays the largest integer, from which other tools
    derive the scale; a narrower multiplier has coarser steps, and the next larger one clips nothing.
    """
    product = np.asarray(scale, np.float64) * outer
    exponent = bits - np.ceil(np.log2(product)).astype(np.int64)
    multiplier = np.ldexp(product, exponent)
    multiplier = np.where(bits == SCALE_BITS, np.floor(multiplier), np.ceil(multiplier))
    return np.asarray(np.ldexp(multiplier, -exponent) / outer, np.float32)


def quantize_weights(kernel: NDArray[np.float32], bits: int, scale: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round weights to integers of ``bits`` on the grid of ``scale`` (one a filter, the kernel's last axis).

    The range is symmetric: the most negative integer is left out, as in the reference.
    """
    if bits == 1:
        return np.where(kernel >= 0, 1, -1).astype(np.int8)
    high = WEIGHT_RANGE[bits][1]
    return np.clip(np.rint(kernel / scale), -high, high).astype(np.int8)


def weight_scale(kernel: NDArray[np.float32], bits: int, per_filter: bool = True) -> NDArray[np.float32]:
    """Return the step of each filter's grid that loses least, of clipping points from the largest weight down.

    One bit takes the mean magnitude, which is the least-squares choice for -1 and +1.
    """
    rows = np.abs(kernel.reshape(-1, kernel.shape[-1])) if per_filter else np.abs(kernel.reshape(-1, 1))
    if bits == 1:
        return np.maximum(rows.mean(axis=0), SMALLEST_SCALE).astype(np.float32)
    high = WEIGHT_RANGE[bits][1]
    top = np.maximum(rows.max(axis=0), SMALLEST_SCALE) / high
    best, error = top, np.full(top.shape, np.inf)
    for shrink in np.linspace(1.0, 0.4, 1 if bits == 8 else 31):
        step = top * shrink
        loss = ((np.minimum(np.rint(rows / step), high) * step - rows) ** 2).sum(axis=0)
        best, error = np.where(loss < error, step, best), np.minimum(loss, error)
    return derivable(best, high)


def derivable(step: NDArray, high: int) -> NDArray[np.float32]:
    """Return the step near ``step`` that other tools derive: the largest weight over its integer, in their way."""
    return (step * high).astype(np.float32) * (np.float32(1) / np.float32(high))


def quantize_bias(bias: NDArray, step: NDArray, value_bits: int = BIAS_BITS) -> NDArray[np.int64]:
    """Round real numbers to the accumulator's grid of ``step``, one a filter: few bits, shifted left where large."""
    exact = np.asarray(bias, np.float64) / step
    magnitude = np.maximum(np.abs(exact), 1)
    shift = np.maximum(np.ceil(np.log2(magnitude)).astype(np.int64) - value_bits, 0)
    limit = 1 << value_bits
    return np.clip(np.rint(np.ldexp(exact, -shift)), -limit, limit - 1).astype(np.int64) << shift


def bias_error(bias: NDArray, value_bits: int = BIAS_BITS) -> NDArray[np.float64]:
    """Return how far, on the accumulator's grid, ``quantize_bias`` may have rounded biases of these sizes."""
    shift = np.maximum(np.ceil(np.log2(np.maximum(np.abs(bias), 1))) - value_bits, 0)
    return np.exp2(shift) / 2


def quantize_relu(relu: ReLU | None, step: NDArray, target: TensorType | None) -> ReLU | None:
    """Return a rectifier on an accumulator of ``step``; a bound that the output saturates below is dropped."""
    if relu is None or relu.max_value is None:
        return relu
    if target is not None and (relu.max_value * np.exp2(target.frac_bits) >= target.range[1] - 0.5).all():
        return replace(relu, max_value=None)
    return replace(relu, max_value=quantize_bias(relu.max_value, step, BOUND_BITS))
