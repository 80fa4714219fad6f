"""Transposed convolutions, full and depthwise, which enlarge an image by their stride.

The input is spread out with zeros between its pixels, and the mirrored kernel slides over it one pixel at a time. The
zeros are not events, so nothing is computed for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.layers.weighted import WeightedLayer
from spica.network.layer import Ops, forward_float, forward_integer, infer, record
from spica.network.types import TensorType
from spica.semantics import primitives
from spica.semantics.primitives import Padding, Pair


@record
class ConvTranspose2D(WeightedLayer):
    """Transposed convolution; ``kernel`` is (kh, kw, C, F).

    Attributes:
        padding: "same" gives ``strides`` times the input's size, "valid" all that the kernel reaches, at least as
            much; ``((top, bottom), (left, right))`` crops as much from what the kernel reaches.
    """

    kernel: NDArray
    strides: tuple[int, int] = (2, 2)
    padding: str | Padding = "same"


@record
class DepthwiseConvTranspose2D(WeightedLayer):
    """Transposed convolution with one kernel for each channel; ``kernel`` is (kh, kw, C)."""

    kernel: NDArray
    strides: tuple[int, int] = (2, 2)
    padding: str | Padding = "same"


Transposed = ConvTranspose2D | DepthwiseConvTranspose2D


def _output_size(layer: Transposed, size: int, axis: int) -> int:
    kernel, stride = layer.kernel.shape[axis], layer.strides[axis]
    if isinstance(layer.padding, tuple):
        return (size - 1) * stride + kernel - sum(layer.padding[axis])
    return size * stride + (max(kernel - stride, 0) if layer.padding == "valid" else 0)


def _spread_padding(layer: Transposed, height: int, width: int) -> Padding:
    """Return the padding around the dilated input, negative where the kernel is smaller than the stride."""

    def amounts(size: int, axis: int) -> Pair:
        kernel, stride = layer.kernel.shape[axis], layer.strides[axis]
        if isinstance(layer.padding, tuple):
            cropped = layer.padding[axis][0]
        else:
            cropped = max(kernel - stride, 0) // 2 if layer.padding == "same" else 0
        before = kernel - 1 - cropped
        spread = (size - 1) * stride + 1
        return before, _output_size(layer, size, axis) + kernel - 1 - spread - before

    return amounts(height, 0), amounts(width, 1)


def _spread(layer: Transposed, x: NDArray, ops: Ops | ModuleType = primitives) -> NDArray:
    return ops.dilate(x, layer.strides, _spread_padding(layer, *x.shape[1:3]))


def _infer(layer: Transposed, inputs: Sequence[TensorType], channels: int, filters: int) -> TensorType:
    x = weighted.one_input(layer, inputs)
    weighted.check_rank(layer, x, 3)
    if channels != x.channels:
        raise SpicaError(f"{layer.name}: kernel expects {channels} channels, but {layer.inputs[0]!r} has {x.channels}")
    if (isinstance(layer.padding, str) and layer.padding not in ("same", "valid")) or min(layer.strides) < 1:
        raise SpicaError(
            f"{layer.name}: padding must be 'same', 'valid' or ((top, bottom), (left, right)), and strides at least 1"
        )
    shape = (_output_size(layer, x.shape[0], 0), _output_size(layer, x.shape[1], 1), filters)
    if isinstance(layer.padding, tuple) and (min(shape) < 1 or min(min(p) for p in layer.padding) < 0):
        raise SpicaError(f"{layer.name}: padding {layer.padding} leaves no output, or is negative")
    return weighted.output_type(layer, x, shape, x.frac_bits.max(), weighted.accumulator_scale(layer, x))


@infer.register
def _(layer: ConvTranspose2D, inputs: Sequence[TensorType]) -> TensorType:
    weighted.check_kernel(layer, layer.kernel, 4)
    return _infer(layer, inputs, layer.kernel.shape[2], layer.kernel.shape[3])


@weighted.kernel_channels.register
def _(layer: DepthwiseConvTranspose2D) -> weighted.Channels:
    return {"kernel": np.arange(layer.kernel.shape[-1])}


@infer.register
def _(layer: DepthwiseConvTranspose2D, inputs: Sequence[TensorType]) -> TensorType:
    weighted.check_kernel(layer, layer.kernel, 3)
    return _infer(layer, inputs, layer.kernel.shape[2], layer.kernel.shape[2])


@forward_float.register
def _(layer: ConvTranspose2D, inputs: Sequence[NDArray]) -> NDArray:
    kernel = layer.kernel[::-1, ::-1]
    no_padding, channels = ((0, 0), (0, 0)), np.zeros(kernel.shape[2], np.float32)
    patches = primitives.windows(_spread(layer, inputs[0]), kernel.shape[:2], (1, 1), no_padding, channels)
    return weighted.apply_epilogue_float(layer, np.einsum("nhwcij,ijcf->nhwf", patches, kernel))


@forward_float.register
def _(layer: DepthwiseConvTranspose2D, inputs: Sequence[NDArray]) -> NDArray:
    kernel = layer.kernel[::-1, ::-1]
    no_padding, channels = ((0, 0), (0, 0)), np.zeros(kernel.shape[2], np.float32)
    patches = primitives.windows(_spread(layer, inputs[0]), kernel.shape[:2], (1, 1), no_padding, channels)
    return weighted.apply_epilogue_float(layer, np.einsum("nhwcij,ijc->nhwc", patches, kernel))


@forward_integer.register
def _(layer: ConvTranspose2D, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    x, kernel, peak = weighted.align(inputs[0], layer.kernel[::-1, ::-1], types[0], layer.accumulator_bits, ops)
    bound = weighted.bound(peak, kernel)
    acc = ops.convolve(
        _spread(layer, x, ops), kernel, (1, 1), ((0, 0), (0, 0)), np.zeros(kernel.shape[2], np.int64), bound
    )
    return ops.apply_epilogue(acc, weighted.epilogue_of(layer, acc.shape, infer(layer, types)))


@forward_integer.register
def _(layer: DepthwiseConvTranspose2D, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    kernel = weighted.shifted(layer.kernel[::-1, ::-1], weighted.input_shift(types[0]))
    bound = weighted.bound(weighted.largest(types[0]), kernel)
    acc = ops.convolve_depthwise(_spread(layer, inputs[0], ops), kernel, (1, 1), ((0, 0), (0, 0)), bound)
    return ops.apply_epilogue(acc, weighted.epilogue_of(layer, acc.shape, infer(layer, types)))


def padding_name(layer: Transposed) -> str:
    """Return "same", "valid" or "custom", whichever way the padding is given."""
    for name in ("same", "valid"):
        plain = replace(layer, padding=name)
        if _spread_padding(plain, 8, 8) == _spread_padding(layer, 8, 8):
            return name
    return "custom"
