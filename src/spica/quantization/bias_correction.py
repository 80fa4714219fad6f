"""Bias correction: bring the mean of every filter, and its spread where bits are few, back to the float network's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.layers import GlobalAverage, WeightedLayer
from spica.layers.weighted import WEIGHT_RANGE
from spica.network import Layer, TensorType
from spica.network.layer import infer
from spica.quantization import rounding
from spica.quantization.rules import LayerContext

LARGEST_GAIN = 4.0
"""How much a filter's spread is corrected at most."""


def correct_bias(reference: Any, layer: Any, context: LayerContext) -> Layer:
    """Bring every filter's accumulator to the mean that it has in the float network, by the bias.

    Few bits also make sums smaller, layer by layer, until nothing passes the first step of an activation. So below
    eight bits the output stage brings the spread back as well.

    Args:
        reference: the float layer, with weights.
        layer: its integer form as rounding left it.
        context: what it was quantised in.
    """
    plain = replace(_without_epilogue(layer), bias=None)
    kind = infer(plain, context.inputs)
    wanted, integers = context.calibration.outputs(_without_epilogue(reference), plain, context.inputs)
    got = kind.to_float(integers)
    axes = tuple(range(wanted.ndim - 1))
    means = [t.mean(axis=axes, dtype=np.float64) for t in (wanted, got)]
    step = np.broadcast_to(rounding.step_of(kind), means[0].shape)
    gain: NDArray = np.ones_like(step)
    if min(layer.weight_bits or 8, *(x.bits or 8 for x in context.inputs)) < 8:
        spreads = [t.std(axis=axes, dtype=np.float64) for t in (wanted, got)]
        gain = np.where(spreads[1] > 0, spreads[0] / np.maximum(spreads[1], 1e-12), 1.0)
        average = np.prod(wanted.shape[1:3]) if isinstance(layer.pool, GlobalAverage) else 1
        layer, gain = _with_gain(layer, reference, gain, kind, average, context.target)
    return replace(layer, bias=rounding.quantize_bias(means[0] - gain * means[1], gain * step))


def _with_gain(
    layer: WeightedLayer, reference: WeightedLayer, gain: NDArray, kind: TensorType, average: int | np.integer,
    target: TensorType | None,
) -> tuple[WeightedLayer, NDArray]:  # fmt: skip
    """Return an integer layer whose filters count for ``gain`` times as much, as near as can be, and the gain they got.

    ``kind`` is the type of its accumulators, of which a global average takes ``average``.
    """
    before, bits = layer.weight_scale, layer.weight_bits
    assert before is not None and bits is not None
    scale = rounding.derivable(before * np.clip(gain, 1 / LARGEST_GAIN, LARGEST_GAIN), WEIGHT_RANGE[bits][1])
    if target is not None:
        outer = kind.scale / before / average
        multiplier_bits = rounding.multiplier_bits(scale * outer, kind.frac_bits, target)
        scale = rounding.representable(scale, outer, multiplier_bits)
        activation = rounding.quantize_relu(reference.activation, rounding.step_of(kind) * scale / before, target)
        requantize = rounding.output_stage(scale * outer, kind.frac_bits, target)
        layer = replace(layer, activation=activation, requantize=requantize)
    return replace(layer, weight_scale=scale), scale / before


def _without_epilogue(layer: WeightedLayer) -> WeightedLayer:
    """Return a layer up to its bias: without pooling, activation and output stage."""
    return replace(layer, pool=None, activation=None, requantize=None)
