"""The integer form of a float layer: layers with weights, layers that join tensors, layers that move values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import (
    Activation,
    Add,
    Concatenate,
    Conv2D,
    Flatten,
    GlobalAverage,
    GlobalAveragePooling2D,
    Input,
    MadNormalization,
    MaxPool2D,
    Permute,
    Rescaling,
    Reshape,
    Scale,
    Softmax,
    Take,
    WeightedLayer,
    ZeroPad,
)
from spica.layers.weighted import WEIGHT_RANGE, kernel_axes
from spica.network import Layer, TensorType
from spica.network.layer import infer
from spica.network.rules import not_applicable, refuse
from spica.quantization import rounding
from spica.quantization.gptq import round_weights
from spica.quantization.rules.listing import INTEGER_ONLY


class Statistics(Protocol):
    """What the samples say of a layer, where a rule asks."""

    streams: int

    def float_input(self, layer: Layer) -> NDArray[np.float32]:
        """Return what a layer reads in the float network; the frames of all streams, one stream after the other."""

    def second_moments(self, layer: WeightedLayer, kind: TensorType) -> NDArray[np.float64] | None:
        """Return second moments of what its weights read, or ``None`` to round them to the nearest."""


@dataclass(frozen=True)
class LayerContext:
    """What a rule may know when it quantizes a layer.

    Attributes:
        inputs: types of the integers that the layer reads.
        target: type of the integers that it gives; ``None`` where the accumulator leaves unrounded.
        weight_bits: bits of its weights, if it has any.
        statistics: of the samples.
    """

    inputs: Sequence[TensorType]
    target: TensorType | None
    weight_bits: int
    statistics: Statistics


@singledispatch
def quantize_layer(layer: Layer, context: LayerContext) -> list[Layer]:
    """Return the integer form of a float layer; of several layers, the last has its name."""
    refuse(quantize_layer, layer)


not_applicable(quantize_layer, "in this place has no integer meaning; it must be the last layer", Softmax)
not_applicable(
    quantize_layer,
    "in this place has no integer meaning; put it next to a convolution or dense layer, which takes it up",
    Scale,
    ZeroPad,
)
not_applicable(quantize_layer, "is given its format by the samples", Input)
not_applicable(quantize_layer, "is a layer of integer networks only", MadNormalization, *INTEGER_ONLY)


@quantize_layer.register
def _(
    layer: Concatenate | Flatten | MaxPool2D | Permute | Rescaling | Reshape | Take, context: LayerContext
) -> list[Layer]:
    return [layer]


@quantize_layer.register
def _(layer: Add | GlobalAveragePooling2D | Activation, context: LayerContext) -> list[Layer]:
    plain, target = infer(layer, context.inputs), context.target
    field = "function" if hasattr(layer, "function") else "activation"
    changes: dict = {}
    if (relu := getattr(layer, field, None)) is not None:
        step = np.ldexp(plain.scale.astype(np.float64), -plain.frac_bits)
        changes[field] = rounding.quantize_relu(relu, step, target)
    if target is not None:
        changes["requantize"] = rounding.output_stage(plain.scale, plain.frac_bits, target)
    return [replace(layer, **changes)]


@quantize_layer.register
def _(layer: Conv2D, context: LayerContext) -> list[Layer]:
    (made,), (x,) = quantize_weighted(layer, context), context.inputs
    if layer.padding_value is None:
        return [made]
    fill = np.rint(layer.padding_value / x.scale)
    if fill.min() < x.range[0] or fill.max() > x.range[1]:
        raise SpicaError(f"{layer.name}: pads with values that its input cannot hold; use 'valid' padding")
    return [replace(made, padding_value=fill.astype(np.int64))]  # type: ignore[call-arg]


@quantize_layer.register(WeightedLayer)
def quantize_weighted(layer: WeightedLayer, context: LayerContext) -> list[Layer]:
    """Return the integer form of a layer with weights.

    A last kernel has a step for each filter. Kernels before it have one step each, so that their sums can be added up.
    """
    (x,), bits, target = context.inputs, context.weight_bits, context.target
    *inner, last = (getattr(layer, field) for field in kernel_axes(layer))
    changes: dict = {"weight_bits": bits}
    outer = x.scale
    for field, kernel in zip(kernel_axes(layer), inner):
        step = rounding.weight_scale(kernel, bits, per_filter=False)
        changes[field] = rounding.quantize_weights(kernel, bits, step)
        outer = outer * step[0]
    average = _averaged_pixels(layer, x)
    scale = rounding.weight_scale(last, bits)
    if target is not None:
        wide = rounding.multiplier_bits(scale * outer / average, x.frac_bits.max(), target)
        scale = rounding.representable(scale, outer / average, wide)
    moments = context.statistics.second_moments(layer, x)
    if moments is None:
        changes["kernel"] = rounding.quantize_weights(last, bits, scale)
    else:
        changes["kernel"] = round_weights(last, scale, 0 if bits == 1 else WEIGHT_RANGE[bits][1], moments)
    changes["weight_scale"] = (scale * (outer / x.scale)).astype(np.float32)
    integer = replace(layer, **changes, bias=None, activation=None, pool=None)
    return [_with_epilogue(integer, layer, infer(integer, [x]), average, target)]


def _with_epilogue(
    integer: WeightedLayer, layer: WeightedLayer, acc: TensorType, average: int, target: TensorType | None
) -> WeightedLayer:
    """Return an integer layer with the epilogue of the float ``layer`` on accumulators of type ``acc``."""
    step = np.broadcast_to(np.ldexp(acc.scale.astype(np.float64), -acc.frac_bits), (acc.channels,))
    return replace(
        integer,
        bias=None if layer.bias is None else rounding.quantize_bias(layer.bias, step),
        activation=None if layer.activation is None else rounding.quantize_relu(layer.activation, step, target),
        pool=layer.pool,
        requantize=None
        if target is None
        else rounding.output_stage(acc.scale / np.float32(average), acc.frac_bits, target),
    )


def _averaged_pixels(layer: WeightedLayer, x: TensorType) -> int:
    """Return how many pixels the global average of a float layer takes, 1 without."""
    if not isinstance(layer.pool, GlobalAverage):
        return 1
    height, width, _ = infer(replace(layer, pool=None), [TensorType(x.shape)]).shape
    return height * width
