"""The epilogue of a layer: what follows its accumulators. Pooling, ReLU, and the output stage, which requantizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.network.fields import LARGEST_VALUE, Bits, Bounds, Exponents, Multipliers, Pads, Shifts, Values, Window
from spica.network.layer import Layer, Ops, record
from spica.network.types import TensorType
from spica.semantics import primitives
from spica.semantics.primitives import Epilogue, Padding, Pair

AVERAGE_BITS = 32
"""Value bits to which the sum of a global average saturates."""

WIDEST_BUFFER = 62
"""With these bounds every product and shift stays within 64 bits."""


@record
class MaxPool:
    """Max pooling fused into a layer, before its activation."""

    size: Window = (2, 2)
    strides: Window = (2, 2)
    padding: str | Pads = "valid"


@record
class GlobalAverage:
    """Global average pooling fused into a layer, after its activation: ``(H, W, F)`` -> ``(F,)``."""


@record
class ReLU:
    """Rectifier, bounded above if ``max_value`` is given (integers on the accumulator's grid once quantised)."""

    max_value: Annotated[Values, Bounds(0, LARGEST_VALUE, "channel")] | None = None


@record
class Requantize:
    """The output stage: multiply by an integer, shift right with rounding, saturate.

    ``floor(acc * multiplier * 2**-shift + 0.5)``, saturated to ``bits``; the result has ``frac_bits``.
    """

    multiplier: Multipliers
    shift: Shifts
    bits: Bits
    signed: bool
    frac_bits: Exponents
    buffer_bits: Annotated[int, Bounds(1, WIDEST_BUFFER)] = 32


def averaged(scale: NDArray, count: int) -> NDArray[np.float32]:
    """Return the scale of a sum that stands for the mean of ``count`` values.

    It is multiplied by the float32 reciprocal, as in the reference.
    """
    return np.asarray(scale * (np.float32(1) / np.float32(count)), np.float32)


def requantized_type(where: str, out: Requantize, shape: tuple[int, ...]) -> TensorType:
    """Check an output stage and return the type of its output."""
    left = min(max(0, -int(out.shift.min())), primitives.LARGEST_LEFT_SHIFT)
    if out.buffer_bits > WIDEST_BUFFER - left:
        raise SpicaError(
            f"{where}: buffer_bits is {out.buffer_bits}, but with these shifts at most {WIDEST_BUFFER - left}"
        )
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
