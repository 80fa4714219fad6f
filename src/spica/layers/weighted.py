"""What layers with weights share: the format of weights, and the steps from accumulator to output.

A neural layer computes an accumulator and takes it through bias, max pooling, ReLU, global average pooling and
the output epilogue, in this order. In a float network the kernel and bias are float32; quantising the network
replaces them with integers and fills the fields from ``weight_bits`` on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import singledispatch
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers.epilogue import (
    AVERAGE_BITS,
    GlobalAverage,
    MaxPool,
    ReLU,
    Requantize,
    averaged,
    output_epilogue,
    pool_arguments,
    requantized_type,
    shift_left,
)
from spica.network.layer import Layer, Ops, macs
from spica.network.rules import refuse
from spica.network.types import TensorType
from spica.semantics import primitives
from spica.semantics.primitives import Epilogue, Padding, Pair

ACCUMULATOR_BITS = 27
"""Value bits of the accumulators of the hardware's processors (one more holds the sign)."""

WIDEST_ACCUMULATOR = 46
"""With this bound and those of the epilogue every product and shift stays within 64 bits."""


@dataclass(frozen=True, eq=False, kw_only=True)
class WeightedLayer(Layer):
    """Layer with weights. The module's docstring says in what order the fields act.

    Attributes:
        bias: float32, or integers on the accumulator's grid; one a filter.
        pool: pooling fused into the layer.
        activation: rectifier fused into the layer.
        weight_bits: 1, 2, 4 or 8 in an integer layer.
        weight_scale: real value of one weight step (float32), one a filter.
        requantize: the output stage; without it the accumulator itself leaves the layer.
        accumulator_bits: value bits to which the accumulator saturates.
    """

    bias: NDArray | None = None
    pool: MaxPool | GlobalAverage | None = None
    activation: ReLU | None = None
    weight_bits: int | None = None
    weight_scale: NDArray[np.float32] | None = None
    requantize: Requantize | None = None
    accumulator_bits: int = ACCUMULATOR_BITS


@dataclass(frozen=True, eq=False, kw_only=True)
class WindowedLayer(WeightedLayer):
    """Layer with weights that slides its kernel over an image.

    Attributes:
        strides: step of the window down and across.
        padding: "same" (TensorFlow's rule), "valid", or ``((top, bottom), (left, right))``.
    """

    strides: tuple[int, int] = (1, 1)
    padding: str | tuple[tuple[int, int], tuple[int, int]] = "same"

    @property
    def window(self) -> Pair:
        """Height and width of the kernel."""
        return self.kernel.shape[:2]  # type: ignore[attr-defined]


Channels = dict[str, NDArray[np.intp]]
"""The channel that each weight of a kernel reads, by the kernel's field; of a shape that broadcasts to the kernel's."""


@singledispatch
def kernel_channels(layer: Layer) -> Channels:
    """Return which channel each weight of a layer's kernels reads, in the order in which the input meets the kernels.

    Filters are on a kernel's last axis. A layer whose filters each read one channel gives one index a filter.
    """
    refuse(kernel_channels, layer)


@kernel_channels.register
def _(layer: WeightedLayer) -> Channels:
    return {"kernel": np.arange(layer.kernel.shape[-2])[:, None]}  # type: ignore[attr-defined]


@singledispatch
def lowered(layer: Any) -> Any:
    """Return the layer that hardware and other tools hold in a layer's place, with the same outputs."""
    return layer


def is_depthwise(layer: WeightedLayer) -> bool:
    """Return whether each filter of a layer reads one channel only."""
    return all(channels.ndim == 1 for channels in kernel_channels(layer).values())


def weighted_layers(layers: Iterable[Layer]) -> list[WeightedLayer]:
    """Return the layers of a network that have weights."""
    return [layer for layer in layers if isinstance(layer, WeightedLayer)]


WEIGHT_RANGE = {1: (-1, 1), 2: (-2, 1), 4: (-8, 7), 8: (-128, 127)}
"""Smallest and largest weight of each width; one bit holds -1 and +1, without zero."""


def check_kernel(layer: WeightedLayer, kernel: NDArray, ndim: int) -> None:
    """Check the rank, type and range of a kernel."""
    where = layer.name
    if kernel.ndim != ndim or 0 in kernel.shape:
        raise SpicaError(f"{where}: kernel has shape {kernel.shape}, but must have {ndim} axes, none empty")
    if layer.weight_bits is None:
        if kernel.dtype != np.float32:
            raise SpicaError(f"{where}: kernel is {kernel.dtype}, but a float layer's must be float32")
        if not np.isfinite(kernel).all():
            raise SpicaError(f"{where}: kernel holds NaN or infinity; check the training")
        return
    if layer.weight_bits not in WEIGHT_RANGE:
        raise SpicaError(f"{where}: weight_bits is {layer.weight_bits}, but must be 1, 2, 4 or 8")
    low, high = WEIGHT_RANGE[layer.weight_bits]
    if kernel.dtype != np.int8 or kernel.min() < low or kernel.max() > high:
        raise SpicaError(f"{where}: kernel must be int8 within [{low}, {high}] for {layer.weight_bits} bits")
    if layer.weight_scale is None:
        raise SpicaError(f"{where}: an integer layer needs weight_scale")
    if not 1 <= layer.accumulator_bits <= WIDEST_ACCUMULATOR:
        raise SpicaError(
            f"{where}: accumulator_bits is {layer.accumulator_bits}, but must be 1 to {WIDEST_ACCUMULATOR}"
        )


def check_rank(layer: Layer, x: TensorType, rank: int) -> None:
    """Check that an input is an image (rank 3) or a vector (rank 1)."""
    if len(x.shape) != rank:
        axes = "(H, W, C)" if rank == 3 else "(C,)"
        fix = "put a Flatten before it" if rank == 1 else "give it an image"
        raise SpicaError(f"{layer.name}: its input {layer.inputs[0]!r} has shape {x.shape}, but must be {axes}; {fix}")


def one_input(layer: Layer, inputs: Sequence[TensorType]) -> TensorType:
    """Return the type of a layer's only input."""
    if len(inputs) != 1:
        raise SpicaError(f"{layer.name}: {type(layer).__name__} reads one tensor, but is given {len(inputs)}")
    return inputs[0]


def convolved_shape(layer: Layer, x: TensorType, kernel: Pair, strides: Pair, padding: str | Padding) -> Pair:
    """Return the height and width after sliding a window over ``x``, or raise ``SpicaError`` where it does not fit."""
    if min(strides) < 1:
        raise SpicaError(f"{layer.name}: strides {strides} must be at least 1")
    pads = primitives.resolve_padding(padding, (x.shape[0], x.shape[1]), kernel, strides, layer.name)
    if min(min(p) for p in pads) < 0:
        raise SpicaError(f"{layer.name}: padding {pads} must not be negative")
    height, width = (primitives.output_size(s, k, t, p) for s, k, t, p in zip(x.shape, kernel, strides, pads))
    if height < 1 or width < 1:
        raise SpicaError(
            f"{layer.name}: a {kernel[0]}x{kernel[1]} window does not fit its {x.shape[0]}x{x.shape[1]} "
            "input; use a larger input or 'same' padding"
        )
    return height, width


def padding_of(layer: WindowedLayer, kernel: NDArray, x: NDArray | TensorType) -> Padding:
    """Return the padding of ``layer`` as explicit amounts, for an input array (N, H, W, C) or its type."""
    height, width = x.shape[:2] if isinstance(x, TensorType) else x.shape[1:3]
    return primitives.resolve_padding(layer.padding, (height, width), kernel.shape[:2], layer.strides, layer.name)


def accumulator_scale(layer: WeightedLayer, x: TensorType, mixes_channels: bool = True) -> NDArray[np.float32]:
    """Return the real value of one accumulator step, apart from its exponent."""
    if mixes_channels and x.scale.ndim > 0:
        raise SpicaError(
            f"{layer.name}: the channels of its input {layer.inputs[0]!r} have different scales and cannot "
            "be summed; give the layers before it an output stage"
        )
    return np.asarray(x.scale * (1 if layer.weight_scale is None else layer.weight_scale), np.float32)


# -- what follows the accumulator --------------------------------------------------------------------------


def output_type(
    layer: WeightedLayer, x: TensorType, shape: tuple[int, ...], frac_bits: NDArray, scale: NDArray
) -> TensorType:
    """Return the type of a layer's output, given its accumulator's shape, exponent and scale."""
    filters = shape[-1]
    if layer.bias is not None and layer.bias.shape != (filters,):
        raise SpicaError(f"{layer.name}: bias has shape {layer.bias.shape}, but there are {filters} filters")
    if (layer.weight_bits is None) != x.is_float:
        have, need = ("integers", "float32") if layer.weight_bits else ("float32", "integers")
        raise SpicaError(f"{layer.name}: it has {have} as weights but {need} as input; quantise the whole network")
    bound = None if layer.activation is None else layer.activation.max_value
    if layer.weight_bits and any(a is not None and a.dtype.kind not in "iu" for a in (layer.bias, bound)):
        raise SpicaError(f"{layer.name}: its bias and the bound of its activation must be integers, as its weights are")
    if isinstance(layer.pool, MaxPool):
        pooled = TensorType((*shape[:-1], filters)) if len(shape) == 3 else None
        if pooled is None:
            raise SpicaError(f"{layer.name}: max pooling needs an image, but the output has shape {shape}")
        shape = (
            *convolved_shape(layer, pooled, layer.pool.size, layer.pool.strides, layer.pool.padding),
            filters,
        )
    average = 1
    if isinstance(layer.pool, GlobalAverage):
        if len(shape) != 3:
            raise SpicaError(f"{layer.name}: global average pooling needs an image, but the output has shape {shape}")
        average, shape = shape[0] * shape[1], (filters,)
    if x.is_float:
        return TensorType(shape)
    if (out := layer.requantize) is not None:
        return requantized_type(layer.name, out, shape)
    bits = AVERAGE_BITS + 1 if average > 1 else layer.accumulator_bits + 1
    return TensorType(shape, bits, True, frac_bits, averaged(scale, average))


def apply_epilogue_float(layer: WeightedLayer, acc: NDArray[np.float32]) -> NDArray[np.float32]:
    """Apply bias, pooling and activation in float32."""
    if layer.bias is not None:
        acc = acc + layer.bias
    if isinstance(layer.pool, MaxPool):
        acc = primitives.max_pool(acc, *pool_arguments(layer, layer.pool, acc.shape))
    if layer.activation is not None:
        acc = np.clip(acc, 0, layer.activation.max_value)
    if isinstance(layer.pool, GlobalAverage):
        acc = acc.mean(axis=(1, 2))
    return acc


def epilogue_of(layer: WeightedLayer, acc_shape: tuple[int, ...], output: TensorType) -> Epilogue:
    """Return the epilogue of ``layer`` for an accumulator of shape ``acc_shape`` (batch axis first)."""
    relu = layer.activation
    return output_epilogue(
        layer.requantize,
        output,
        value_bits=layer.accumulator_bits,
        bias=layer.bias,
        pool=pool_arguments(layer, layer.pool, acc_shape) if isinstance(layer.pool, MaxPool) else None,
        relu=relu is not None,
        ceiling=None if relu is None else relu.max_value,
        average=isinstance(layer.pool, GlobalAverage),
    )


def largest(x: TensorType) -> int:
    """Return the largest magnitude that an integer of this type can have."""
    low, high = x.range
    return max(-low, high)


def input_shift(x: TensorType) -> NDArray[np.int64]:
    """Return the left shift of each channel that brings all to the finest exponent among them."""
    return x.frac_bits.max() - x.frac_bits


def align(
    x: NDArray, kernel: NDArray, kind: TensorType, value_bits: int, ops: Ops, channels: NDArray[np.intp] | None = None
) -> tuple[NDArray, NDArray, int]:
    """Make the exponents of the input's channels equal; return input, kernel (..., C, F) and largest input.

    The left shifts that do it move into the weights, where they cost nothing, unless the shifted input would saturate.
    ``channels`` tells which channel each weight reads, where that is not its row.
    """
    shift, peak = input_shift(kind), largest(kind)
    if peak << int(shift.max()) > 1 << value_bits:
        return shift_left(x, shift, value_bits, ops), kernel, 1 << value_bits
    return x, shifted(kernel, shift[..., None] if channels is None or not shift.ndim else shift[channels]), peak


def shifted(kernel: NDArray, shift: NDArray[np.int64]) -> NDArray:
    """Shift ``kernel`` left; return it as it is, not a wide copy, where no shift does anything."""
    return kernel.astype(np.int64) << shift if shift.any() else kernel


def bound(peak: int, kernel: NDArray) -> int:
    """Return the largest magnitude that a filter's sum can reach, for ``kernel`` (..., F) on values up to ``peak``."""
    axes = tuple(range(kernel.ndim - 1))
    return peak * int((np.maximum(kernel, 0).sum(axis=axes) - np.minimum(kernel, 0).sum(axis=axes)).max())


@macs.register
def _(layer: WeightedLayer, inputs: Sequence[TensorType]) -> int:
    """Every weight meets every position of the input."""
    return prod(inputs[0].shape[:-1]) * weight_count(layer)


@macs.register
def _(layer: WindowedLayer, inputs: Sequence[TensorType]) -> int:
    """Every weight meets every position of the window."""
    rows, columns = convolved_shape(layer, inputs[0], layer.window, layer.strides, layer.padding)
    return rows * columns * weight_count(layer)


def weight_count(layer: WeightedLayer) -> int:
    """Return the number of weights in all kernels of a layer."""
    return sum(getattr(layer, f.name).size for f in fields(layer) if "kernel" in f.name)
