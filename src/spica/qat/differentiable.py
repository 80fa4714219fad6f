"""Primitives for training: float32, which rounds sums beyond 2**24, with a gradient through every rounding.

Roundings have the gradient of the identity (Bengio et al., Estimating or Propagating Gradients Through Stochastic
Neurons, 2013).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras import ops
from spica.qat.tracer import Convolution, Learned, Primitives, Range, Value, tensor_of
from spica.semantics.primitives import EXPONENT_BITS, NORM_BITS, PROBABILITY_BITS, Epilogue


def factor_of(multiplier: NDArray, shift: NDArray) -> Any:
    """Return the real factor of an output stage, one a filter; a learned multiplier stands for it."""
    if isinstance(multiplier, Learned) and multiplier.positions is not None:
        return tensor_of(multiplier, "float32")
    return ops.convert_to_tensor(np.ldexp(np.asarray(multiplier, np.float64), -np.asarray(shift)).astype(np.float32))


def pass_through(smooth: Any, rounded: Any) -> Any:
    """Return ``rounded``, with the gradient of ``smooth``."""
    return smooth + ops.stop_gradient(rounded - smooth)


class Differentiable(Primitives):
    """The primitives in float32, with gradients; ``activities`` collects what rectifiers give, for a sparsity loss."""

    dtype, lowest = "float32", -float(1 << 31)

    def _products(self, x: Any, limits: Range, kernel: NDArray, count: int, convolve: Convolution) -> Any:
        return convolve(x, tensor_of(kernel, "float32"))

    def look_up(self, x: Value, table: NDArray, lowest: int) -> Value:
        """Look integers up in a table; gradients are its slopes."""
        index = ops.cast(ops.stop_gradient(x.tensor), "int32") - lowest
        values, slopes = (
            ops.take(ops.convert_to_tensor(a.astype(np.float32)), index) for a in (table, np.gradient(table))
        )
        return Value(x.shape, values + slopes * (x.tensor - ops.stop_gradient(x.tensor)), (0, 0))

    def normalise(self, x: Value) -> Value:
        """Divide what each value is off its token's mean by the mean absolute deviation."""
        centred = x.tensor * x.shape[-1] - ops.sum(x.tensor, axis=-1, keepdims=True)
        deviation = ops.maximum(ops.mean(ops.abs(centred), axis=-1, keepdims=True), 1.0)
        smooth = centred * float(1 << NORM_BITS) / deviation
        return Value(x.shape, pass_through(smooth, ops.floor(smooth)), (0, 0))

    def _turn(self, state: tuple[Any, Any], factor: tuple[Any, Any], x: Any, bits: int) -> tuple[Any, Any]:
        (real, imaginary), (cosine, sine) = state, factor
        return real * cosine - imaginary * sine + x, real * sine + imaginary * cosine

    def _softmax(self, scores: Any, multiplier: int, shift: int) -> Any:
        """Return the softmax of exact powers; the lines between them are a rounding like any other."""
        powers = ops.softmax(scores * float(np.ldexp(multiplier * np.log(2) / (1 << EXPONENT_BITS), -shift)), axis=-1)
        unit = float(1 << PROBABILITY_BITS)
        return pass_through(powers * unit, ops.round(powers * unit))

    def _biased(self, acc: Value, epilogue: Epilogue) -> Any:
        limit = float(1 << min(epilogue.value_bits, 62))
        v = ops.clip(acc.tensor, -limit, limit)
        return v if epilogue.bias is None else v + tensor_of(epilogue.bias, "float32")

    def _summed(self, v: Any) -> Any:
        return ops.sum(v, axis=(1, 2))

    def _requantized(self, acc: Value, epilogue: Epilogue) -> Value:
        if epilogue.multiplier is None or epilogue.shift is None:
            return Value(acc.shape, acc.tensor, (0, 0), epilogue.dtype)
        # Where the result saturates by more than half a step it has no gradient.
        v = acc.tensor * factor_of(epilogue.multiplier, epilogue.shift)
        v = ops.clip(v, epilogue.low - 0.5, epilogue.high + 0.5)
        v = pass_through(v, ops.clip(ops.floor(v + 0.5), epilogue.low, epilogue.high))
        if epilogue.relu:
            self.activities.append((self.layer, v / epilogue.high))
        return Value(acc.shape, v, (epilogue.low, epilogue.high), epilogue.dtype)
