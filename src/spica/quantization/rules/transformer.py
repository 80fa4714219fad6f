"""Integer forms of what vision transformers add: tokens, layer normalisation, attention, GELU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spica.layers import Attention, Gelu, LayerNormalization, LookUp, MadNormalization, TokenEmbedding
from spica.layers.attention import gelu
from spica.network import Layer
from spica.network.layer import infer
from spica.quantization import rounding
from spica.quantization.rules.quantize import LayerContext, quantize_layer
from spica.semantics.primitives import EXPONENT_BITS, PROBABILITY_BITS

EXTRA_BITS = 8
"""How much finer than the patches' the grid of tokens and positions is."""

TABLE_BITS = 8


@quantize_layer.register
def _(layer: TokenEmbedding, context: LayerContext) -> list[Layer]:
    """Round token and positions on a finer grid than the patches have."""
    (x,), target = context.inputs, context.target
    assert target is not None
    step = np.ldexp(x.scale.astype(np.float64), -(x.frac_bits + EXTRA_BITS))
    embedding = replace(
        layer,
        constants=np.rint(layer.constants / step).astype(np.int64),
        extra_bits=EXTRA_BITS,
        requantize=rounding.output_stage(x.scale, x.frac_bits + EXTRA_BITS, target),
    )
    return [embedding]


@quantize_layer.register
def _(layer: LayerNormalization, context: LayerContext) -> list[Layer]:
    """Normalise by the mean absolute deviation, times its mean ratio to the deviation in the samples."""
    (x,), target, seen = context.inputs, context.target, context.statistics.float_input(layer)
    assert target is not None
    centred = seen - seen.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1) + layer.epsilon)
    ratio = float((np.abs(centred).mean(axis=-1) / deviation).mean())
    gamma = (layer.gamma * np.float32(ratio))[:, None]
    scale = rounding.weight_scale(gamma, 8, per_filter=False)
    plain = MadNormalization(
        name=layer.name,
        inputs=layer.inputs,
        kernel=rounding.quantize_weights(gamma, 8, scale)[:, 0],
        weight_bits=8,
        weight_scale=scale[0],
    )
    kind = infer(plain, [x])
    step = np.ldexp(kind.scale.astype(np.float64), -kind.frac_bits)
    bias = rounding.quantize_bias(layer.beta, np.broadcast_to(step, layer.beta.shape))
    return [replace(plain, bias=bias, requantize=rounding.output_stage(kind.scale, kind.frac_bits, target))]


@quantize_layer.register
def _(layer: Attention, context: LayerContext) -> list[Layer]:
    """Take scores as powers of two; the softmax's own grid takes that of the values to the output."""
    (q, k, v), target = context.inputs, context.target
    assert target is not None
    width = q.channels // layer.heads
    factor = np.log2(np.e) / np.sqrt(width) * float(q.scale * k.scale) * 2.0 ** (EXPONENT_BITS)
    multiplier, exponent = rounding.quantize_scale(np.array(factor))
    attention = replace(
        layer,
        multiplier=int(multiplier),
        shift=int(exponent + q.frac_bits + k.frac_bits),
        requantize=rounding.output_stage(v.scale, v.frac_bits + PROBABILITY_BITS, target),
    )
    return [attention]


@quantize_layer.register
def _(layer: Gelu, context: LayerContext) -> list[Layer]:
    """Make a table of one entry for every integer of the input, on the finest power-of-two grid that holds them."""
    (x,) = context.inputs
    values = gelu(x.to_float(np.arange(x.range[0], x.range[1] + 1)))
    largest = max(float(np.abs(values).max()), 1e-6)
    frac_bits = int(np.floor(np.log2(((1 << TABLE_BITS - 1) - 1) / largest)))
    table = np.rint(np.ldexp(values.astype(np.float64), frac_bits)).astype(np.int64)
    scale = np.array(2.0**-frac_bits, np.float32)
    made = LookUp(
        name=layer.name, inputs=layer.inputs, table=table, table_bits=TABLE_BITS, scale=scale, function="gelu"
    )
    return [made]
