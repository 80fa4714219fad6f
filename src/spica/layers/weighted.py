"""Layers with weights: the format of weights, and the steps from accumulator to output.

A layer with weights computes accumulators and takes them through bias, max pooling, ReLU, global average pooling and
the output stage, in this order. In a float network the kernels and the bias are float32; quantising the network
replaces them with integers and fills the fields from ``weight_bits`` on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import singledispatch
from math import prod
from typing import Annotated, Any, ClassVar

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
from spica.network.fields import LARGEST_VALUE, AccumulatorBits, Bounds, Pads, Scales, Values, Window
from spica.network.layer import Layer, Ops, check_together, forward_float, forward_integer, infer, macs
from spica.network.rules import refuse
from spica.network.types import TensorType, check_size
from spica.semantics import primitives
from spica.semantics.primitives import Epilogue, Padding, Pair

ACCUMULATOR_BITS = 27
"""Value bits of the accumulators of the hardware's processors (one more holds the sign)."""

NO_PADDING = ((0, 0), (0, 0))


@dataclass(frozen=True, eq=False, kw_only=True)
class WeightedLayer(Layer):
    """Layer with weights. The module's docstring says in what order the fields act.

    A type has a field ``kernel``, names its axes in ``KERNELS``, and says what it sums: ``accumulator_shape``,
    ``accumulate_float`` and ``accumulate``. All the rest (``infer``, both forward functions, ``macs``) follows.

    Attributes:
        KERNELS: the axes of each kernel, by field, in the order in which the input meets them: ``h``, ``w`` or ``t``
            of the window, ``C`` for the channels read, ``F`` for filters. Filters that each read one channel have no
            axis of their own.
        bias: float32, or integers on the accumulator's grid; one a filter.
        pool: pooling fused into the layer.
        activation: rectifier fused into the layer.
        weight_bits: 1, 2, 4 or 8 in an integer layer.
        weight_scale: real value of one weight step (float32), one a filter.
        requantize: the output stage; without it the accumulator itself leaves the layer.
        accumulator_bits: value bits to which the accumulator saturates.
    """

    KERNELS: ClassVar[dict[str, str]] = {"kernel": "CF"}

    bias: Annotated[Values, Bounds(-LARGEST_VALUE, LARGEST_VALUE, "each")] | None = None
    pool: MaxPool | GlobalAverage | None = None
    activation: ReLU | None = None
    weight_bits: int | None = None
    weight_scale: Scales | None = None
    requantize: Requantize | None = None
    accumulator_bits: AccumulatorBits = ACCUMULATOR_BITS

    @property
    def kernels(self) -> dict[str, NDArray]:
        """The kernels by field, in the order in which the input meets them."""
        return {field: getattr(self, field) for field in self.KERNELS}

    @property
    def filters(self) -> int:
        """Number of filters."""
        return self.kernels["kernel"].shape[-1]

    def accumulator_shape(self, x: TensorType) -> tuple[int, ...]:
        """Return the shape of one sample's accumulators; raise ``SpicaError`` for an input that does not fit."""
        raise NotImplementedError

    def accumulator_grid(self, x: TensorType) -> tuple[NDArray, NDArray]:
        """Return the fractional bits and the scale, that of the weights left out, of the accumulators."""
        if x.scale.ndim > 0:
            raise SpicaError(
                f"{self.name}: the channels of its input {self.inputs[0]!r} have different scales and cannot "
                "be summed; give the layers before it an output stage"
            )
        return x.frac_bits.max(), x.scale

    def accumulate_float(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the accumulators of a float layer for samples ``(N, ...)``."""
        raise NotImplementedError

    def accumulate(self, x: NDArray, kind: TensorType, ops: Ops) -> NDArray:
        """Return the accumulators of an integer layer for samples ``(N, ...)`` of a type."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False, kw_only=True)
class WindowedLayer(WeightedLayer):
    """Layer with weights that slides its first kernel over an image.

    Attributes:
        strides: step of the window down and across.
        padding: "same" (TensorFlow's rule), "valid", or ``((top, bottom), (left, right))``.
    """

    strides: Window = (1, 1)
    padding: str | Pads = "same"

    @property
    def window(self) -> Pair:
        """Height and width of the kernel."""
        return next(iter(self.kernels.values())).shape[:2]

    def padding_for(self, height: int, width: int) -> Padding:
        """Return the padding of an image of a height and width, as explicit amounts."""
        return primitives.resolve_padding(self.padding, (height, width), self.window, self.strides, self.name)

    def accumulator_shape(self, x: TensorType) -> tuple[int, ...]:
        """Return height and width of what the window gives, and the filters."""
        check_rank(self, x, 3)
        return (*convolved_shape(self, x, self.window, self.strides, self.padding), self.filters)

    @property
    def border(self) -> NDArray | None:
        """The value of each channel in the border of images; ``None`` for zeros."""
        return None

    def patches(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return every window ``(N, rows, columns, C, kh, kw)`` of float images."""
        fill = np.asarray(0 if self.border is None else self.border, np.float32)
        return primitives.windows(x, self.window, self.strides, self.padding_for(*x.shape[1:3]), fill)

    def accumulate(self, x: NDArray, kind: TensorType, ops: Ops) -> NDArray:
        """Return the sums of a convolution with the kernel."""
        x, kernel, peak = align(self, x, self.kernels["kernel"], kind, ops)
        return convolve(x, kernel, peak, ops, self.strides, self.padding_for(*kind.shape[:2]), self.border)


# -- rules that serve every layer with weights ---------------------------------------------------------------


@infer.register
def _(layer: WeightedLayer, inputs: Sequence[TensorType]) -> TensorType:
    x = one_input(layer, inputs)
    shape = layer.accumulator_shape(x)
    for field, channels in kernel_channels(layer).items():
        if (count := int(channels.max()) + 1) != x.channels:
            raise SpicaError(
                f"{layer.name}: {field} expects {count} channels, but {layer.inputs[0]!r} has {x.channels}"
            )
    return output_type(layer, x, shape)


@forward_float.register
def _(layer: WeightedLayer, inputs: Sequence[NDArray]) -> NDArray:
    acc = layer.accumulate_float(inputs[0])
    if layer.bias is not None:
        acc = acc + layer.bias
    if isinstance(layer.pool, MaxPool):
        acc = primitives.max_pool(acc, *pool_arguments(layer, layer.pool, acc.shape))
    if layer.activation is not None:
        acc = np.clip(acc, 0, layer.activation.max_value)
    return acc.mean(axis=(1, 2)) if isinstance(layer.pool, GlobalAverage) else acc


@forward_integer.register
def _(layer: WeightedLayer, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    acc = layer.accumulate(inputs[0], types[0], ops)
    return ops.apply_epilogue(acc, epilogue_of(layer, acc.shape, infer(layer, types)))


@macs.register
def _(layer: WeightedLayer, inputs: Sequence[TensorType]) -> int:
    """Count every weight for every position of the input."""
    return prod(inputs[0].shape[:-1]) * weight_count(layer)


@macs.register
def _(layer: WindowedLayer, inputs: Sequence[TensorType]) -> int:
    """Count every weight for every position of the window."""
    return prod(convolved_shape(layer, inputs[0], layer.window, layer.strides, layer.padding)) * weight_count(layer)


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
    counts = {field: np.arange(getattr(layer, field).shape[axes.index("C")]) for field, axes in layer.KERNELS.items()}
    return {field: c[:, None] if "F" in layer.KERNELS[field] else c for field, c in counts.items()}


@singledispatch
def lowered(layer: Any) -> Any:
    """Return the layer that hardware and other tools hold in a layer's place, with the same outputs."""
    return layer


def is_depthwise(layer: WeightedLayer) -> bool:
    """Return whether each filter of a layer reads one channel only."""
    return not any("F" in axes for axes in layer.KERNELS.values())


def weighted_layers(layers: Iterable[Layer]) -> list[WeightedLayer]:
    """Return the layers of a network that have weights."""
    return [layer for layer in layers if isinstance(layer, WeightedLayer)]


def weight_count(layer: WeightedLayer) -> int:
    """Return the number of weights in all kernels of a layer."""
    return sum(kernel.size for kernel in layer.kernels.values())


# -- checks --------------------------------------------------------------------------------------------------

WEIGHT_RANGE = {1: (-1, 1), 2: (-2, 1), 4: (-8, 7), 8: (-128, 127)}
"""Smallest and largest weight of each width; one bit holds -1 and +1, without zero."""


@check_together.register
def _(layer: WeightedLayer) -> None:
    """Check the rank and the range of the kernels, and that an integer layer has what it needs."""
    where, bits = layer.name, layer.weight_bits
    if bits is not None and bits not in WEIGHT_RANGE:
        raise SpicaError(f"{where}: weight_bits is {bits}, but must be 1, 2, 4 or 8")
    for field, kernel in layer.kernels.items():
        ndim = len(layer.KERNELS[field])
        if kernel.ndim != ndim or 0 in kernel.shape:
            raise SpicaError(f"{where}: {field} has shape {kernel.shape}, but must have {ndim} axes, none empty")
        if bits is None and kernel.dtype != np.float32:
            raise SpicaError(f"{where}: {field} is {kernel.dtype}, but a float layer's must be float32")
        low, high = WEIGHT_RANGE[bits or 8]
        if bits is not None and (kernel.dtype != np.int8 or kernel.min() < low or kernel.max() > high):
            raise SpicaError(f"{where}: {field} must be int8 within [{low}, {high}] for {bits} bits")
    if bits is not None and layer.weight_scale is None:
        raise SpicaError(f"{where}: an integer layer needs weight_scale")


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
    pads = primitives.resolve_padding(padding, (x.shape[0], x.shape[1]), kernel, strides, layer.name)
    check_size((x.shape[0] + sum(pads[0]), x.shape[1] + sum(pads[1]), *x.shape[2:]), layer.name)
    height, width = (primitives.output_size(s, k, t, p) for s, k, t, p in zip(x.shape, kernel, strides, pads))
    if height < 1 or width < 1:
        raise SpicaError(
            f"{layer.name}: a {kernel[0]}x{kernel[1]} window does not fit its {x.shape[0]}x{x.shape[1]} "
            "input; use a larger input or 'same' padding"
        )
    return height, width


# -- what follows the accumulator ----------------------------------------------------------------------------


def output_type(layer: WeightedLayer, x: TensorType, shape: tuple[int, ...]) -> TensorType:
    """Return the type of a layer's output, given its input and the shape of its accumulators."""
    frac_bits, scale = layer.accumulator_grid(x)
    filters, pool = shape[-1], layer.pool
    if pool is not None and len(shape) != 3:
        raise SpicaError(f"{layer.name}: pooling needs an image, but the output has shape {shape}")
    average = 1
    if isinstance(pool, MaxPool):
        shape = (*convolved_shape(layer, TensorType(shape), pool.size, pool.strides, pool.padding), filters)
    elif isinstance(pool, GlobalAverage):
        average, shape = shape[0] * shape[1], (filters,)
    if x.is_float:
        return TensorType(shape)
    if layer.requantize is not None:
        return requantized_type(layer.name, layer.requantize, shape)
    bits = AVERAGE_BITS + 1 if average > 1 else layer.accumulator_bits + 1
    return TensorType(
        shape, bits, True, frac_bits, averaged(np.asarray(scale * layer.weight_scale, np.float32), average)
    )


def epilogue_of(layer: WeightedLayer, acc_shape: tuple[int, ...], output: TensorType) -> Epilogue:
    """Return the epilogue of ``layer`` for an accumulator of shape ``acc_shape`` (batch axis first)."""
    return output_epilogue(
        layer.requantize,
        output,
        layer.activation,
        value_bits=layer.accumulator_bits,
        bias=layer.bias,
        pool=pool_arguments(layer, layer.pool, acc_shape) if isinstance(layer.pool, MaxPool) else None,
        average=isinstance(layer.pool, GlobalAverage),
    )


# -- integer products ----------------------------------------------------------------------------------------


def largest(x: TensorType) -> int:
    """Return the largest magnitude that an integer of this type can have."""
    low, high = x.range
    return max(-low, high)


def input_shift(x: TensorType) -> NDArray[np.int64]:
    """Return the left shift of each channel that brings all to the finest exponent among them."""
    return x.frac_bits.max() - x.frac_bits


def align(
    layer: WeightedLayer, x: NDArray, kernel: NDArray, kind: TensorType, ops: Ops
) -> tuple[NDArray, NDArray, int]:
    """Bring the input's channels to the exponents of the accumulators; return input, kernel and largest input.

    The left shifts that do it move into the weights, where they cost nothing, unless the shifted input would saturate.
    """
    shift, peak, value_bits = layer.accumulator_grid(kind)[0] - kind.frac_bits, largest(kind), layer.accumulator_bits
    if peak << int(shift.max()) > 1 << value_bits and not is_depthwise(layer):
        return shift_left(x, shift, value_bits, ops), kernel, 1 << value_bits
    return x, shifted(kernel, shift[kernel_channels(layer)["kernel"]] if shift.ndim else shift), peak


def shifted(kernel: NDArray, shift: NDArray[np.int64]) -> NDArray:
    """Shift ``kernel`` left; return it as it is, not a wide copy, where no shift does anything."""
    return kernel.astype(np.int64) << shift if shift.any() else kernel


def convolve(
    x: NDArray, kernel: NDArray, peak: int, ops: Ops, strides: Pair = (1, 1), padding: Padding = NO_PADDING,
    border: NDArray | None = None,
) -> NDArray:  # fmt: skip
    """Return the sums of a convolution of ``x`` (N, H, W, C), of magnitudes up to ``peak``.

    The kernel is (kh, kw, C, F) or, with one for each channel, (kh, kw, C), whose border is always zero.
    """
    if kernel.ndim == 3:
        return ops.convolve_depthwise(x, kernel, strides, padding, bound(peak, kernel))
    fill = np.zeros(kernel.shape[2], np.int64) if border is None else border
    return ops.convolve(x, kernel, strides, padding, fill, bound(max(peak, int(np.abs(fill).max())), kernel))


def bound(peak: int, kernel: NDArray) -> int:
    """Return the largest magnitude that a filter's sum can reach, for ``kernel`` (..., F) on values up to ``peak``."""
    axes = tuple(range(kernel.ndim - 1))
    return peak * int((np.maximum(kernel, 0).sum(axis=axes) - np.minimum(kernel, 0).sum(axis=axes)).max())
