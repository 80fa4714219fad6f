"""Fully connected layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import neural
from spica.layers.neural import Neural
from spica.network.record import Facts, Ops, facts, forward_float, forward_integer, infer, record
from spica.network.tensor import TensorType


@record
class Dense(Neural):
    """Product of a vector with ``kernel`` (C, F)."""

    kernel: NDArray


@infer.register
def _(layer: Dense, inputs: Sequence[TensorType]) -> TensorType:
    x = neural.one_input(layer, inputs)
    neural.check_rank(layer, x, 1)
    neural.check_kernel(layer, layer.kernel, 2)
    channels, filters = layer.kernel.shape
    if channels != x.channels:
        raise SpicaError(f"{layer.name}: kernel expects {channels} inputs, but {layer.inputs[0]!r} has {x.channels}")
    return neural.finish_type(layer, x, (filters,), x.frac_bits.max(), neural.accumulator_scale(layer, x))


@forward_float.register
def _(layer: Dense, inputs: Sequence[NDArray]) -> NDArray:
    (x,) = inputs
    return neural.finish_float(layer, x @ layer.kernel)


@forward_integer.register
def _(layer: Dense, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    (x,), (kind,) = inputs, types
    kernel = layer.kernel.astype(np.int64) << neural.input_shift(kind)[..., None]
    bound = neural.largest(kind) * int(np.abs(kernel).sum(axis=0).max())
    # A vector is an image of one pixel.
    acc = ops.convolve(
        x[:, None, None, :],
        kernel[None, None],
        (1, 1),
        ((0, 0), (0, 0)),
        np.zeros(kind.channels, np.int64),
        bound,
    )
    return ops.finish(acc[:, 0, 0], neural.stage(layer, acc.shape, infer(layer, types)))


@facts.register
def _(layer: Dense, inputs: Sequence[TensorType], output: TensorType) -> Facts:
    (x,) = inputs
    channels, filters = layer.kernel.shape
    return Facts(
        kind="fully_connected",
        limits=neural.neural_limits(layer, x, output),
        macs=layer.kernel.size,
        fan_out=filters,
        weight_bits_per_filter=channels * (layer.weight_bits or 32),
        filters=filters,
    )
