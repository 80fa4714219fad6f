"""Diagonal state-space layers as Keras 3 layers: trained as convolutions, run as recurrences."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import keras
from keras import ops
from spica.errors import SpicaError

SLOWEST = 1e-4
"""Least decay in one step, so that no state stays for ever."""


def legendre_modes(count: int) -> NDArray[np.complex128]:
    """Return decay (real part, negative) and turning (imaginary) of the first ``count`` modes of HiPPO-LegS.

    They are the eigenvalues of its normal part with positive imaginary part: the state then holds the coefficients of
    Legendre polynomials that fit the past best (Gu et al., HiPPO, 2020; On the Parameterization and Initialization of
    Diagonal State Space Models, 2022).
    """
    size = 2 * count
    p = np.sqrt(np.arange(size) + 0.5)
    lower = np.tril(2 * p[:, None] * p[None], -1)
    normal = -(lower - lower.T) / 2 - np.eye(size) / 2
    modes = np.linalg.eigvals(normal)
    modes = modes[modes.imag > 0]
    return modes[np.argsort(modes.imag)][:count]


@keras.saving.register_keras_serializable("spica")
class DiagonalSSM(keras.layers.Layer):
    """A diagonal state-space layer: each channel is a complex state, ``(N, T, C)`` to the same shape.

    ``state = a * state + x`` at every step; the output is its real part. The magnitude of ``a`` stays below 1. In
    training the whole clip is one convolution with the powers of ``a``, by Fourier transform; ``spica.from_keras``
    gives the network of one step. Put a ``Dense`` before it and one after it, which mix channels.

    Args:
        fastest, slowest: times in steps between which channels' clocks are spread at the start.
    """

    def __init__(self, fastest: float = 2.0, slowest: float = 50.0, **options: Any) -> None:
        super().__init__(**options)
        if not 0 < fastest <= slowest:
            raise SpicaError(f"{self.name}: fastest is {fastest} and slowest {slowest}, but 0 < fastest <= slowest")
        self.fastest, self.slowest = fastest, slowest

    def build(self, input_shape: tuple) -> None:
        """Make the weights for an input of this shape."""
        channels = input_shape[-1]
        if len(input_shape) != 3:
            raise SpicaError(f"{self.name}: reads clips of vectors (N, T, C), not {input_shape}")
        modes = legendre_modes(min(channels, 16))[np.arange(channels) % 16 % channels]
        clock = np.geomspace(1 / self.fastest, 1 / self.slowest, channels)
        decay, turning = -modes.real * clock, modes.imag * clock % np.pi
        constant = keras.initializers.Constant
        self.log_decay = self.add_weight(name="log_decay", shape=(channels,), initializer=constant(np.log(decay)))
        self.turning = self.add_weight(name="turning", shape=(channels,), initializer=constant(turning))

    @property
    def factors(self) -> tuple[Any, Any]:
        """Real and imaginary part of each channel's ``a``."""
        size = ops.exp(-self._decay())
        return size * ops.cos(self.turning), size * ops.sin(self.turning)

    def call(self, x: Any) -> Any:
        """Compute the layer on a batch."""
        length = x.shape[1]
        if length is None:
            raise SpicaError(f"{self.name}: clips need a fixed length to train; give Input its shape")
        steps = ops.arange(length, dtype="float32")[:, None]
        kernel = ops.exp(-self._decay() * steps) * ops.cos(self.turning * steps)
        (xr, xi), (kr, ki) = (
            ops.rfft(ops.moveaxis(a, -2, -1), fft_length=2 * length) for a in (x, kernel)
        )  # twice as long, or the end would come round to the beginning
        y = ops.irfft((xr * kr - xi * ki, xr * ki + xi * kr), fft_length=2 * length)
        return ops.moveaxis(y[..., :length], -1, -2)

    def _decay(self) -> Any:
        return ops.exp(self.log_decay) + SLOWEST

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the output."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return {**super().get_config(), "fastest": self.fastest, "slowest": self.slowest}
