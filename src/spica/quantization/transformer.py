"""Integer forms of what vision transformers add: tokens, layer normalisation, attention, GELU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spica.layers import Attention, Gelu, LayerNormalization, LookUp, MadNormalization, TokenEmbedding
from spica.layers.attention import gelu
from spica.network import TensorType
from spica.network.layer import infer
from spica.quantization import rounding
from spica.semantics.primitives import EXPONENT_BITS, PROBABILITY_BITS

EXTRA_BITS = 8
"""How much finer than the patches' the grid of tokens and positions is."""

TABLE_BITS = 8


def quantize_embedding(layer: TokenEmbedding, x: TensorType, target: TensorType) -> TokenEmbedding:
    """Token and positions as integers on a finer grid than the patches have."""
    step = np.ldexp(x.scale.astype(np.float64), -(x.frac_bits + EXTRA_BITS))
    return replace(
        layer,
        constants=np.rint(layer.constants / step).astype(np.int64),
        extra_bits=EXTRA_BITS,
        requantize=rounding.output_stage(x.scale, x.frac_bits + EXTRA_BITS, target),
    )


def quantize_normalization(
    layer: LayerNormalization, x: TensorType, target: TensorType, seen: NDArray[np.float32]
) -> MadNormalization:
    """Normalisation by the mean absolute deviation, times its usual ratio to the deviation in what was ``seen``."""
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
    return replace(plain, bias=bias, requantize=rounding.output_stage(kind.scale, kind.frac_bits, target))


def quantize_attention(layer: Attention, inputs: list[TensorType], target: TensorType) -> Attention:
    """Scores in powers of two; the softmax's own grid takes the values' to the output."""
    q, k, v = inputs
    width = q.channels // layer.heads
    factor = np.log2(np.e) / np.sqrt(width) * float(q.scale * k.scale) * 2.0 ** (EXPONENT_BITS)
    multiplier, exponent = rounding.quantize_scale(np.array(factor))
    return replace(
        layer,
        multiplier=int(multiplier),
        shift=int(exponent + q.frac_bits + k.frac_bits),
        requantize=rounding.output_stage(v.scale, v.frac_bits + PROBABILITY_BITS, target),
    )


def quantize_gelu(layer: Gelu, x: TensorType) -> LookUp:
    """A table of one entry for every integer of the input, on the finest power-of-two grid that holds them all."""
    values = gelu(x.to_float(np.arange(x.range[0], x.range[1] + 1)))
    largest = max(float(np.abs(values).max()), 1e-6)
    frac_bits = int(np.floor(np.log2(((1 << TABLE_BITS - 1) - 1) / largest)))
    table = np.rint(np.ldexp(values.astype(np.float64), frac_bits)).astype(np.int64)
    scale = np.array(2.0**-frac_bits, np.float32)
    return LookUp(
        name=layer.name, inputs=layer.inputs, table=table, table_bits=TABLE_BITS, scale=scale, function="gelu"
    )
