"""Layers that only a host computes, in real numbers: recurrences with gates, products of matrices.

No integer form of them exists.

A sequence is a signal ``(T, C)``: T time steps of C channels, all of them in one sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers.functions import FUNCTIONS, Reals
from spica.layers.weighted import one_input
from spica.network.fields import Floats
from spica.network.layer import Layer, forward_float, infer, macs, record
from spica.network.types import TensorType

CELLS = {"lstm": 4, "gru": 3, "gru_reset_before": 3, "simple": 1}
"""Cells of a recurrence, and how many blocks of columns their kernels have."""

ACTIVATIONS: dict[str, Callable[..., Reals]] = FUNCTIONS | {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
}
"""Functions that a cell may apply, by name; each with its usual parameters."""


class HostLayer(Layer):
    """A layer of float networks that no chip computes: ``spica.split`` leaves it to the host."""


@record
class GatedRecurrence(HostLayer):
    """Recurrence over the steps of a sequence, from zeros: ``(T, C)`` to the state after each step, ``(T, H)``.

    With ``W``, ``U``, ``b`` and ``d`` the blocks of ``kernel``, ``recurrent_kernel``, ``bias`` and ``recurrent_bias``,
    ``s`` the gate activation and ``f`` the activation, a step with input ``x`` and state ``h`` is, by ``cell``:

    * "simple": ``h = f(x W + b + h U + d)``.
    * "lstm", blocks i, f, g, o: ``c = s(f) * c + s(i) * f(g)``, ``h = s(o) * f(c)``, each gate ``x W + b + h U + d``.
    * "gru", blocks z, r, n: ``h = z * h + (1 - z) * f(x W + b + r * (h U + d))``, with z and r as the gates above.
    * "gru_reset_before": the same, but ``f(x W + b + (r * h) U + d)``.

    Attributes:
        cell: one of ``CELLS``.
        kernel, recurrent_kernel: ``(C, blocks * H)`` and ``(H, blocks * H)``.
        bias, recurrent_bias: ``(blocks * H,)`` each.
        activation, gate_activation: names in ``ACTIVATIONS``.
        backwards: whether it goes from the last step to the first; outputs stay at the steps that they are of.
    """

    cell: str
    kernel: Floats
    recurrent_kernel: Floats
    bias: Floats
    recurrent_bias: Floats
    activation: str = "tanh"
    gate_activation: str = "sigmoid"
    backwards: bool = False


@infer.register
def _(layer: GatedRecurrence, inputs: Sequence[TensorType]) -> TensorType:
    x = one_input(layer, inputs)
    if not x.is_float or len(x.shape) != 2 or not x.shape[0]:
        raise SpicaError(f"{layer.name}: needs a float sequence (T, C) of at least one step; got {x}")
    if layer.cell not in CELLS:
        raise SpicaError(f"{layer.name}: cell {layer.cell!r} is none of {', '.join(CELLS)}")
    for name in (layer.activation, layer.gate_activation):
        if name not in ACTIVATIONS:
            raise SpicaError(f"{layer.name}: activation {name!r} is none of {', '.join(ACTIVATIONS)}")
    units = layer.recurrent_kernel.shape[0] if layer.recurrent_kernel.ndim else 0
    columns = CELLS[layer.cell] * units
    wanted = {
        "kernel": (x.channels, columns),
        "recurrent_kernel": (units, columns),
        "bias": (columns,),
        "recurrent_bias": (columns,),
    }
    for name, shape in wanted.items():
        if getattr(layer, name).shape != shape or not units:
            have = getattr(layer, name).shape
            raise SpicaError(f"{layer.name}: {name} has shape {have}, but must have {shape} for {units} units and {x}")
    return TensorType((x.shape[0], units))


@macs.register
def _(layer: GatedRecurrence, inputs: Sequence[TensorType]) -> int:
    return inputs[0].shape[0] * (layer.kernel.size + layer.recurrent_kernel.size)


@forward_float.register
def _(layer: GatedRecurrence, inputs: Sequence[NDArray]) -> NDArray:
    steps = (inputs[0] @ layer.kernel + layer.bias).swapaxes(0, 1)
    step, states = _STEPS[layer.cell], np.empty((*steps.shape[:2], layer.recurrent_kernel.shape[0]), np.float32)
    state = cell = np.zeros(states.shape[1:], np.float32)
    for place in range(len(steps))[:: -1 if layer.backwards else 1]:
        state, cell = step(layer, steps[place], state, cell)
        states[place] = state
    return states.swapaxes(0, 1)


def _simple_step(layer: GatedRecurrence, x: NDArray, h: NDArray, c: NDArray) -> tuple[NDArray, NDArray]:
    return ACTIVATIONS[layer.activation](x + h @ layer.recurrent_kernel + layer.recurrent_bias), c


def _lstm_step(layer: GatedRecurrence, x: NDArray, h: NDArray, c: NDArray) -> tuple[NDArray, NDArray]:
    activate, gate = ACTIVATIONS[layer.activation], ACTIVATIONS[layer.gate_activation]
    i, f, g, o = np.split(x + h @ layer.recurrent_kernel + layer.recurrent_bias, 4, axis=-1)
    c = gate(f) * c + gate(i) * activate(g)
    return gate(o) * activate(c), c


def _gru_step(layer: GatedRecurrence, x: NDArray, h: NDArray, c: NDArray) -> tuple[NDArray, NDArray]:
    activate, gate = ACTIVATIONS[layer.activation], ACTIVATIONS[layer.gate_activation]
    u, d, units = layer.recurrent_kernel, layer.recurrent_bias, h.shape[-1]
    gates = gate(x[:, : 2 * units] + h @ u[:, : 2 * units] + d[: 2 * units])
    z, r = gates[:, :units], gates[:, units:]
    if layer.cell == "gru":
        again = r * (h @ u[:, 2 * units :] + d[2 * units :])
    else:
        again = (r * h) @ u[:, 2 * units :] + d[2 * units :]
    return z * h + (1 - z) * activate(x[:, 2 * units :] + again), c


_STEPS = {"lstm": _lstm_step, "gru": _gru_step, "gru_reset_before": _gru_step, "simple": _simple_step}


@record
class MatrixProduct(HostLayer):
    """Products of the matrices of two tensors, ``(..., M, K)`` and ``(..., K, N)``, whose other axes are the same."""


@infer.register
def _(layer: MatrixProduct, inputs: Sequence[TensorType]) -> TensorType:
    if len(inputs) != 2:
        raise SpicaError(f"{layer.name}: multiplies two tensors, but is given {len(inputs)}")
    a, b = (x.shape for x in inputs)
    fits = len(a) == len(b) > 1 and a[:-2] == b[:-2] and a[-1] == b[-2]
    if not fits or not all(x.is_float for x in inputs):
        raise SpicaError(f"{layer.name}: needs float matrices (..., M, K) and (..., K, N); got {a} and {b}")
    return TensorType((*a[:-1], b[-1]))


@macs.register
def _(layer: MatrixProduct, inputs: Sequence[TensorType]) -> int:
    return prod(inputs[0].shape) * inputs[1].shape[-1]


@forward_float.register
def _(layer: MatrixProduct, inputs: Sequence[NDArray]) -> NDArray:
    return inputs[0] @ inputs[1]
