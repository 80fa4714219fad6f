"""Activations as layers of their own: ReLU, softmax, other functions, and these as tables of integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers.epilogue import ReLU, Requantize, output_epilogue, requantized_type
from spica.layers.functions import FUNCTIONS
from spica.layers.weighted import one_input
from spica.network.fields import Bits, Bounds, Scale
from spica.network.layer import RECORDS, Layer, Ops, forward_float, forward_integer, infer, record
from spica.network.types import TensorType


@record
class Activation(Layer):
    """ReLU as a layer of its own, where it cannot be fused into the layer before it."""

    function: ReLU
    requantize: Requantize | None = None


@infer.register
def _(layer: Activation, inputs: Sequence[TensorType]) -> TensorType:
    x = one_input(layer, inputs)
    return x if x.is_float or layer.requantize is None else requantized_type(layer.name, layer.requantize, x.shape)


@forward_float.register
def _(layer: Activation, inputs: Sequence[NDArray]) -> NDArray:
    return np.clip(inputs[0], 0, layer.function.max_value)


@forward_integer.register
def _(layer: Activation, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    epilogue = output_epilogue(layer.requantize, infer(layer, types), layer.function, value_bits=32)
    return ops.apply_epilogue(inputs[0], epilogue)


@record
class Softmax(Layer):
    """Softmax over the last axis, or its logarithm. Float only: quantisation drops it at the output."""

    log: bool = False


@infer.register
def _(layer: Softmax, inputs: Sequence[TensorType]) -> TensorType:
    return TensorType(one_input(layer, inputs).shape)


@forward_float.register
def _(layer: Softmax, inputs: Sequence[NDArray]) -> NDArray:
    return log_softmax(inputs[0]) if layer.log else softmax(inputs[0])


def softmax(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over the last axis."""
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def log_softmax(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logarithm of the softmax over the last axis."""
    below = x - x.max(axis=-1, keepdims=True)
    return below - np.log(np.exp(below).sum(axis=-1, keepdims=True))


@record
class TableActivation(Layer):
    """Any other activation function. Float only; quantised to a ``LookUp``.

    Attributes:
        function: one of ``layers.functions.FUNCTIONS``: "gelu", "silu", "leaky_relu", ...
        parameters: the function's own, such as the slope of a leaky ReLU; those that most frameworks have, if left out.
    """

    function: str = "gelu"
    parameters: Annotated[tuple[float, ...], Bounds(-3.4e38, 3.4e38)] = ()


RECORDS["Gelu"] = TableActivation
"""Its name in files of version 0.1."""


@infer.register
def _(layer: TableActivation, inputs: Sequence[TensorType]) -> TensorType:
    x = one_input(layer, inputs)
    if layer.function not in FUNCTIONS:
        raise SpicaError(f"{layer.name}: activation {layer.function!r} is none of {', '.join(FUNCTIONS)}")
    if not x.is_float:
        raise SpicaError(f"{layer.name}: a {layer.function} of integers is a table; quantise the network")
    return x


@forward_float.register
def _(layer: TableActivation, inputs: Sequence[NDArray]) -> NDArray:
    return np.asarray(FUNCTIONS[layer.function](inputs[0], *layer.parameters), np.float32)


WIDEST_LOOKUP = 16
"""Bits of the widest integers that a table is made for."""


@record
class LookUp(Layer):
    """Look-up table, then an output stage.

    Attributes:
        table: output for each input integer, from the lowest that its type holds to the highest.
        table_bits: width of the entries, sign included.
        scale: real value of one step of an entry (float32).
        function: the activation's name, for people.
    """

    table: NDArray[np.int64]
    table_bits: Bits
    scale: Scale
    function: str
    requantize: Requantize | None = None


def table_inputs(where: str, x: TensorType) -> NDArray[np.int64]:
    """Return every integer of a type, from the lowest: what a table has entries for.

    Raises:
        SpicaError: beginning with ``where``, the layer's name, where no table can have so many, or they are no
            integers of one exponent.
    """
    if x.bits is None or not x.per_tensor:
        raise SpicaError(f"{where}: a table needs integers with one exponent; quantise its input per tensor")
    if x.bits > WIDEST_LOOKUP:
        raise SpicaError(f"{where}: reads integers of {x.bits} bits, but a table has {WIDEST_LOOKUP} bits at most")
    return np.arange(x.range[0], x.range[1] + 1)


@infer.register
def _(layer: LookUp, inputs: Sequence[TensorType]) -> TensorType:
    x = one_input(layer, inputs)
    entries, limit = len(table_inputs(layer.name, x)), 1 << (layer.table_bits - 1)
    if layer.table.shape != (entries,) or layer.table.min() < -limit or layer.table.max() >= limit:
        raise SpicaError(f"{layer.name}: its table must hold {entries} integers of {layer.table_bits} bits")
    if layer.requantize is None:
        return TensorType(x.shape, layer.table_bits, True, np.zeros((), np.int64), layer.scale)
    return requantized_type(layer.name, layer.requantize, x.shape)


@forward_integer.register
def _(layer: LookUp, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    entries = ops.look_up(inputs[0], layer.table, types[0].range[0])
    return ops.apply_epilogue(entries, output_epilogue(layer.requantize, infer(layer, types), value_bits=32))
