"""Pooling as a layer of its own. Passes fuse it into the layer before it where possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from numpy.typing import NDArray

from spica.layers import weighted
from spica.layers.epilogue import (
    AVERAGE_BITS,
    WIDEST_BUFFER,
    MaxPool,
    Requantize,
    averaged,
    output_epilogue,
    pool_arguments,
    requantized_type,
    shift_left,
)
from spica.network.layer import Layer, Ops, forward_float, forward_integer, infer, record
from spica.network.types import TensorType
from spica.semantics import primitives
from spica.semantics.primitives import Epilogue


@record
class MaxPool2D(Layer):
    """Max pooling."""

    pool: MaxPool


@infer.register
def _(layer: MaxPool2D, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    weighted.check_rank(layer, x, 3)
    pool = layer.pool
    return replace(x, shape=(*weighted.convolved_shape(layer, x, pool.size, pool.strides, pool.padding), x.channels))


@forward_float.register
def _(layer: MaxPool2D, inputs: Sequence[NDArray]) -> NDArray:
    (x,) = inputs
    return primitives.max_pool(x, *pool_arguments(layer, layer.pool, x.shape))


@forward_integer.register
def _(layer: MaxPool2D, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    (x,), (kind,) = inputs, types
    low, high = kind.range
    pool = pool_arguments(layer, layer.pool, x.shape)
    return ops.apply_epilogue(x, Epilogue(value_bits=62, pool=pool, low=low, high=high, dtype=kind.dtype))


@record
class GlobalAveragePooling2D(Layer):
    """Global average pooling over height and width: ``(H, W, C)`` to ``(C,)``."""

    requantize: Requantize | None = None


@infer.register
def _(layer: GlobalAveragePooling2D, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    weighted.check_rank(layer, x, 3)
    shape = (x.channels,)
    if x.is_float:
        return TensorType(shape)
    if layer.requantize is not None:
        return requantized_type(layer.name, layer.requantize, shape)
    scale = averaged(x.scale, x.shape[0] * x.shape[1])
    return TensorType(shape, AVERAGE_BITS + 1, True, x.frac_bits.max(), scale)


@forward_float.register
def _(layer: GlobalAveragePooling2D, inputs: Sequence[NDArray]) -> NDArray:
    return inputs[0].mean(axis=(1, 2))


@forward_integer.register
def _(layer: GlobalAveragePooling2D, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    epilogue = output_epilogue(layer.requantize, infer(layer, types), value_bits=AVERAGE_BITS, average=True)
    x, shift = inputs[0], weighted.input_shift(types[0])
    return ops.apply_epilogue(shift_left(x, shift, WIDEST_BUFFER, ops) if shift.any() else x, epilogue)
