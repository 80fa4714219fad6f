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
from spica.quantization.rules.weighted import without_output_stage

LARGEST_GAIN = 4.0
"""How much a filter's spread is corrected at most."""


def correct_bias(reference: Any, layer: Any, context: LayerContext) -> Layer:
    """Bring the accumulators to the mean that they have in the float network, by the bias, where this helps.

    Few bits also make sums smaller, layer by layer, until nothing passes the first step of an activation. So below
    eight bits the output stage brings the spread back as well. Filters whose error on the samples held back grows by
    this are left as they are.

    Args:
        reference: the float layer, with weights.
        layer: its integer form as rounding left it.
        context: what it was quantised in.
    """
    plain = replace(without_output_stage(layer), bias=None)
    kind = infer(plain, context.inputs)
    wanted, integers = context.calibration.outputs(without_output_stage(reference), plain, context.inputs)
    got, step = kind.to_float(integers), np.broadcast_to(rounding.step_of(kind), wanted.shape[-1:])
    before = np.zeros_like(step) if layer.bias is None else layer.bias * step
    few_bits = min(layer.weight_bits or 8, *(x.bits or 8 for x in context.inputs)) < 8
    making, check = context.calibration.split(len(wanted))
    gain, bias = _match(wanted[making], got[making], few_bits)
    errors = [
        _mean((g * got[check] + b - wanted[check]) ** 2)
        for g, b in ((np.float32(1), before.astype(np.float32)), (gain.astype(np.float32), bias.astype(np.float32)))
    ]
    helps = errors[1] < errors[0]
    gain, bias = _match(wanted, got, few_bits)  # of all samples, now that it is decided
    if few_bits:
        average = np.prod(wanted.shape[1:3]) if isinstance(layer.pool, GlobalAverage) else 1
        layer, gain = _with_gain(layer, reference, np.where(helps, gain, 1.0), kind, average, context.target)
        bias = _mean(wanted) - gain * _mean(got)
    return replace(layer, bias=rounding.quantize_bias(np.where(helps, bias, before), gain * step))


def _match(wanted: NDArray, got: NDArray, spread: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the gain and the bias of each filter ``(F,)`` that bring ``got`` to the mean of ``wanted``.

    The gain is 1, or brings the ``spread`` too.
    """
    gain: NDArray = np.ones(wanted.shape[-1])
    if spread:
        spreads = [t.std(axis=tuple(range(t.ndim - 1)), dtype=np.float64) for t in (wanted, got)]
        gain = np.where(spreads[1] > 0, spreads[0] / np.maximum(spreads[1], 1e-12), 1.0)
        gain = np.clip(gain, 1 / LARGEST_GAIN, LARGEST_GAIN)
    return gain, _mean(wanted) - gain * _mean(got)


def _mean(tensor: NDArray) -> NDArray[np.float64]:
    """Return the mean of each channel ``(F,)``."""
    return tensor.mean(axis=tuple(range(tensor.ndim - 1)), dtype=np.float64)


def _with_gain(
    layer: WeightedLayer, reference: WeightedLayer, gain: NDArray, kind: TensorType, average: int | np.integer,
    target: TensorType | None,
) -> tuple[WeightedLayer, NDArray]:  # fmt: skip
    """Return an integer layer whose filters count for ``gain`` times as much, as near as can be, and the gain they got.

    ``kind`` is the type of its accumulators, of which a global average takes ``average``.
    """
    before, bits = layer.weight_scale, layer.weight_bits
    assert before is not None and bits is not None
    scale = rounding.derivable(before * gain, WEIGHT_RANGE[bits][1])
    if target is not None:
        outer = kind.scale / before / average
        multiplier_bits = rounding.multiplier_bits(scale * outer, kind.frac_bits, target)
        scale = rounding.representable(scale, outer, multiplier_bits)
        activation = rounding.quantize_relu(reference.activation, rounding.step_of(kind) * scale / before, target)
        requantize = rounding.output_stage(scale * outer, kind.frac_bits, target)
        layer = replace(layer, activation=activation, requantize=requantize)
    return replace(layer, weight_scale=scale), scale / before
