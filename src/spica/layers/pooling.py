"""Pooling as a layer of its own (the rewriting passes fuse it into the layer before where that is possible)."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import NDArray

from spica.layers import arithmetic, neural
from spica.layers.arithmetic import Stage
from spica.layers.neural import MaxPool, Requantize
from spica.network.record import Facts, Layer, Ops, facts, forward_float, forward_integer, infer, record
from spica.network.tensor import TensorType


@record
class MaxPool2D(Layer):
    """Largest value of each window of ``pool``."""

    pool: MaxPool


@infer.register
def _(layer: MaxPool2D, inputs: Sequence[TensorType]) -> TensorType:
    x = neural.one_input(layer, inputs)
    neural.check_rank(layer, x, 3)
    pool = layer.pool
    shape = (*neural.convolved_shape(layer, x, pool.size, pool.strides, pool.padding), x.channels)
    return TensorType(shape, x.bits, x.signed, x.frac_bits, x.scale)


@forward_float.register
def _(layer: MaxPool2D, inputs: Sequence[NDArray]) -> NDArray:
    (x,) = inputs
    return arithmetic.max_pool(x, *neural.pool_stage(layer, layer.pool, x.shape))


@forward_integer.register
def _(layer: MaxPool2D, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    (x,), (kind,) = inputs, types
    low, high = kind.range
    pool = neural.pool_stage(layer, layer.pool, x.shape)
    return ops.finish(x, Stage(value_bits=62, pool=pool, low=low, high=high, dtype=kind.dtype))


@facts.register
def _(layer: MaxPool2D, inputs: Sequence[TensorType], output: TensorType) -> Facts:
    return Facts(kind="max_pool")


@record
class GlobalAveragePooling2D(Layer):
    """Mean over height and width: ``(H, W, C)`` -> ``(C,)``."""

    requantize: Requantize | None = None


@infer.register
def _(layer: GlobalAveragePooling2D, inputs: Sequence[TensorType]) -> TensorType:
    x = neural.one_input(layer, inputs)
    neural.check_rank(layer, x, 3)
    shape = (x.channels,)
    if x.is_float:
        return TensorType(shape)
    if layer.requantize is not None:
        return neural.requantized_type(layer.name, layer.requantize, shape)
    scale = neural.averaged(x.scale, x.shape[0] * x.shape[1])
    return TensorType(shape, neural.AVERAGE_BITS + 1, True, x.frac_bits.max(), scale)


@forward_float.register
def _(layer: GlobalAveragePooling2D, inputs: Sequence[NDArray]) -> NDArray:
    return inputs[0].mean(axis=(1, 2))


@forward_integer.register
def _(layer: GlobalAveragePooling2D, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    stage = neural.output_stage(layer.requantize, infer(layer, types), value_bits=neural.AVERAGE_BITS, average=True)
    x, shift = inputs[0], neural.input_shift(types[0])
    return ops.finish(neural.shift_left(x, shift, neural.WIDEST_BUFFER, ops) if shift.any() else x, stage)


@facts.register
def _(layer: GlobalAveragePooling2D, inputs: Sequence[TensorType], output: TensorType) -> Facts:
    return Facts(kind="global_average_pool")
