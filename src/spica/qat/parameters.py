"""The parameters of a layer that training changes: real numbers behind its integers.

Each parameter is the layer's integers times a power of two, so that going from one to the other is exact on every
backend, and an untrained model is the network that it was made from, to the bit:

* a kernel is in units of its largest weight;
* a bias is in units of the accumulator that fills the output (of a logit, in a last layer), and keeps eight bits;
* a gain on the output stage's factor, one a filter, is what is learned of the output's range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import keras
from keras import ops
from spica.layers import Requantize, WeightedLayer
from spica.layers.weighted import WEIGHT_RANGE
from spica.network import TensorType
from spica.qat.differentiable import pass_through
from spica.qat.latent_weights import LatentWeights
from spica.qat.tracer import Learned
from spica.quantization.rounding import BIAS_BITS, step_of

LARGEST_BIAS_SHIFT = 20
OCTAVES = 4
"""How often the gain can double or halve the output stage's factor."""


class Parameters(keras.layers.Layer):
    """The trainable variables of one integer layer."""

    def __init__(self, layer: WeightedLayer, output: TensorType, latent: LatentWeights) -> None:
        super().__init__(name=layer.name.replace("/", "_"))
        self.record = layer
        assert layer.weight_bits is not None
        self.weight_unit = float(2 ** (layer.weight_bits - 1))
        self.kernels = {
            field: self._variable(field, latent.get(field, kernel) / self.weight_unit)
            for field, kernel in layer.kernels.items()
        }
        self.bias_unit = _power_of_two(_filling(layer, output))
        self.bias = None if layer.bias is None else self._variable("bias", layer.bias / self.bias_unit)
        out = layer.requantize
        self.gain = None if out is None else self._variable("gain", np.ones((output.channels,)))
        if out is not None:
            self.start = np.broadcast_to(out.multiplier, (output.channels,))
            self.top = 2.0 ** np.maximum(np.ceil(np.log2(self.start + 1)), 1)  # first multiplier of one more bit
        self.built = True

    def _variable(self, name: str, start: NDArray) -> Any:
        values = np.asarray(start, np.float32)
        return self.add_weight(name=name, shape=values.shape, initializer=keras.initializers.Constant(values))

    def _learned(self, of: Callable[[Any, Any], Any]) -> dict[str, Any]:
        """Return kernels and bias that stand for what ``of`` makes of real numbers and the integers of now."""
        changes: dict[str, Any] = {}
        for field in self.kernels:
            real, rounded, limits = self._kernel(field)
            changes[field] = Learned.of(getattr(self.record, field), of(real, rounded), limits)
        if self.record.bias is not None:
            changes["bias"] = Learned.of(self.record.bias, of(*self._bias()), (0, 0))
        return changes

    def smooth(self) -> WeightedLayer:
        """Return the layer with tensors in float32 that stand for its integers and have gradients."""
        changes = self._learned(pass_through)
        if self.gain is not None:
            multiplier, octave = self._multiplier()
            out: Any = self.record.requantize
            unit = np.ldexp(np.float32(1), -out.shift.astype(np.int32)).astype(np.float32)
            wanted = self.gain * _tensor(self.start)
            factor = pass_through(wanted, multiplier * _power(octave)) * _tensor(unit)
            changes["requantize"] = replace(out, multiplier=Learned.of(self.start, factor, (0, 0)))
        return replace(self.record, **changes)

    def exact(self) -> WeightedLayer:
        """Return the layer with int32 tensors that stand for its integers."""
        changes = self._learned(lambda real, rounded: ops.cast(rounded, "int32"))
        if self.gain is not None:
            multiplier, octave = self._multiplier()
            out: Any = self.record.requantize
            shift = np.broadcast_to(out.shift, self.start.shape)
            learned = {"multiplier": (self.start, ops.cast(multiplier, "int32"))}
            learned["shift"] = (shift, _tensor(shift, "int32") - octave)
            changes["requantize"] = replace(out, **{n: Learned.of(*v, (0, 0)) for n, v in learned.items()})
        return replace(self.record, **changes)

    def integer(self) -> WeightedLayer:
        """Return the layer with the integers of now."""
        learned = self.exact()
        changes: dict[str, Any] = {field: _values(getattr(learned, field)).astype(np.int8) for field in self.kernels}
        if self.bias is not None:
            changes["bias"] = _values(learned.bias)
        if self.gain is not None:
            before, after = self.record.requantize, learned.requantize
            assert before is not None and after is not None
            out: Requantize = replace(before, multiplier=_values(after.multiplier), shift=_values(after.shift))
            changes["requantize"] = out
            # The output's format stays, so a larger factor means that a weight of 1 is worth more.
            ratio = np.ldexp(out.multiplier / self.start, before.shift - out.shift)
            changes["weight_scale"] = np.asarray(self.record.weight_scale * ratio, np.float32)
        return replace(self.record, **changes)

    def _kernel(self, field: str) -> tuple[Any, Any, tuple[int, int]]:
        """Return a kernel in units of its integers, the integers as float32, and the range that they may have."""
        real = self.kernels[field] * self.weight_unit
        start, bits = getattr(self.record, field), self.record.weight_bits or 8
        if bits == 1:
            return ops.clip(real, -1.0, 1.0), ops.where(real >= 0, 1.0, -1.0), (-1, 1)
        high = WEIGHT_RANGE[bits][1]
        low = min(-high, int(start.min()))
        real = ops.clip(real, low - 0.5, high + 0.5)
        return real, ops.clip(ops.round(real), low, high), (low, high)

    def _bias(self) -> tuple[Any, Any]:
        """Return biases in units of the accumulator, and the eight-bit integers, shifted left, that stand for them."""
        real = self.bias * _tensor(self.bias_unit)
        size = ops.abs(real)
        shift = sum(
            (ops.cast(size > (2**BIAS_BITS - 0.5) * 2.0**k, "float32") for k in range(LARGEST_BIAS_SHIFT)),
            start=ops.zeros_like(size),
        )
        step = ops.take(_tensor(2.0 ** np.arange(LARGEST_BIAS_SHIFT + 1)), ops.cast(shift, "int32"))
        limit = 1 << BIAS_BITS
        return real, ops.clip(ops.round(real / step), -limit, limit - 1) * step

    def _multiplier(self) -> tuple[Any, Any]:
        """Return the output stage's multipliers, as wide as they were, and how far each was shifted right for it."""
        wanted, top = self.gain * _tensor(self.start), _tensor(self.top)
        lowest = _tensor(np.minimum(self.top / 2 - 0.25, self.start))  # one that starts smaller stays so
        above = [wanted >= (top - 0.5) * 2.0**k for k in range(OCTAVES)]
        below = [wanted < lowest * 2.0**-k for k in range(OCTAVES)]
        octave = sum(ops.cast(a, "int32") - ops.cast(b, "int32") for a, b in zip(above, below))
        return ops.minimum(ops.maximum(ops.round(wanted / _power(octave)), 1.0), top - 1), octave


def _power(octave: Any) -> Any:
    """Return ``2**octave`` as float32, exactly."""
    return ops.take(_tensor(2.0 ** np.arange(-OCTAVES, OCTAVES + 1)), octave + OCTAVES)


def _tensor(values: NDArray, dtype: str = "float32") -> Any:
    return ops.convert_to_tensor(np.asarray(values).astype(dtype))


def _filling(layer: WeightedLayer, output: TensorType) -> NDArray[np.float64]:
    """Return each filter's accumulator that fills the output's range; without an output stage, that is worth 1."""
    if layer.requantize is None:
        return 1 / step_of(output)
    factor = np.ldexp(np.maximum(layer.requantize.multiplier, 1).astype(np.float64), -layer.requantize.shift)
    return output.range[1] / factor


def _power_of_two(x: NDArray[np.float64]) -> NDArray[np.float32]:
    return (2.0 ** np.rint(np.log2(x))).astype(np.float32)


def _values(learned: Any) -> NDArray[np.int64]:
    return ops.convert_to_numpy(learned.source).astype(np.int64)
