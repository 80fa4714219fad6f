"""Addition of two tensors, where a skip connection joins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers.epilogue import ReLU, Requantize, output_epilogue, requantized_type
from spica.network.layer import Layer, Ops, forward_float, forward_integer, infer, record
from spica.network.types import TensorType

SUM_BITS = 31
"""Value bits to which the aligned inputs and their sum saturate."""


@record
class Add(Layer):
    """Sum of two tensors of one shape, then an optional ReLU and output stage.

    The inputs are brought to the finer of their exponents by left shifts. An average is the sum with one more
    fractional bit.
    """

    average: bool = False
    activation: ReLU | None = None
    requantize: Requantize | None = None


@infer.register
def _(layer: Add, inputs: Sequence[TensorType]) -> TensorType:
    if len(inputs) != 2:
        raise SpicaError(f"{layer.name}: Add sums two tensors, but is given {len(inputs)}; chain several Adds")
    a, b = inputs
    if a.shape != b.shape or a.is_float != b.is_float:
        raise SpicaError(
            f"{layer.name}: {a} and {b} cannot be added; they must have one shape and both be float or both integer"
        )
    if a.is_float:
        return a
    finest = np.maximum(_exponent(layer, a), _exponent(layer, b))
    if layer.requantize is None:
        return TensorType(a.shape, SUM_BITS + 1, True, finest + layer.average)
    return requantized_type(layer.name, layer.requantize, a.shape)


def _exponent(layer: Add, x: TensorType) -> NDArray[np.int64]:
    """Return the fractional bits of an input, with its scale (a power of two) included."""
    exponent = np.log2(x.scale)
    if (exponent != np.rint(exponent)).any():
        raise SpicaError(f"{layer.name}: its inputs must be fixed point; give the layers before it an output stage")
    return x.frac_bits - exponent.astype(np.int64)


@forward_float.register
def _(layer: Add, inputs: Sequence[NDArray]) -> NDArray:
    total = (inputs[0] + inputs[1]) / (2 if layer.average else 1)
    return total if layer.activation is None else np.clip(total, 0, layer.activation.max_value)


@forward_integer.register
def _(layer: Add, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    exponents = [_exponent(layer, kind) for kind in types]
    finest = np.maximum(*exponents)
    total = ops.add(inputs[0], inputs[1], (finest - exponents[0], finest - exponents[1]), SUM_BITS)
    epilogue = output_epilogue(layer.requantize, infer(layer, types), layer.activation, value_bits=SUM_BITS)
    return ops.apply_epilogue(total, epilogue)
