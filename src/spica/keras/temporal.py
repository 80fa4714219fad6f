"""Causal convolutions over time as Keras 3 layers, which train what ``spica.layers.temporal`` streams."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from spica.errors import SpicaError
from spica.keras.polynomials import Jacobi


class _Temporal(keras.layers.Layer):
    """A causal convolution over time, with taps as plain weights or as sums of polynomials."""

    def __init__(self, frames: int, basis: Jacobi | None = None, use_bias: bool = True, **options: Any) -> None:
        super().__init__(**options)
        if not isinstance(frames, int) or frames < 1:
            raise SpicaError(f"{self.name}: frames is {frames!r}, but must be an integer of at least 1")
        self.frames, self.use_bias = frames, use_bias
        self.basis = Jacobi(**basis) if isinstance(basis, dict) else basis
        if not isinstance(self.basis, Jacobi | None):
            raise SpicaError(f"{self.name}: basis is {basis!r:.40}, but must be a Jacobi, or None for plain weights")
        self.bias: Any = None

    def _build(self, shape: tuple[int, ...], filters: int) -> None:
        count = self.frames if self.basis is None else self.basis.count
        start: Any = keras.initializers.VarianceScaling(2.0, "fan_in")
        if self.basis is not None:
            # Each polynomial adds 1 / frames of its coefficient's square to a tap's: so that taps come out as He's.
            deviation = (2 * self.frames / (count * (shape[0] if len(shape) > 1 else 1))) ** 0.5
            start = keras.initializers.RandomNormal(stddev=deviation)
        elif len(shape) == 1:
            start = keras.initializers.RandomNormal(stddev=(2 / count) ** 0.5)
        self.weights_over_time = self.add_weight(name="kernel", shape=(count, *shape), initializer=start)
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(filters,), initializer="zeros")

    @property
    def kernel(self) -> Any:
        """The taps, oldest frame first: ``(frames, C, F)``; ``(frames, C)`` for a depthwise layer."""
        if self.basis is None:
            return ops.convert_to_tensor(self.weights_over_time)
        taps = ops.convert_to_tensor(self.basis.taps(self.frames))
        return ops.tensordot(taps, self.weights_over_time, axes=[[0], [0]])

    def call(self, x: Any) -> Any:
        """Compute the layer on a batch."""
        length = x.shape[1] if x.shape[1] is not None else ops.shape(x)[1]
        rest = ((0, 0),) * (len(x.shape) - 2)
        padded = ops.pad(x, ((0, 0), (self.frames - 1, 0), *rest))
        kernel = self.kernel
        total: Any = 0
        for i in range(self.frames):
            total = total + self._products(padded[:, i : i + length], kernel[i])
        return total if self.bias is None else total + self.bias

    def _products(self, x: Any, tap: Any) -> Any:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        basis = None if self.basis is None else vars(self.basis)
        return {**super().get_config(), "frames": self.frames, "basis": basis, "use_bias": self.use_bias}


@keras.saving.register_keras_serializable("spica")
class TemporalConv(_Temporal):
    """A causal convolution over time and channels: clips ``(N, T, ..., C)`` to ``(N, T, ..., filters)``.

    Frames before the first are zeros, so the output at a moment knows nothing of later ones.

    Args:
        filters: channels of the output.
        frames: frames that each output is made of; hardware holds 2 to 10.
        basis: polynomials whose sums the taps are; by default each tap is a weight of its own.
        use_bias: whether each filter adds one.
    """

    def __init__(self, filters: int, frames: int, basis: Jacobi | None = None, **options: Any) -> None:
        super().__init__(frames, basis, **options)
        self.filters = filters

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights for an input of this shape."""
        self._build((input_shape[-1], self.filters), self.filters)  # type: ignore[arg-type]

    def _products(self, x: Any, tap: Any) -> Any:
        return ops.matmul(x, tap)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the output."""
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable("spica")
class DepthwiseTemporalConv(_Temporal):
    """A causal convolution over time of each channel on its own: clips ``(N, T, ..., C)`` to the same shape.

    Args:
        frames, basis, use_bias: see ``TemporalConv``.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the weights for an input of this shape."""
        self._build((input_shape[-1],), input_shape[-1])  # type: ignore[arg-type]

    def _products(self, x: Any, tap: Any) -> Any:
        return x * tap

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the output."""
        return input_shape
