"""The epilogue of a layer: what follows its accumulators. Pooling, ReLU, and the output stage, which requantizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.network.layer import Layer, Ops, record
from spica.network.types import TensorType
from spica.semantics import primitives
from spica.semantics.primitives import Epilogue, Padding, Pair

AVERAGE_BITS = 32
"""Value bits to which the sum of a global average saturates."""

LARGEST_MULTIPLIER = (1 << 16) - 1
WIDEST_BUFFER = 62
"""With these bounds every product and shift stays within 64 bits."""


@record
class MaxPool:
    """Max pooling fused into a layer, before its activation."""

    size: tuple[int, int] = (2, 2)
    strides: tuple[int, int] = (2, 2)
    padding: str | tuple[tuple[int, int], tuple[int, int]] = "valid"


@record
class GlobalAverage:
    """Global average pooling fused into a layer, after its activation: ``(H, W, F)`` -> ``(F,)``."""


@record
class ReLU:
    """Rectifier, bounded above if ``max_value`` is given (integers on the accumulator's grid once quantised)."""

    max_value: NDArray | None = None


@record
class Requantize:
    """The output stage: multiply by an integer, shift right with rounding, saturate.

    ``floor(acc * multiplier * 2**-shift + 0.5)``, saturated to ``bits``; the result has ``frac_bits``.
    """

    multiplier: NDArray[np.int64]
    shift: NDArray[np.int64]
    bits: int
    signed: bool
    frac_bits: NDArray[np.int64]
    buffer_bits: int = 32


def averaged(scale: NDArray, count: int) -> NDArray[np.float32]:
    """Return the scale of a sum that stands for the mean of ``count`` values.

    It is multiplied by the float32 reciprocal, as in the reference.
    """
    return np.asarray(scale * (np.float32(1) / np.float32(count)), np.float32)


def requantized_type(where: str, out: Requantize, shape: tuple[int, ...]) -> TensorType:
    """Check an output stage and return the type of its output."""
    left = min(max(0, -int(out.shift.min())), primitives.LARGEST_LEFT_SHIFT)
    if not 1 <= out.bits <= 32 or not 1 <= out.buffer_bits <= WIDEST_BUFFER - left:
        raise SpicaError(
            f"{where}: output bits must be 1 to 32 and buffer bits 1 to {WIDEST_BUFFER - left}; "
            f"got {out.bits} and {out.buffer_bits}"
        )
    if any(a.dtype.kind not in "iu" for a in (out.multiplier, out.shift, out.frac_bits)):
        raise SpicaError(f"{where}: the output stage must hold integers")
    if out.multiplier.min() < 0 or out.multiplier.max() > LARGEST_MULTIPLIER:
        raise SpicaError(f"{where}: the output stage's multipliers must be 0 to {LARGEST_MULTIPLIER}")
    if any(a.ndim > 1 or (a.ndim == 1 and len(a) != shape[-1]) for a in (out.multiplier, out.shift, out.frac_bits)):
        raise SpicaError(f"{where}: the output stage must have one entry, or one for each of {shape[-1]} channels")
    return TensorType(shape, out.bits, out.signed, out.frac_bits)


def pool_arguments(layer: Layer, pool: MaxPool, shape: tuple[int, ...]) -> tuple[Pair, Pair, Padding]:
    """Return size, strides and explicit padding of max pooling over an array of ``shape`` (N, H, W, C)."""
    pads = primitives.resolve_padding(pool.padding, (shape[1], shape[2]), pool.size, pool.strides, layer.name)
    return pool.size, pool.strides, pads


def output_epilogue(
    out: Requantize | None, output: TensorType, activation: ReLU | None = None, **steps: Any
) -> Epilogue:
    """Return an epilogue of the given steps, then of a rectifier and the output stage ``out`` if there are."""
    low, high = output.range
    if activation is not None:
        steps |= {"relu": True, "ceiling": activation.max_value}
    if out is not None:
        steps |= {"multiplier": out.multiplier, "shift": out.shift, "buffer_bits": out.buffer_bits}
    return Epilogue(low=low, high=high, dtype=output.dtype, **steps)


def shift_left(x: NDArray, shift: NDArray[np.int64], value_bits: int, ops: Ops) -> NDArray:
    """Shift ``x`` left by a number of bits for each channel, saturated to ``value_bits``."""
    limit = 1 << value_bits
    widen = Epilogue(value_bits=WIDEST_BUFFER, buffer_bits=value_bits, low=-limit, high=limit - 1)
    return ops.apply_epilogue(x, replace(widen, multiplier=np.left_shift(1, shift), shift=np.zeros((), np.int64)))
