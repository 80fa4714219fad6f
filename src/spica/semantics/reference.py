"""The reference engine: the primitives exactly as ``semantics.primitives`` defines them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.network import Layer, TensorType
from spica.network.layer import forward_integer
from spica.semantics import primitives
from spica.semantics.primitives import Complex, Epilogue


class Reference:
    """Integer primitives in plain numpy.

    Attributes:
        threads: how many threads it runs on.
    """

    threads = 1

    def forward(self, layer: Layer, read: Sequence[NDArray], types: Sequence[TensorType]) -> NDArray:
        """Return a layer's output by its integer semantics."""
        return forward_integer(layer, read, types, self)

    convolve = staticmethod(primitives.convolve)
    convolve_depthwise = staticmethod(primitives.convolve_depthwise)
    add = staticmethod(primitives.add)
    multiply = staticmethod(primitives.multiply)
    look_up = staticmethod(primitives.look_up)
    apply_epilogue = staticmethod(primitives.apply_epilogue)
    concatenate = staticmethod(primitives.concatenate)
    permute = staticmethod(primitives.permute)
    take = staticmethod(primitives.take)
    gather = staticmethod(primitives.gather)
    dilate = staticmethod(primitives.dilate)
    to_float = staticmethod(primitives.to_float)
    sliding_window = staticmethod(primitives.sliding_window)
    turn = staticmethod(primitives.turn)

    def scan(
        self, x: NDArray, state: Complex, factor: Complex, arrive: Epilogue, leave: Epilogue, bits: int
    ) -> tuple[NDArray, Complex]:
        """Return the states of a complex recurrence after each step, and the last.

        Args:
            x: input (S, T, C) of S streams and T steps.
            state: real and imaginary part (S, C) to start from.
            factor: real and imaginary part (C,) that each step multiplies the state by.
            arrive: epilogue that brings ``x`` to the state's exponent.
            leave: epilogue that brings the new state back to its own bits.
            bits: value bits to which every product and sum saturates.

        Returns:
            States (S, T, C, 2), real and imaginary, and the two parts (S, C) of the last.
        """
        steps = self.apply_epilogue(x.reshape(-1, x.shape[-1]), arrive).reshape(x.shape)
        states = np.empty((*x.shape, 2), leave.dtype)
        for i in range(x.shape[1]):
            real, imaginary = self.turn(state, factor, steps[:, i], bits)
            state = (
                self.apply_epilogue(real, leave).astype(np.int64),
                self.apply_epilogue(imaginary, leave).astype(np.int64),
            )
            states[:, i, :, 0], states[:, i, :, 1] = state
        real, imaginary = (part.astype(leave.dtype) for part in state)
        return states, (real, imaginary)

    normalise = staticmethod(primitives.normalise)
    attend = staticmethod(primitives.attend)
