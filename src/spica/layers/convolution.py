"""Two-dimensional convolution."""

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
class Conv2D(WindowedLayer):
    """Convolution of an image with ``kernel`` (kh, kw, C, F).

    Where it reads the network's input, hardware gives it to the input-convolution unit.

    Attributes:
        padding_value: what the border is filled with, one a channel (zero where absent).
    """

    kernel: NDArray
    padding_value: NDArray | None = None


@infer.register
def _(layer: Conv2D, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    weighted.check_rank(layer, x, 3)
    weighted.check_kernel(layer, layer.kernel, 4)
    kh, kw, channels, filters = layer.kernel.shape
    if channels != x.channels:
        raise SpicaError(f"{layer.name}: kernel expects {channels} channels, but {layer.inputs[0]!r} has {x.channels}")
    if layer.padding_value is not None and layer.padding_value.shape != (channels,):
        raise SpicaError(f"{layer.name}: padding_value must have one entry for each of {channels} channels")
    shape = (*weighted.convolved_shape(layer, x, (kh, kw), layer.strides, layer.padding), filters)
    return weighted.output_type(layer, x, shape, x.frac_bits.max(), weighted.accumulator_scale(layer, x))


@forward_float.register
def _(layer: Conv2D, inputs: Sequence[NDArray]) -> NDArray:
    (x,) = inputs
    kh, kw, channels, filters = layer.kernel.shape
    fill = np.zeros(channels, np.float32) if layer.padding_value is None else layer.padding_value
    patches = primitives.windows(x, (kh, kw), layer.strides, weighted.padding_of(layer, layer.kernel, x), fill)
    columns = layer.kernel.transpose(2, 0, 1, 3).reshape(-1, filters)
    acc = patches.reshape(-1, columns.shape[0]) @ columns
    return weighted.apply_epilogue_float(layer, acc.reshape(*patches.shape[:3], filters))


@forward_integer.register
def _(layer: Conv2D, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    (x,), (kind,) = inputs, types
    x, kernel, peak = weighted.align(x, layer.kernel, kind, layer.accumulator_bits, ops)
    fill = np.zeros(kind.channels, np.int64) if layer.padding_value is None else layer.padding_value
    peak = max(peak, int(np.abs(fill).max()))
    bound = weighted.bound(peak, kernel)
    acc = ops.convolve(x, kernel, layer.strides, weighted.padding_of(layer, layer.kernel, x), fill, bound)
    return ops.apply_epilogue(acc, weighted.epilogue_of(layer, acc.shape, infer(layer, types)))
