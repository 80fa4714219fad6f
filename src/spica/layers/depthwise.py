"""Depthwise convolution."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.layers.weighted import WindowedLayer
from spica.network.layer import Ops, forward_float, forward_integer, infer, record
from spica.network.types import TensorType
from spica.semantics import primitives


@record
class DepthwiseConv2D(WindowedLayer):
    """Convolution of each channel of an image with a kernel of its own; ``kernel`` is (kh, kw, C)."""

    kernel: NDArray


@weighted.kernel_channels.register
def _(layer: DepthwiseConv2D) -> weighted.Channels:
    return {"kernel": np.arange(layer.kernel.shape[-1])}


@infer.register
def _(layer: DepthwiseConv2D, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    weighted.check_rank(layer, x, 3)
    weighted.check_kernel(layer, layer.kernel, 3)
    kh, kw, channels = layer.kernel.shape
    if channels != x.channels:
        raise SpicaError(f"{layer.name}: kernel expects {channels} channels, but {layer.inputs[0]!r} has {x.channels}")
    shape = (*weighted.convolved_shape(layer, x, (kh, kw), layer.strides, layer.padding), channels)
    return weighted.output_type(layer, x, shape, x.frac_bits, weighted.accumulator_scale(layer, x, False))


@forward_float.register
def _(layer: DepthwiseConv2D, inputs: Sequence[NDArray]) -> NDArray:
    (x,) = inputs
    kh, kw, channels = layer.kernel.shape
    patches = primitives.windows(
        x, (kh, kw), layer.strides, weighted.padding_of(layer, layer.kernel, x), np.zeros(channels, np.float32)
    )
    return weighted.apply_epilogue_float(layer, np.einsum("nhwcij,ijc->nhwc", patches, layer.kernel))


@forward_integer.register
def _(layer: DepthwiseConv2D, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    (x,), (kind,) = inputs, types
    bound = weighted.bound(weighted.largest(kind), layer.kernel)
    acc = ops.convolve_depthwise(x, layer.kernel, layer.strides, weighted.padding_of(layer, layer.kernel, x), bound)
    return ops.apply_epilogue(acc, weighted.epilogue_of(layer, acc.shape, infer(layer, types)))
