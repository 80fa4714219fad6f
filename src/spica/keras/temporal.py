"""Causal convolutions over time as Keras 3 layers, which train what ``spica.layers.temporal`` streams."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops
from spica.errors import SpicaError
from spica.keras.polynomials import Jacobi
from spica.keras.recurrent import DiagonalSSM


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

    def _tap(self, channels: int) -> tuple[int, ...]:
        """Return the shape of one tap for an input of that many channels, filters last."""
        return (channels,)

    def build(self, input_shape: tuple) -> None:
        """Make the weights for an input of this shape."""
        tap, count = self._tap(input_shape[-1]), self.frames if self.basis is None else self.basis.count
        start: Any = keras.initializers.VarianceScaling(2.0, "fan_in")
        if self.basis is not None or len(tap) == 1:
            # Each polynomial adds 1 / frames of its coefficient's square to a tap's: so that taps come out as He's.
            share = 1 if self.basis is None else self.frames
            fan = tap[0] if len(tap) > 1 else 1
            start = keras.initializers.RandomNormal(stddev=(2 * share / (count * fan)) ** 0.5)
        self.weights_over_time = self.add_weight(name="kernel", shape=(count, *tap), initializer=start)
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=tap[-1:], initializer="zeros")

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
        padded = ops.pad(x, ((0, 0), (self.frames - 1, 0), *((0, 0),) * (len(x.shape) - 2)))
        kernel = self.kernel
        product = ops.matmul if len(kernel.shape) > 2 else ops.multiply
        total: Any = 0
        for i in range(self.frames):
            total = total + product(padded[:, i : i + length], kernel[i])
        return total if self.bias is None else total + self.bias

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the output."""
        return (*input_shape[:-1], self._tap(input_shape[-1])[-1])

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

    def _tap(self, channels: int) -> tuple[int, ...]:
        return (channels, self.filters)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return {**super().get_config(), "filters": self.filters}


@keras.saving.register_keras_serializable("spica")
class DepthwiseTemporalConv(_Temporal):
    """A causal convolution over time of each channel on its own: clips ``(N, T, ..., C)`` to the same shape.

    Args:
        frames, basis, use_bias: see ``TemporalConv``.
    """


IN_STEPS = _Temporal | DiagonalSSM | keras.layers.Conv1D | keras.layers.Conv3D | keras.layers.RNN
"""Layers that look back by a number of frames, whatever time that is."""


def resample(model: Any, rate: float) -> Any:
    """Return a model for clips of ``rate`` times as many frames a second, whose kernels are resampled polynomials.

    Args:
        model: a ``keras.Model`` whose layers over time all have a ``basis``.
        rate: 2 for twice the rate; each layer's number of frames is rounded, to at least one.

    Returns:
        A model of the same weights; its clips may be of any length.

    Raises:
        SpicaError: for any other layer over time, which has no meaning at another rate.
    """
    if not isinstance(model, keras.Model):
        raise SpicaError(f"expected a keras.Model, got {type(model).__name__}; resample before spica.from_keras")
    if not isinstance(rate, int | float) or not 0 < rate < float("inf"):
        raise SpicaError(f"rate is {rate!r}, but must be a number above 0")

    def at_rate(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, _Temporal) and layer.basis is not None:
            config["frames"] = max(round(layer.frames * rate), 1)
        elif isinstance(layer, IN_STEPS):
            raise SpicaError(f"{layer.name}: it counts in frames; use a temporal layer with a basis to resample it")
        if isinstance(layer, keras.layers.InputLayer):
            shape = config["batch_shape"]
            config["batch_shape"] = (shape[0], None, *shape[2:])
        return type(layer).from_config(config)

    (source,) = model.inputs
    clips = keras.Input((None, *source.shape[2:]), name=source.name, dtype=source.dtype)
    made = keras.models.clone_model(model, clone_function=at_rate, input_tensors=clips, recursive=True)
    made.set_weights(model.get_weights())
    return made
