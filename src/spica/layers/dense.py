"""Fully connected layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.layers.weighted import WeightedLayer
from spica.network.layer import Ops, forward_float, forward_integer, infer, record
from spica.network.types import TensorType


@record
class Dense(WeightedLayer):
    """Matrix product of the last axis with ``kernel`` (C, F). Hardware takes it on vectors ``(C,)`` only."""

    kernel: NDArray


@infer.register
def _(layer: Dense, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    weighted.check_kernel(layer, layer.kernel, 2)
    channels, filters = layer.kernel.shape
    if channels != x.channels:
        raise SpicaError(f"{layer.name}: kernel expects {channels} inputs, but {layer.inputs[0]!r} has {x.channels}")
    return weighted.output_type(
        layer, x, (*x.shape[:-1], filters), x.frac_bits.max(), weighted.accumulator_scale(layer, x)
    )


@forward_float.register
def _(layer: Dense, inputs: Sequence[NDArray]) -> NDArray:
    (x,) = inputs
    return weighted.apply_epilogue_float(layer, x @ layer.kernel)


@forward_integer.register
def _(layer: Dense, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    (x,), (kind,) = inputs, types
    x, kernel, peak = weighted.align(x, layer.kernel, kind, layer.accumulator_bits, ops)
    bound = weighted.bound(peak, kernel)
    pixels = x.reshape(len(x), 1, -1, kind.channels)  # a vector is an image of one pixel, tokens are one row
    no_padding, no_fill = ((0, 0), (0, 0)), np.zeros(kind.channels, np.int64)
    acc = ops.convolve(pixels, kernel[None, None], (1, 1), no_padding, no_fill, bound)
    acc = acc.reshape(*x.shape[:-1], -1)
    return ops.apply_epilogue(acc, weighted.epilogue_of(layer, acc.shape, infer(layer, types)))
