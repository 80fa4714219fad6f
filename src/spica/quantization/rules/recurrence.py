"""The integer form of a recurrence: its states have a grid of their own, wide enough for those of the samples."""

from __future__ import annotations

import numpy as np

from spica.layers import DiagonalRecurrence, Requantize, StatefulRecurrent, Take
from spica.layers.recurrent import BUFFER_BITS, states_of
from spica.network import Layer, TensorType
from spica.network.layer import initial_state
from spica.quantization import rounding
from spica.quantization.rules.quantize import LayerContext, quantize_layer

STATE_BITS = 16
FACTOR_BITS = 15
"""Value bits of the factors of a recurrence, all of them behind the point, as their magnitude is below 1."""

MOST_STATE_FRACTION = 60
STATE_MARGIN = 1.25
"""How much further than in the samples its states may go."""


@quantize_layer.register
def _(layer: DiagonalRecurrence, context: LayerContext) -> list[Layer]:
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
    multiplier, exponent = rounding.quantize_scale(x.scale)
    state = StatefulRecurrent(
        name=f"{layer.name}/state",
        inputs=layer.inputs,
        a_real=real,
        a_imag=imaginary,
        a_frac_bits=(FACTOR_BITS, FACTOR_BITS),
        requantize=Requantize(
            multiplier=np.ones((), np.int64), shift=np.array(FACTOR_BITS), bits=STATE_BITS, signed=True,
            frac_bits=np.array(frac_bits),
        ),
        input_multiplier=np.asarray(multiplier, np.int64),
        input_shift=np.asarray(x.frac_bits + exponent - (frac_bits + FACTOR_BITS), np.int64),
        input_bits=BUFFER_BITS,
    )  # fmt: skip
    return [state, Take(name=layer.name, inputs=(state.name,), axis=2, start=0, stop=1, keep_axis=False)]


def _largest_state(layer: DiagonalRecurrence, context: LayerContext) -> float:
    """Return the largest magnitude of a real or imaginary part of the states in the float network."""
    x = context.statistics.float_input(layer)
    states = states_of(layer, x, initial_state(layer, [TensorType(x.shape[1:])], context.statistics.streams))
    return float(max(np.abs(states.real).max(), np.abs(states.imag).max()))
