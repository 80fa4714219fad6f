"""Products of two tensors: gates, and the excitation of squeeze-and-excite."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers.epilogue import Requantize, output_epilogue, requantized_type
from spica.network.layer import Layer, Ops, forward_float, forward_integer, infer, record
from spica.network.types import TensorType

PRODUCT_BITS = 31
"""Value bits of a product."""


@record
class Multiply(Layer):
    """Product of two tensors, value by value, then an optional output stage.

    The second one is as large as the first, or has one row, one column or one channel where it is the same for all:
    ``(1, 1, C)`` gates the channels of an image, ``(H, W, 1)`` its places.
    """

    requantize: Requantize | None = None


@infer.register
def _(layer: Multiply, inputs: Sequence[TensorType]) -> TensorType:
    if len(inputs) != 2:
        raise SpicaError(f"{layer.name}: multiplies two tensors, but is given {len(inputs)}; chain several")
    a, b = inputs
    if len(a.shape) != len(b.shape) or any(n not in (1, m) for m, n in zip(a.shape, b.shape)):
        raise SpicaError(
            f"{layer.name}: {b} does not spread over {a}; give tensors of one shape, or a second one with axes of one"
        )
    if a.is_float != b.is_float:
        raise SpicaError(f"{layer.name}: {a} and {b} cannot be multiplied; both must be float or both integer")
    if a.is_float:
        return a
    if (a.bits or 0) + (b.bits or 0) > PRODUCT_BITS + 1:
        raise SpicaError(f"{layer.name}: {a} times {b} is beyond {PRODUCT_BITS + 1} bits; quantise its inputs")
    if layer.requantize is not None:
        return requantized_type(layer.name, layer.requantize, a.shape)
    return TensorType(a.shape, PRODUCT_BITS + 1, True, a.frac_bits + b.frac_bits, a.scale * b.scale)


@forward_float.register
def _(layer: Multiply, inputs: Sequence[NDArray]) -> NDArray:
    return inputs[0] * inputs[1]


@forward_integer.register
def _(layer: Multiply, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    epilogue = output_epilogue(layer.requantize, infer(layer, types), value_bits=PRODUCT_BITS)
    return ops.apply_epilogue(ops.multiply(inputs[0], inputs[1]), epilogue)
