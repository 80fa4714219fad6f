"""Kernels over time as sums of orthogonal polynomials, which have no frame rate of their own.

Source: Pei and Coenen, Building Temporal Kernels with Orthogonal Polynomials (PLEIADES), 2024. A kernel is a function
on [-1, 1]; frames are equal parts of it, and a tap is the function's value in the middle of its part times the part's
width, so that a kernel at twice the rate sums to the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError


@dataclass(frozen=True)
class Jacobi:
    """The first ``count`` Jacobi polynomials, orthogonal under ``(1 - x)**alpha * (1 + x)**beta``.

    Attributes:
        count: how many; degrees 0 to ``count - 1``.
        alpha, beta: above -1; 0 and 0 are Legendre's, -0.25 and -0.25 the paper's choice.
    """

    count: int
    alpha: float = -0.25
    beta: float = -0.25

    def __post_init__(self) -> None:
        if not isinstance(self.count, int) or self.count < 1 or min(self.alpha, self.beta) <= -1:
            raise SpicaError(f"{self}: count must be an integer of at least 1, alpha and beta above -1")

    def taps(self, frames: int) -> NDArray[np.float32]:
        """Return each polynomial as a kernel, of mean square 1 over the interval: float32 ``(count, frames)``."""
        if frames < 1:
            raise SpicaError(f"a kernel has at least 1 frame, not {frames}")
        x = (2 * np.arange(frames) + 1) / frames - 1
        fine = np.linspace(-1, 1, 4097)
        norms = np.sqrt(np.mean(self._at(fine) ** 2, axis=1, keepdims=True))
        return (self._at(x) / norms / frames).astype(np.float32)

    def _at(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values at ``x``, ``(count, len(x))``, by recurrence (Szego, Orthogonal Polynomials, 4.5.1)."""
        a, b = self.alpha, self.beta
        values = [np.ones_like(x), (a - b) / 2 + (1 + (a + b) / 2) * x]
        for n in range(2, self.count):
            s = 2 * n + a + b
            left = 2 * n * (n + a + b) * (s - 2)
            middle = (s - 1) * (s * (s - 2) * x + a * a - b * b)
            right = 2 * (n + a - 1) * (n + b - 1) * s
            values.append((middle * values[-1] - right * values[-2]) / left)
        return np.array(values[: self.count])
