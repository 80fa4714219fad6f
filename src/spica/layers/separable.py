"""Separable convolution: depthwise, then pointwise, with no rounding between them."""

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
from spica.semantics.primitives import Pair


@record
class SeparableConv2D(WindowedLayer):
    """Depthwise convolution with ``depthwise_kernel`` (kh, kw, C), then pointwise with ``kernel`` (C, F).

    ``weight_scale`` is the product of both kernels' steps; the depthwise kernel has one step for all channels.
    """

    depthwise_kernel: NDArray
    kernel: NDArray
    accumulator_bits: int = 31

    @property
    def window(self) -> Pair:
        """Height and width of the depthwise kernel."""
        return self.depthwise_kernel.shape[:2]


@weighted.kernel_channels.register
def _(layer: SeparableConv2D) -> weighted.Channels:
    channels = np.arange(layer.kernel.shape[0])
    return {"depthwise_kernel": channels, "kernel": channels[:, None]}


@infer.register
def _(layer: SeparableConv2D, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    weighted.check_rank(layer, x, 3)
    weighted.check_kernel(layer, layer.depthwise_kernel, 3)
    weighted.check_kernel(layer, layer.kernel, 2)
    kh, kw, channels = layer.depthwise_kernel.shape
    if channels != x.channels or layer.kernel.shape[0] != channels:
        raise SpicaError(
            f"{layer.name}: kernels expect {channels} and {layer.kernel.shape[0]} channels, "
            f"but {layer.inputs[0]!r} has {x.channels}"
        )
    filters = layer.kernel.shape[1]
    shape = (*weighted.convolved_shape(layer, x, (kh, kw), layer.strides, layer.padding), filters)
    return weighted.output_type(layer, x, shape, x.frac_bits.max(), weighted.accumulator_scale(layer, x))


@forward_float.register
def _(layer: SeparableConv2D, inputs: Sequence[NDArray]) -> NDArray:
    (x,) = inputs
    kh, kw, channels = layer.depthwise_kernel.shape
    patches = primitives.windows(
        x,
        (kh, kw),
        layer.strides,
        weighted.padding_of(layer, layer.depthwise_kernel, x),
        np.zeros(channels, np.float32),
    )
    return weighted.apply_epilogue_float(
        layer, np.einsum("nhwcij,ijc->nhwc", patches, layer.depthwise_kernel) @ layer.kernel
    )


@forward_integer.register
def _(layer: SeparableConv2D, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    (x,), (kind,) = inputs, types
    depthwise = weighted.shifted(layer.depthwise_kernel, weighted.input_shift(kind))
    middle_bound = weighted.bound(weighted.largest(kind), depthwise)
    middle = ops.convolve_depthwise(
        x, depthwise, layer.strides, weighted.padding_of(layer, layer.depthwise_kernel, x), middle_bound
    )
    middle = ops.apply_epilogue(middle, primitives.Epilogue(value_bits=layer.accumulator_bits, dtype=np.int32))
    pointwise = layer.kernel[None, None]
    bound = weighted.bound(min(middle_bound, 1 << layer.accumulator_bits), pointwise)
    acc = ops.convolve(middle, pointwise, (1, 1), ((0, 0), (0, 0)), np.zeros(kind.channels, np.int64), bound)
    return ops.apply_epilogue(acc, weighted.epilogue_of(layer, acc.shape, infer(layer, types)))
