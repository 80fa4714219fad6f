"""Diagonal state-space layers: the state of each channel is a complex number that rotates, decays, and adds its input.

A sample is a stretch of time steps ``(T, C)``; the batch axis goes on in time, and the state goes with the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.layers.epilogue import Requantize, output_epilogue, requantized_type
from spica.network.fields import Bounds, Floats, Multipliers, Shifts
from spica.network.layer import Layer, Ops, State, forward_stateful, infer, macs, record, state_types
from spica.network.types import TensorType
from spica.semantics.primitives import Epilogue

BUFFER_BITS = 31

Factors = Annotated[NDArray[np.int64], Bounds(-(1 << 15), (1 << 15) - 1)]
"""Integers of 16 bits."""


@record
class StatefulRecurrent(Layer):
    """Complex recurrence ``state = a * state + input`` in integers; the output is every state, ``(T, C, 2)``.

    Attributes:
        a_real, a_imag: the factor of each channel, integers of 16 bits.
        a_frac_bits: fractional bits of the real and the imaginary factors, one each.
        requantize: brings the updated state, whose exponent is its own plus the factor's, back to its own bits.
        input_multiplier, input_shift: bring the input to the updated state's exponent.
        input_bits: value bits to which the input saturates after each of the two.
    """

    a_real: Factors
    a_imag: Factors
    a_frac_bits: Annotated[tuple[int, int], Bounds(0, 31)]
    requantize: Requantize
    input_multiplier: Multipliers
    input_shift: Shifts
    input_bits: Annotated[int, Bounds(1, BUFFER_BITS)]


@infer.register
def _(layer: StatefulRecurrent, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    if x.is_float or len(x.shape) != 2:
        raise SpicaError(f"{layer.name}: its input must be integers of shape (T, C), not {x}")
    if layer.a_real.shape != (x.channels,) or layer.a_imag.shape != (x.channels,):
        raise SpicaError(
            f"{layer.name}: factors must have one entry for each of {x.channels} channels; got {layer.a_real.shape}"
        )
    if layer.a_frac_bits[0] != layer.a_frac_bits[1]:
        raise SpicaError(f"{layer.name}: its real and imaginary factors have different exponents and cannot be added")
    return requantized_type(layer.name, layer.requantize, (*x.shape, 2))


@forward_stateful.register
def _(
    layer: StatefulRecurrent, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops, state: State
) -> tuple[NDArray, State]:
    (x,), limit = inputs, 1 << layer.input_bits
    arrive = Epilogue(
        value_bits=layer.input_bits, multiplier=layer.input_multiplier, shift=layer.input_shift,
        buffer_bits=layer.input_bits, low=-limit, high=limit - 1,
    )  # fmt: skip
    leave = output_epilogue(layer.requantize, infer(layer, types), value_bits=BUFFER_BITS)
    steps = x.reshape(len(state[0]), -1, x.shape[-1])
    states, last = ops.scan(steps, state, (layer.a_real, layer.a_imag), arrive, leave, BUFFER_BITS)
    return states.reshape(*x.shape, 2), last


@record
class DiagonalRecurrence(Layer):
    """The recurrence in float, whose output is the real part, ``(T, C)``. It is quantised to ``StatefulRecurrent``.

    Attributes:
        a_real, a_imag: the factor of each channel (float32), of magnitude below 1.
    """

    a_real: Floats
    a_imag: Floats


@infer.register
def _(layer: DiagonalRecurrence, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    if not x.is_float or len(x.shape) != 2 or not layer.a_real.shape == layer.a_imag.shape == (x.channels,):
        raise SpicaError(
            f"{layer.name}: factors {layer.a_real.shape} need a float input (T, C) with as many channels; got {x}"
        )
    if (np.hypot(layer.a_real, layer.a_imag) >= 1).any():
        raise SpicaError(f"{layer.name}: the magnitude of every factor must be below 1, so that the state fades")
    return x


@state_types.register
def _(layer: StatefulRecurrent | DiagonalRecurrence, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Real and imaginary part of each channel's state."""
    format_of = (layer.requantize.bits, layer.requantize.signed) if isinstance(layer, StatefulRecurrent) else ()
    part = TensorType(inputs[0].shape[-1:], *format_of)
    return part, part


def states_of(layer: DiagonalRecurrence, x: NDArray, state: State) -> NDArray[np.complex64]:
    """Return the states (streams, steps, C) after each step of ``x`` (S * N, T, C), from ``state`` (streams, C)."""
    factor, before = (np.asarray(re + 1j * im, np.complex64) for re, im in ((layer.a_real, layer.a_imag), state))
    steps = x.reshape(len(before), -1, x.shape[-1])
    states = np.empty(steps.shape, np.complex64)
    for i in range(steps.shape[1]):
        before = states[:, i] = factor * before + steps[:, i]
    return states


@forward_stateful.register
def _(
    layer: DiagonalRecurrence, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops, state: State
) -> tuple[NDArray, State]:
    states = states_of(layer, inputs[0], state)
    return states.real.reshape(inputs[0].shape), (states[:, -1].real, states[:, -1].imag)


@macs.register
def _(layer: StatefulRecurrent, inputs: Sequence[TensorType]) -> int:
    return 4 * prod(inputs[0].shape)
