"""Activations by look-up table, with one entry for every integer that the input can hold."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.layers.epilogue import Requantize, output_epilogue, requantized_type
from spica.network.layer import Layer, Ops, forward_integer, infer, record
from spica.network.types import TensorType


@record
class LookUp(Layer):
    """Look-up table, then an output stage.

    Attributes:
        table: output for each input integer, from the lowest that its type holds to the highest.
        table_bits: width of the entries, sign included.
        scale: real value of one step of an entry (float32).
        function: the activation's name, for people.
    """

    table: NDArray
    table_bits: int
    scale: NDArray[np.float32]
    function: str
    requantize: Requantize | None = None


@infer.register
def _(layer: LookUp, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    if x.is_float or not x.per_tensor:
        raise SpicaError(f"{layer.name}: a table needs integers with one exponent; quantise its input per tensor")
    low, high = x.range
    limit = 1 << (layer.table_bits - 1)
    if layer.table.shape != (high - low + 1,) or layer.table.min() < -limit or layer.table.max() >= limit:
        raise SpicaError(f"{layer.name}: its table must hold {high - low + 1} integers of {layer.table_bits} bits")
    if layer.requantize is None:
        return TensorType(x.shape, layer.table_bits, True, np.zeros((), np.int64), layer.scale)
    return requantized_type(layer.name, layer.requantize, x.shape)


@forward_integer.register
def _(layer: LookUp, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    entries = ops.look_up(inputs[0], layer.table, types[0].range[0])
    return ops.apply_epilogue(entries, output_epilogue(layer.requantize, infer(layer, types), value_bits=32))
