"""Integer form of layers with weights: one rule for all of them."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import Conv2D, GlobalAverage, WeightedLayer, weighted
from spica.layers.weighted import WEIGHT_RANGE
from spica.network import Layer, TensorType
from spica.network.layer import infer
from spica.quantization import rounding
from spica.quantization.gptq import round_weights
from spica.quantization.rules.base import LayerContext, quantize_layer


@quantize_layer.register
def quantize_weighted(layer: WeightedLayer, context: LayerContext) -> list[Layer]:
    """Return the integer form of a layer with weights.

    A last kernel has a step for each filter. Kernels before it have one step each, so that their sums can be added up.
    """
    (x,), bits, target = context.inputs, context.weight_bits, context.target
    changes: dict = {"weight_bits": bits}
    *inner, (_, last) = layer.kernels.items()
    outer = x.scale
    for field, kernel in inner:
        step = rounding.weight_scale(kernel, bits, per_filter=False)
        changes[field] = rounding.quantize_weights(kernel, bits, step)
        outer = outer * step[0]
    average = _averaged_pixels(layer, x)
    scale = rounding.weight_scale(last, bits)
    scale = _with_room(layer, context, bits, scale, outer)
    if target is not None:
        wide = rounding.multiplier_bits(scale * outer / average, x.frac_bits.max(), target)
        scale = rounding.representable(scale, outer / average, wide)
    changes["kernel"] = rounding.quantize_weights(last, bits, scale)
    changes["weight_scale"] = (scale * (outer / x.scale)).astype(np.float32)
    integer: Any = replace(layer, **changes, bias=None, activation=None, pool=None)
    if (read := context.calibration.filter_inputs(layer, x)) is not None:
        kernel = round_weights(last, scale, 0 if bits == 1 else WEIGHT_RANGE[bits][1], read)
        forms = [integer, replace(integer, kernel=kernel)]
        integer = replace(integer, kernel=context.calibration.choose_kernel(without_output_stage(layer), forms, [x]))
    acc = infer(integer, [x])
    step = np.broadcast_to(rounding.step_of(acc), (acc.channels,))
    bias = None if layer.bias is None else rounding.quantize_bias(layer.bias, step)
    activation = rounding.quantize_relu(layer.activation, step, target)
    requantize = rounding.output_stage(acc.scale / np.float32(average), acc.frac_bits, target)
    return [replace(integer, bias=bias, pool=layer.pool, activation=activation, requantize=requantize)]


def without_output_stage(layer: WeightedLayer) -> WeightedLayer:
    """Return a layer up to its bias: without pooling, activation and output stage."""
    return replace(layer, pool=None, activation=None, requantize=None)


HEADROOM = 0.97
"""Share of an accumulator that sums on the samples may take: steps and biases are adjusted a little afterwards."""


def _with_room(
    layer: WeightedLayer, context: LayerContext, bits: int, scale: NDArray[np.float32], outer: NDArray
) -> NDArray[np.float32]:
    """Return coarser steps for filters whose sums on the samples would saturate the accumulator, and say so."""
    (x,), room = context.inputs, HEADROOM * 2.0**layer.accumulator_bits
    *inner, (_, last) = layer.kernels.items()
    taps = sum(int(kernel.shape[0] * kernel.shape[1]) for _, kernel in inner) or 1
    weights = np.abs(rounding.quantize_weights(last, bits, scale).astype(np.int64)).reshape(-1, last.shape[-1])
    finest = weighted.largest(x) << int(np.ptp(x.frac_bits))
    if (weights.sum(axis=0) * finest * (taps * 127 if inner else 1)).max() < room:
        return scale  # whatever the samples, no sum can
    sums = context.calibration.largest_sums(layer)
    step = np.broadcast_to(np.ldexp(scale * outer, -x.frac_bits.max()), sums.shape)
    factor = np.maximum(sums / (room * step), 1)
    if (factor > 1).any():
        warnings.warn(
            f"{layer.name}: on these samples the sums of {int((factor > 1).sum())} of {len(factor)} filters pass its "
            f"{layer.accumulator_bits}-bit accumulators, so their weights get steps up to {factor.max():.3g} times as "
            "coarse",
            stacklevel=2,
        )
    return (scale * factor).astype(np.float32)


def _averaged_pixels(layer: WeightedLayer, x: TensorType) -> int:
    """Return how many pixels the global average of a float layer takes, 1 without."""
    if not isinstance(layer.pool, GlobalAverage):
        return 1
    height, width, _ = layer.accumulator_shape(x)
    return height * width


@quantize_layer.register
def _(layer: Conv2D, context: LayerContext) -> list[Layer]:
    """Round the padding value as well, to the integers of the input."""
    (made,), (x,) = quantize_weighted(layer, context), context.inputs
    if layer.padding_value is None:
        return [made]
    fill = np.rint(layer.padding_value / x.scale)
    if fill.min() < x.range[0] or fill.max() > x.range[1]:
        raise SpicaError(
            f"{layer.name}: pads with {np.ravel(layer.padding_value)[np.argmax(np.abs(fill))]:.4g}, which its input of "
            f"{x} cannot hold (what the network takes off its samples, it pads with); give samples as float32 for a "
            "scale that holds it, or pad the samples before the offset"
        )
    return [replace(made, padding_value=fill.astype(np.int64))]  # type: ignore[call-arg]
