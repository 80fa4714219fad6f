"""Activations as layers of their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.layers import weighted
from spica.layers.epilogue import ReLU, Requantize, output_epilogue, requantized_type
from spica.network.layer import Layer, Ops, forward_float, forward_integer, infer, record
from spica.network.types import TensorType


@record
class Activation(Layer):
    """ReLU as a layer of its own, where it cannot be fused into the layer before it."""

    function: ReLU
    requantize: Requantize | None = None


@infer.register
def _(layer: Activation, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    if x.is_float or layer.requantize is None:
        return x
    return requantized_type(layer.name, layer.requantize, x.shape)


@forward_float.register
def _(layer: Activation, inputs: Sequence[NDArray]) -> NDArray:
    return np.clip(inputs[0], 0, layer.function.max_value)


@forward_integer.register
def _(layer: Activation, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    epilogue = output_epilogue(
        layer.requantize, infer(layer, types), value_bits=32, relu=True, ceiling=layer.function.max_value
    )
    return ops.apply_epilogue(inputs[0], epilogue)


@record
class Softmax(Layer):
    """Softmax over the last axis. Float only: quantisation drops it at the output."""


@infer.register
def _(layer: Softmax, inputs: Sequence[TensorType]) -> TensorType:
    return TensorType(weighted.one_input(layer, inputs).shape)


@forward_float.register
def _(layer: Softmax, inputs: Sequence[NDArray]) -> NDArray:
    exponentials = np.exp(inputs[0] - inputs[0].max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)
