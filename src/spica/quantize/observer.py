"""Watching a tensor's values over many samples, and choosing the step of its integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 2048


class Histogram:
    """Counts of magnitudes, for a tensor or for each of its channels, in bins that widen as larger values come.

    Widths are powers of two, so widening merges pairs of bins and loses nothing but resolution.
    """

    def __init__(self, channels: int | None) -> None:
        self.counts = np.zeros((channels or 1, BINS), np.int64)
        self.width = 2.0**-40
        self.minimum = 0.0
        self.maximum = np.zeros(channels or 1)

    def update(self, values: NDArray[np.float32]) -> None:
        """Count a batch of values ``(N, ..., C)``."""
        groups = len(self.counts)
        rows = values.reshape(-1, values.shape[-1]).T if groups > 1 else values.reshape(1, -1)
        magnitudes = np.abs(rows)
        self.minimum = min(self.minimum, float(rows.min()))
        self.maximum = np.maximum(self.maximum, magnitudes.max(axis=1))
        while self.maximum.max() >= self.width * BINS:
            half = self.counts.reshape(groups, BINS // 2, 2).sum(axis=2)
            self.counts = np.concatenate([half, np.zeros_like(half)], axis=1)
            self.width *= 2
        index = (magnitudes / np.float32(self.width)).astype(np.int64) + BINS * np.arange(groups)[:, None]
        self.counts += np.bincount(index.ravel(), minlength=groups * BINS).reshape(groups, BINS)

    def step(self, levels: int, method: str) -> NDArray[np.float64]:
        """Step of the integer grid, one for each group, whose largest integer is ``levels``.

        "max" covers every value seen; "mse" minimises the mean squared rounding and clipping error, "percentile"
        clips one value in ten thousand.
        """
        if method == "max":
            return self.maximum / levels
        if method == "percentile":
            kept = self.counts.cumsum(axis=1) <= 0.9999 * self.counts.sum(axis=1, keepdims=True)
            return np.minimum((kept.sum(axis=1) + 1) * self.width, self.maximum) / levels
        return np.array([_best_step(c, self.width, m, levels) for c, m in zip(self.counts, self.maximum)])


def _best_step(counts: NDArray[np.int64], width: float, maximum: float, levels: int) -> float:
    """The step of least squared error for a histogram, among clipping points from the maximum down to a twentieth."""
    if maximum == 0:
        return 0.0
    centres = (np.arange(BINS) + 0.5) * width
    used = np.flatnonzero(counts)
    centres, weights = centres[used], counts[used]
    steps = maximum / levels * np.linspace(1.0, 0.05, 96)
    rounded = np.minimum(np.rint(centres / steps[:, None]), levels) * steps[:, None]
    return float(steps[((rounded - centres) ** 2 @ weights).argmin()])
