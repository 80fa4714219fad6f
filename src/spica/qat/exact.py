"""Primitives for evaluation: the integers of the reference, in int32 and float32 alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras import ops
from spica.errors import SpicaError
from spica.qat import int32
from spica.qat.tracer import Learned, Primitives, Range, Value, range_of, tensor_of
from spica.semantics.primitives import (
    EXPONENT_BITS,
    NORM_BITS,
    POWER_UNIT,
    PROBABILITY_BITS,
    SMALLEST_POWER,
    Epilogue,
)


class Exact(Primitives):
    """The integers of the reference, in int32."""

    dtype = "int32"

    def _products(self, x: Any, limits: Range, kernel: NDArray, count: int, convolve: Callable[[Any, Any], Any]) -> Any:
        return int32.products(x, limits, tensor_of(kernel, "int32"), range_of(kernel), count, convolve)

    def _lowest(self) -> int:
        return -(1 << 31)

    def add(self, a: Value, b: Value, shifts: tuple[NDArray, NDArray], value_bits: int) -> Value:
        ends = [end << int(s.max()) for v, s in zip((a, b), shifts) for end in v.range]
        if max(map(abs, ends)) >= 1 << 30:
            raise SpicaError(
                f"{self.layer}: adds integers too wide to train; give the layers before it an output stage"
            )
        left, right = (v.tensor * ops.convert_to_tensor((1 << s).astype(np.int32)) for v, s in zip((a, b), shifts))
        return Value(a.shape, left + right, (min(ends[:2]) + min(ends[2:]), max(ends[:2]) + max(ends[2:])))

    def look_up(self, x: Value, table: NDArray, lowest: int) -> Value:
        tensor = ops.take(ops.convert_to_tensor(table.astype(np.int32)), x.tensor - lowest)
        return Value(x.shape, tensor, (int(table.min()), int(table.max())))

    def normalise(self, x: Value) -> Value:
        centred, deviation = self._spread(x)
        limit = x.shape[-1] << NORM_BITS
        return Value(x.shape, ops.floor_divide(centred * (1 << NORM_BITS), deviation), (-limit, limit))

    def _spread(self, x: Value) -> tuple[Any, Any]:
        """``channels`` times what each value is off its token's mean, and the mean of that without its sign."""
        channels = x.shape[-1]
        if max(map(abs, x.range)) * channels * max(channels, 2 << NORM_BITS) >= 1 << 31:
            raise SpicaError(f"{self.layer}: normalises integers too wide to train; use fewer channels or bits")
        centred = x.tensor * channels - ops.sum(x.tensor, axis=-1, keepdims=True)
        deviation = ops.floor_divide(ops.sum(ops.abs(centred), axis=-1, keepdims=True), channels)
        return centred, ops.maximum(deviation, 1)

    def _softmax(self, scores: Any, multiplier: int, shift: int) -> Any:
        steps = ops.floor_divide(scores * multiplier, 1 << shift)
        below = ops.minimum(ops.max(steps, axis=-1, keepdims=True) - steps, SMALLEST_POWER << EXPONENT_BITS)
        whole = ops.floor_divide(below, 1 << EXPONENT_BITS)
        part = below - whole * (1 << EXPONENT_BITS)
        halves = ops.take(ops.convert_to_tensor(1 << np.arange(SMALLEST_POWER + 1, dtype=np.int32)), whole)
        powers = ops.floor_divide(((2 << EXPONENT_BITS) - part) * POWER_UNIT, halves)
        total = ops.sum(powers, axis=-1, keepdims=True)
        return ops.floor_divide(powers * (2 << PROBABILITY_BITS) + total, 2 * total)

    def apply_epilogue(self, acc: Value, epilogue: Epilogue) -> Value:
        if epilogue.value_bits > 31 and isinstance(acc.tensor, tuple):
            raise SpicaError(f"{self.layer}: its accumulator of {epilogue.value_bits} bits is too wide to train")
        v, shape = int32.to_int32(acc.tensor, epilogue.value_bits), acc.shape
        if epilogue.bias is not None:
            halves = zip(int32.limbs(v), int32.limbs(tensor_of(epilogue.bias, "int32")))
            v = int32.to_int32(int32.carry(*(a + b for a, b in halves)), epilogue.value_bits)
        if epilogue.pool is not None:
            v, shape = self._pool(v, epilogue.pool, shape)
        if epilogue.relu:
            v = ops.maximum(v, 0)
        if epilogue.ceiling is not None:
            v = ops.minimum(v, tensor_of(epilogue.ceiling, "int32"))
        if epilogue.average:
            high, low = (ops.sum(part, axis=(1, 2)) for part in int32.limbs(v))
            v, shape = int32.saturate(int32.carry(high, low), 32), (1, shape[-1])
        if epilogue.multiplier is None or epilogue.shift is None:
            limit = 1 << min(epilogue.value_bits, 31)
            return Value(shape, int32.to_int32(v, 31), (0 if epilogue.relu else -limit, limit - 1), epilogue.dtype)
        if not isinstance(epilogue.multiplier, Learned) and not np.any(epilogue.shift):
            return self._multiplied(replace(acc, shape=shape, tensor=v), epilogue)
        wide = epilogue.high >= int32.LARGEST_OUTPUT and epilogue.buffer_bits > 31
        if int(np.max(epilogue.multiplier)) > int32.LARGEST_MULTIPLIER or wide:
            raise SpicaError(f"{self.layer}: its output stage is too wide to train; use at most 8 bits")
        multiplier, shift = (tensor_of(a, "int32") for a in (epilogue.multiplier, epilogue.shift))
        if epilogue.buffer_bits > 31:
            v = int32.scale(int32.limbs(v), multiplier, shift, epilogue.buffer_bits, epilogue.low, epilogue.high)
        else:
            product = int32.carry(*(part * multiplier for part in int32.limbs(v)))
            v = ops.clip(
                int32.shift_round(int32.to_int32(product, epilogue.buffer_bits), shift), epilogue.low, epilogue.high
            )
        return Value(shape, v, (epilogue.low, epilogue.high), epilogue.dtype)

    def _turn(self, state: tuple[Any, Any], factor: tuple[Any, Any], x: Any, bits: int) -> tuple[Any, Any]:
        """As ``primitives.turn``; 16-bit states and factors below 1 keep the sum of products in int32."""
        (real, imaginary), (cosine, sine) = state, factor
        kept, crossed = real * cosine - imaginary * sine, real * sine + imaginary * cosine
        halves = zip(int32.limbs(kept), int32.limbs(x))
        return int32.to_int32(int32.carry(*(a + b for a, b in halves)), bits), crossed

    def _multiplied(self, acc: Value, epilogue: Epilogue) -> Value:
        """Whole multiples, as exponents are aligned by them."""
        assert epilogue.multiplier is not None
        reach = max(map(abs, acc.range)) * int(np.max(epilogue.multiplier))
        if not 0 < reach < 1 << 31:
            raise SpicaError(f"{self.layer}: reads integers too wide to align in training; give them one exponent")
        low, high = max(epilogue.low, -reach), min(epilogue.high, reach)
        v = ops.clip(acc.tensor * tensor_of(epilogue.multiplier, "int32"), low, high)
        return Value(acc.shape, v, (low, high), epilogue.dtype)
