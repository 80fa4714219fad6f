"""Depthwise convolution: every channel with a kernel of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import arithmetic, neural
from spica.layers.neural import Windowed
from spica.network.record import Facts, Ops, facts, forward_float, forward_integer, infer, record
from spica.network.tensor import TensorType


@record
class DepthwiseConv2D(Windowed):
    """Convolution of each channel of an image with its own kernel, ``kernel`` (kh, kw, C)."""

    kernel: NDArray


@infer.register
def _(layer: DepthwiseConv2D, inputs: Sequence[TensorType]) -> TensorType:
    x = neural.one_input(layer, inputs)
    neural.check_rank(layer, x, 3)
    neural.check_kernel(layer, layer.kernel, 3)
    kh, kw, channels = layer.kernel.shape
    if channels != x.channels:
        raise SpicaError(f"{layer.name}: kernel expects {channels} channels, but {layer.inputs[0]!r} has {x.channels}")
    shape = (*neural.convolved_shape(layer, x, (kh, kw), layer.strides, layer.padding), channels)
    return neural.finish_type(layer, x, shape, x.frac_bits, neural.accumulator_scale(layer, x, False))


@forward_float.register
def _(layer: DepthwiseConv2D, inputs: Sequence[NDArray]) -> NDArray:
    (x,) = inputs
    kh, kw, channels = layer.kernel.shape
    patches = arithmetic.windows(
        x, (kh, kw), layer.strides, neural.padding_of(layer, layer.kernel, x), np.zeros(channels, np.float32)
    )
    return neural.finish_float(layer, np.einsum("nhwcij,ijc->nhwc", patches, layer.kernel))


@forward_integer.register
def _(layer: DepthwiseConv2D, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    (x,), (kind,) = inputs, types
    bound = neural.bound(neural.largest(kind), layer.kernel)
    acc = ops.convolve_depthwise(x, layer.kernel, layer.strides, neural.padding_of(layer, layer.kernel, x), bound)
    return ops.finish(acc, neural.stage(layer, acc.shape, infer(layer, types)))


@facts.register
def _(layer: DepthwiseConv2D, inputs: Sequence[TensorType], output: TensorType) -> Facts:
    area = layer.kernel.shape[0] * layer.kernel.shape[1]
    return neural.windowed_facts(
        layer,
        layer.kernel,
        inputs[0],
        output,
        kind="depthwise_convolution",
        weights=layer.kernel.size,
        fan_out=area,
        weight_bits_per_filter=area * (layer.weight_bits or 32),
    )
