"""The reference engine: the primitives exactly as ``layers.arithmetic`` defines them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.layers import arithmetic
from spica.layers.arithmetic import Complex, Stage
from spica.network import Layer, TensorType
from spica.network.record import forward_integer


class Reference:
    """Integer primitives in plain numpy."""

    def forward(self, layer: Layer, read: Sequence[NDArray], types: Sequence[TensorType]) -> NDArray:
        """A layer's output by its integer meaning."""
        return forward_integer(layer, read, types, self)

    convolve = staticmethod(arithmetic.convolve)
    convolve_depthwise = staticmethod(arithmetic.convolve_depthwise)
    add = staticmethod(arithmetic.add)
    look_up = staticmethod(arithmetic.look_up)
    finish = staticmethod(arithmetic.finish)
    concatenate = staticmethod(arithmetic.concatenate)
    permute = staticmethod(arithmetic.permute)
    take = staticmethod(arithmetic.take)
    spread = staticmethod(arithmetic.spread)
    to_float = staticmethod(arithmetic.to_float)
    look_back = staticmethod(arithmetic.look_back)
    turn = staticmethod(arithmetic.turn)

    def recur(
        self, x: NDArray, state: Complex, factor: Complex, arrive: Stage, leave: Stage, bits: int
    ) -> tuple[NDArray, Complex]:
        """States (S, T, C, 2) of a recurrence, real and imaginary, after each step of ``x`` (S, T, C), and the last.

        Args:
            x: what arrives, brought to the state's exponent by the stage ``arrive``.
            state: it starts from (S, C) twice.
            factor: of each channel (C,) twice.
            leave: brings the updated state back to its own bits.
            bits: value bits to which every product and sum saturates.
        """
        steps = self.finish(x.reshape(-1, x.shape[-1]), arrive).reshape(x.shape)
        states = np.empty((*x.shape, 2), leave.dtype)
        for i in range(x.shape[1]):
            real, imaginary = self.turn(state, factor, steps[:, i], bits)
            state = self.finish(real, leave).astype(np.int64), self.finish(imaginary, leave).astype(np.int64)
            states[:, i, :, 0], states[:, i, :, 1] = state
        real, imaginary = (part.astype(leave.dtype) for part in state)
        return states, (real, imaginary)

    normalise = staticmethod(arithmetic.normalise)
    attend = staticmethod(arithmetic.attend)
