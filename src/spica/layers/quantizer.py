"""Layers between real numbers and integers: quantise the input, rescale it, de-quantise the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.network.fields import LARGEST_SCALE, Bits, Bounds, Exponents, Scales, ZeroPoints
from spica.network.layer import Layer, Ops, forward_float, forward_integer, infer, record
from spica.network.types import TensorType


@record
class Quantize(Layer):
    """Quantise real numbers: ``round_to_even(x * 2**frac_bits)``, saturated, plus a zero point, saturated again.

    Attributes:
        bits, signed: format of the integers.
        frac_bits: scalar, or one a channel.
        zero_point: integer added to each channel; only where ``signed`` is false.
    """

    bits: Annotated[int, Bounds(1, 31)]
    signed: bool
    frac_bits: Exponents
    zero_point: ZeroPoints | None = None


@infer.register
def _(layer: Quantize, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    if not x.is_float:
        raise SpicaError(f"{layer.name}: its input is already quantised")
    # The saturation is to both signs of the value bits, so an unsigned input may leave negative integers behind.
    return TensorType(x.shape, layer.bits if layer.signed else layer.bits + 1, True, layer.frac_bits)


@forward_float.register
def _(layer: Quantize, inputs: Sequence[NDArray]) -> NDArray:
    kind = infer(layer, [TensorType(inputs[0].shape[1:])])
    low, high = kind.range
    scaled = np.clip(np.rint(np.ldexp(inputs[0], layer.frac_bits.astype(np.int32))), low, high).astype(np.int64)
    if layer.zero_point is not None:
        scaled = np.clip(scaled + layer.zero_point, low, high)
    return scaled.astype(kind.dtype)


@record
class QuantizeLinear(Layer):
    """Quantise numbers as ONNX's QuantizeLinear does: ``round_to_even(x / scale) + zero_point``, saturated.

    The integers stand for themselves, zero point and scale included; the layers after it have absorbed both.

    Attributes:
        bits, signed: format of the integers.
        scale: float32, scalar or one a channel.
        zero_point: scalar or one a channel.
    """

    bits: Bits
    signed: bool
    scale: Annotated[NDArray[np.float32], Bounds(1e-30, LARGEST_SCALE, "channel")]
    zero_point: ZeroPoints


@infer.register
def _(layer: QuantizeLinear, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    return TensorType(x.shape, layer.bits, layer.signed)


@forward_float.register
def _(layer: QuantizeLinear, inputs: Sequence[NDArray]) -> NDArray:
    kind = TensorType(inputs[0].shape[1:], layer.bits, layer.signed)
    steps = np.rint(inputs[0].astype(np.float32) / layer.scale)
    return np.clip(steps + layer.zero_point, *kind.range).astype(kind.dtype)


@forward_integer.register
def _(layer: QuantizeLinear, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    return forward_float(layer, inputs)


@record
class Rescaling(Layer):
    """Multiply the scale of the integers, which stay as they are, by one factor or one for each channel."""

    scale: Scales


@infer.register
def _(layer: Rescaling, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    return x if x.is_float else replace(x, scale=x.scale * layer.scale)


@forward_float.register
def _(layer: Rescaling, inputs: Sequence[NDArray]) -> NDArray:
    return inputs[0] * layer.scale


@forward_integer.register
def _(layer: Rescaling, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    return inputs[0]


@record
class Dequantize(Layer):
    """De-quantise integers to the real numbers (float32) they stand for, at the end of a network."""


@infer.register
def _(layer: Dequantize, inputs: Sequence[TensorType]) -> TensorType:
    return TensorType(weighted.one_input(layer, inputs).shape)


@forward_float.register
def _(layer: Dequantize, inputs: Sequence[NDArray]) -> NDArray:
    return inputs[0]


@forward_integer.register
def _(layer: Dequantize, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    return ops.to_float(inputs[0], types[0])
