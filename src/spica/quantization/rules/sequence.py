"""Integer forms of the layers of sequence models: tokens, layer normalisation, attention, GELU, recurrence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spica import layers
from spica.layers.activation import table_inputs
from spica.layers.functions import FUNCTIONS
from spica.layers.recurrent import BUFFER_BITS, states_of
from spica.network import Layer, TensorType
from spica.network.layer import infer, initial_state
from spica.quantization import rounding
from spica.quantization.rules.base import LayerContext, quantize_layer
from spica.semantics.primitives import EXPONENT_BITS, PROBABILITY_BITS

EXTRA_BITS = 8
"""How much finer than the patches' the grid of tokens and positions is."""

TABLE_BITS = 8
TABLE_MARGIN = 2
"""How much further than in the samples its entries may go."""

STATE_BITS = 16
FACTOR_BITS = 15
"""Value bits of the factors of a recurrence, all of them behind the point, as their magnitude is below 1."""

MOST_STATE_FRACTION = 60
STATE_MARGIN = 1.25
"""How much further than in the samples its states may go."""


@quantize_layer.register
def _(layer: layers.TokenEmbedding, context: LayerContext) -> list[Layer]:
    """Round token and positions on a finer grid than the patches have."""
    (x,) = context.inputs
    finer = replace(x, frac_bits=x.frac_bits + EXTRA_BITS)
    constants = np.rint(layer.constants / rounding.step_of(finer)).astype(np.int64)
    out = rounding.output_stage(finer.scale, finer.frac_bits, context.target)
    return [replace(layer, constants=constants, extra_bits=EXTRA_BITS, requantize=out)]


@quantize_layer.register
def _(layer: layers.LayerNormalization, context: LayerContext) -> list[Layer]:
    """Normalise by the mean absolute deviation, times its mean ratio to the deviation in the samples."""
    (x,), seen = context.inputs, context.calibration.float_input(layer)
    centred = seen - seen.mean(axis=-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(axis=-1) + layer.epsilon)
    ratio = float((np.abs(centred).mean(axis=-1) / deviation).mean())
    gamma = (layer.gamma * np.float32(ratio))[:, None]
    scale = rounding.weight_scale(gamma, 8, per_filter=False)
    kernel = rounding.quantize_weights(gamma, 8, scale)[:, 0]
    plain = layers.MadNormalization(
        name=layer.name, inputs=layer.inputs, kernel=kernel, weight_bits=8, weight_scale=scale[0]
    )
    acc = infer(plain, [x])
    bias = rounding.quantize_bias(layer.beta, np.broadcast_to(rounding.step_of(acc), layer.beta.shape))
    out = rounding.output_stage(acc.scale, acc.frac_bits, context.target)
    return [replace(plain, bias=bias, requantize=out)]


@quantize_layer.register
def _(layer: layers.Attention, context: LayerContext) -> list[Layer]:
    """Take scores as powers of two; the softmax's own grid takes that of the values to the output."""
    q, k, v = context.inputs
    width = q.channels // layer.heads
    factor = np.log2(np.e) / np.sqrt(width) * float(q.scale * k.scale) * 2.0**EXPONENT_BITS
    multiplier, exponent = rounding.nearest_multiplier(np.array(factor))
    shift = int(exponent + q.frac_bits + k.frac_bits)
    out = rounding.output_stage(v.scale, v.frac_bits + PROBABILITY_BITS, context.target)
    return [replace(layer, multiplier=int(multiplier), shift=shift, requantize=out)]


@quantize_layer.register
def _(layer: layers.TableActivation, context: LayerContext) -> list[Layer]:
    """Make a table of one entry for every integer of the input, on the finest power-of-two grid that holds them.

    Entries far beyond what the samples give, such as a reciprocal's near zero, saturate.
    """
    (x,) = context.inputs
    function, limit = FUNCTIONS[layer.function], (1 << TABLE_BITS - 1) - 1
    values = np.nan_to_num(function(x.to_float(table_inputs(layer.name, x)), *layer.parameters))
    seen = np.nan_to_num(function(context.calibration.float_input(layer), *layer.parameters))
    largest = max(min(float(np.abs(values).max()), TABLE_MARGIN * float(np.abs(seen).max())), 1e-6)
    frac_bits = int(np.floor(np.log2(limit / largest)))
    values = np.clip(values, *(np.ldexp(end, -frac_bits) for end in (-limit - 1, limit)))
    table = np.rint(np.ldexp(values.astype(np.float64), frac_bits)).astype(np.int64)
    scale = np.array(2.0**-frac_bits, np.float32)
    name, read = layer.name, layer.inputs
    return [
        layers.LookUp(name=name, inputs=read, table=table, table_bits=TABLE_BITS, scale=scale, function=layer.function)
    ]


@quantize_layer.register
def _(layer: layers.DiagonalRecurrence, context: LayerContext) -> list[Layer]:
    """Return the recurrence, which reads accumulators and gives states, and the real part of these."""
    (x,), limit = context.inputs, (1 << FACTOR_BITS) - 1
    real, imaginary = (
        np.clip(np.rint(np.ldexp(a.astype(np.float64), FACTOR_BITS)), -limit, limit).astype(np.int64)
        for a in (layer.a_real, layer.a_imag)
    )
    frac_bits, largest = STATE_BITS - 1, _largest_state(layer, context)
    if largest > 0:
        fitting = np.log2(((1 << STATE_BITS - 1) - 1) / (largest * STATE_MARGIN))
        frac_bits = min(int(np.floor(fitting)), MOST_STATE_FRACTION)
    multiplier, exponent = rounding.nearest_multiplier(x.scale)
    state = layers.StatefulRecurrent(
        name=f"{layer.name}/state",
        inputs=layer.inputs,
        a_real=real,
        a_imag=imaginary,
        a_frac_bits=(FACTOR_BITS, FACTOR_BITS),
        requantize=layers.Requantize(
            multiplier=np.ones((), np.int64), shift=np.array(FACTOR_BITS), bits=STATE_BITS, signed=True,
            frac_bits=np.array(frac_bits),
        ),
        input_multiplier=np.asarray(multiplier, np.int64),
        input_shift=np.asarray(x.frac_bits + exponent - (frac_bits + FACTOR_BITS), np.int64),
        input_bits=BUFFER_BITS,
    )  # fmt: skip
    return [state, layers.Take(name=layer.name, inputs=(state.name,), axis=2, start=0, stop=1, keep_axis=False)]


def _largest_state(layer: layers.DiagonalRecurrence, context: LayerContext) -> float:
    """Return the largest magnitude of a real or imaginary part of the states in the float network."""
    x = context.calibration.float_input(layer)
    states = states_of(layer, x, initial_state(layer, [TensorType(x.shape[1:])], context.calibration.streams))
    return float(max(np.abs(states.real).max(), np.abs(states.imag).max()))
