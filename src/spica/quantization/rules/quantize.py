"""The integer form of a float layer, by its type, and which outputs are brought to the bits of activations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import singledispatch

import numpy as np

from spica import layers
from spica.errors import SpicaError
from spica.layers import WeightedLayer
from spica.layers.weighted import WEIGHT_RANGE, kernel_channels
from spica.network import Layer, Network, TensorType
from spica.network.layer import infer
from spica.network.rules import not_applicable, refuse
from spica.quantization import rounding
from spica.quantization.gptq import round_weights
from spica.quantization.layerwise import LayerwiseCalibration

Moves = (
    layers.Concatenate | layers.Flatten | layers.MaxPool2D | layers.Permute | layers.Rescaling | layers.Reshape
    | layers.Take
)  # fmt: skip
"""Layers that only move values, of whatever type."""


@singledispatch
def has_output_stage(layer: Layer, net: Network) -> bool:
    """Return whether the output of a layer is brought to the bits of activations; else it leaves as it is."""
    return False


@has_output_stage.register
def _(layer: WeightedLayer, net: Network) -> bool:
    return not all(_takes_accumulators(reader, net) for reader in net.consumers[layer.name])


@has_output_stage.register
def _(layer: layers.Add | layers.Activation | layers.GlobalAveragePooling2D, net: Network) -> bool:
    return bool(net.consumers[layer.name])


@has_output_stage.register
def _(layer: layers.TokenEmbedding | layers.LayerNormalization | layers.Attention, net: Network) -> bool:
    return True


@singledispatch
def _takes_accumulators(reader: Layer, net: Network) -> bool:
    """Return whether a layer reads accumulators as they are: a recurrence, directly or in another shape."""
    return False


@_takes_accumulators.register
def _(reader: layers.DiagonalRecurrence, net: Network) -> bool:
    return True


@_takes_accumulators.register
def _(reader: layers.Reshape, net: Network) -> bool:
    return all(_takes_accumulators(other, net) for other in net.consumers[reader.name])


@dataclass(frozen=True)
class LayerContext:
    """What a rule may know when it quantises a layer.

    Attributes:
        inputs: types of the integers that the layer reads.
        target: type of the integers that it gives; ``None`` where the accumulator leaves unrounded.
        weight_bits: bits of its weights, if it has any.
        calibration: what both networks, float and integer, give up to this layer.
    """

    inputs: Sequence[TensorType]
    target: TensorType | None
    weight_bits: int
    calibration: LayerwiseCalibration


@singledispatch
def quantize_layer(layer: Layer, context: LayerContext) -> list[Layer]:
    """Return the integer form of a float layer; of several layers, the last has its name."""
    refuse(quantize_layer, layer)


not_applicable(quantize_layer, "in this place has no integer meaning; it must be the last layer", layers.Softmax)
not_applicable(
    quantize_layer,
    "in this place has no integer meaning; put it next to a convolution or dense layer, which takes it up",
    layers.Scale,
    layers.ZeroPad,
)
not_applicable(quantize_layer, "is given its format by the samples", layers.Input)
not_applicable(quantize_layer, "is a layer of integer networks only",
    layers.Dequantize, layers.LearningDense, layers.LookUp, layers.MadNormalization, layers.Quantize,
    layers.QuantizeLinear, layers.StatefulRecurrent,
)  # fmt: skip


@quantize_layer.register
def _(layer: Moves, context: LayerContext) -> list[Layer]:
    return [layer]


@quantize_layer.register
def _(layer: layers.Add | layers.GlobalAveragePooling2D | layers.Activation, context: LayerContext) -> list[Layer]:
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
def _(layer: layers.Conv2D, context: LayerContext) -> list[Layer]:
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
    *inner, last = (getattr(layer, field) for field in kernel_channels(layer))
    changes: dict = {"weight_bits": bits}
    outer = x.scale
    for field, kernel in zip(kernel_channels(layer), inner):
        step = rounding.weight_scale(kernel, bits, per_filter=False)
        changes[field] = rounding.quantize_weights(kernel, bits, step)
        outer = outer * step[0]
    average = _averaged_pixels(layer, x)
    scale = rounding.weight_scale(last, bits)
    if target is not None:
        wide = rounding.multiplier_bits(scale * outer / average, x.frac_bits.max(), target)
        scale = rounding.representable(scale, outer / average, wide)
    moments = context.calibration.second_moments(layer, x)
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
    bias = None if layer.bias is None else rounding.quantize_bias(layer.bias, step)
    activation = None if layer.activation is None else rounding.quantize_relu(layer.activation, step, target)
    scale = acc.scale / np.float32(average)
    requantize = None if target is None else rounding.output_stage(scale, acc.frac_bits, target)
    return replace(integer, bias=bias, activation=activation, pool=layer.pool, requantize=requantize)


def _averaged_pixels(layer: WeightedLayer, x: TensorType) -> int:
    """Return how many pixels the global average of a float layer takes, 1 without."""
    if not isinstance(layer.pool, layers.GlobalAverage):
        return 1
    height, width, _ = infer(replace(layer, pool=None), [TensorType(x.shape)]).shape
    return height * width
