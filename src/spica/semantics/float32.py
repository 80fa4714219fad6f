"""The reference engine with the rounding of float32, in which the public reference holds its integers.

Integers are the truth; this engine exists to show that where the public reference differs, float32 is why. A float32
keeps integers exactly up to 2**24 only. Every product, sum, shift and saturation bound is rounded to float32 here, in
the order of ``semantics.primitives``. Sums of products depend on the order in which a library adds, so for these the
engine also tells how far any order can be from the exact sum (``sum_error``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spica.semantics import primitives
from spica.semantics.primitives import Complex, Epilogue, Padding, Pair
from spica.semantics.reference import Reference

UNIT = 2.0**-24
"""Largest relative error of one float32 rounding."""


class Float32(Reference):
    """Integer primitives, computed in float32 step by step."""

    def convolve(
        self, x: NDArray, kernel: NDArray, strides: Pair, padding: Padding, fill: NDArray, bound: int
    ) -> NDArray:
        """Compute ``primitives.convolve``; sums from 2**24 on are rounded."""
        exact = primitives.convolve(x, kernel, strides, padding, fill, bound)
        return exact if bound < 1 << 24 else exact.astype(np.float32).astype(np.int64)

    def convolve_depthwise(self, x: NDArray, kernel: NDArray, strides: Pair, padding: Padding, bound: int) -> NDArray:
        """Compute ``primitives.convolve_depthwise``; sums from 2**24 on are rounded."""
        exact = primitives.convolve_depthwise(x, kernel, strides, padding, bound)
        return exact if bound < 1 << 24 else exact.astype(np.float32).astype(np.int64)

    def apply_epilogue(self, acc: NDArray, epilogue: Epilogue) -> NDArray:
        """Compute ``primitives.apply_epilogue``, every step rounded."""
        x = _saturate(acc.astype(np.float32), epilogue.value_bits)
        if epilogue.bias is not None:
            x = _saturate(x + epilogue.bias.astype(np.float32), epilogue.value_bits)
        if epilogue.pool is not None:
            x = primitives.max_pool(x, *epilogue.pool)
        if epilogue.relu:
            x = np.maximum(x, np.float32(0))
        if epilogue.ceiling is not None:
            x = np.minimum(x, epilogue.ceiling.astype(np.float32))
        if epilogue.average:
            # The reference aligns channels by a rounding shift first, even by none: beyond 2**23 one half is lost.
            x = np.floor(x + np.float32(0.5))
            x = _saturate(x.astype(np.float64).sum(axis=(1, 2)).astype(np.float32), 32)
        if epilogue.multiplier is not None and epilogue.shift is not None:
            x = _saturate(x * epilogue.multiplier.astype(np.float32), epilogue.buffer_bits)
            x = np.floor(x * np.exp2(-epilogue.shift.astype(np.float32)) + np.float32(0.5))
            x = np.clip(x, np.float32(epilogue.low), np.float32(epilogue.high))
        return x.astype(np.int64)

    def turn(self, state: Complex, factor: Complex, x: NDArray, value_bits: int) -> Complex:
        """Compute ``primitives.turn``, every product and sum rounded."""
        (real, imaginary), (cosine, sine) = ([a.astype(np.float32) for a in pair] for pair in (state, factor))

        def fit(a: NDArray[np.float32]) -> NDArray[np.float32]:
            return _saturate(a, value_bits)

        kept = fit(fit(fit(real * cosine) - fit(imaginary * sine)) + x.astype(np.float32))
        crossed = fit(fit(real * sine) + fit(imaginary * cosine))
        return kept.astype(np.int64), crossed.astype(np.int64)


def _saturate(x: NDArray[np.float32], value_bits: int) -> NDArray[np.float32]:
    """Clip like ``primitives.saturate``; the upper bound itself is rounded: 2**27 - 1 becomes 2**27."""
    limit = np.float32(2.0**value_bits)
    return np.clip(x, -limit, np.float32(limit - np.float32(1)))


def sum_error(magnitudes: NDArray, terms: int) -> NDArray[np.float64]:
    """Return how far a float32 sum of products can be from the exact one, whatever the order.

    Below 2**24 nothing rounds. Source: Higham, Accuracy and Stability of Numerical Algorithms, 4.2: n u / (1 - n u)
    times the sum of magnitudes.

    Args:
        magnitudes: sums of the products' magnitudes.
        terms: number of products in each.
    """
    exact = magnitudes < 1 << 24
    return np.where(exact, 0.0, terms * UNIT / (1 - terms * UNIT) * magnitudes.astype(np.float64))
