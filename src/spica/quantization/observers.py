"""Observers: watch a tensor's values over many samples, and choose the step of its integers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BINS = 2048
AVERAGED_BATCHES = 10
"""Batches that a moving average of their largest values remembers."""

METHODS = ("mse", "max", "percentile", "average", "entropy")


class Histogram:
    """Counts of magnitudes, for a tensor or for each of its channels, in bins that widen as larger values come.

    Widths are powers of two, so widening merges pairs of bins and loses nothing but resolution.
    """

    def __init__(self, channels: int | None) -> None:
        self.counts = np.zeros((channels or 1, BINS), np.int64)
        self.width = 2.0**-40
        self.maximum = np.zeros(channels or 1)
        self.average = np.zeros(channels or 1)
        self._batches = 0

    def update(self, values: NDArray[np.float32]) -> None:
        """Count a batch of values ``(N, ..., C)``."""
        groups = len(self.counts)
        rows = values.reshape(-1, values.shape[-1]).T if groups > 1 else values.reshape(1, -1)
        magnitudes = np.abs(rows)
        largest = magnitudes.max(axis=1)
        self.maximum = np.maximum(self.maximum, largest)
        self._batches += 1
        self.average += (largest - self.average) / min(self._batches, AVERAGED_BATCHES)
        while self.maximum.max() >= self.width * BINS:
            half = self.counts.reshape(groups, BINS // 2, 2).sum(axis=2)
            self.counts = np.concatenate([half, np.zeros_like(half)], axis=1)
            self.width *= 2
        index = (magnitudes / np.float32(self.width)).astype(np.int64) + BINS * np.arange(groups)[:, None]
        self.counts += np.bincount(index.ravel(), minlength=groups * BINS).reshape(groups, BINS)

    def scaled(self, gain: NDArray[np.float32]) -> Histogram:
        """Return the histogram of values of which each group was multiplied by its ``gain``."""
        made = Histogram(len(self.counts))
        made.width = self.width * 2.0 ** np.ceil(np.log2(max(float(gain.max()), 1.0)))
        made.maximum, made.average = self.maximum * gain, self.average * gain
        for group, (counts, factor) in enumerate(zip(self.counts, gain)):
            bins = ((np.arange(BINS) + 0.5) * (self.width * factor / made.width)).astype(np.int64)
            made.counts[group] = np.bincount(bins, counts, BINS)
        return made

    def merged(self) -> Histogram:
        """Return one histogram of all groups."""
        made = Histogram(None)
        made.width, made.counts = self.width, self.counts.sum(axis=0, keepdims=True)
        made.maximum, made.average = self.maximum.max(keepdims=True), self.average.max(keepdims=True)
        return made

    def step(self, levels: int, method: str) -> NDArray[np.float64]:
        """Return the step of the integer grid, one for each group, whose largest integer is ``levels``.

        Args:
            levels: the largest integer.
            method: "max" covers every value seen, "average" the moving average of the batches' largest, "percentile"
                all but one value in ten thousand; "mse" minimises the mean squared rounding and clipping error,
                "entropy" the divergence of the rounded values' distribution from that of the values (Migacz, 8-bit
                Inference with TensorRT, 2017).
        """
        if method == "max":
            return self.maximum / levels
        if method == "average":
            return self.average / levels
        if method == "percentile":
            kept = self.counts.cumsum(axis=1) <= 0.9999 * self.counts.sum(axis=1, keepdims=True)
            return np.minimum((kept.sum(axis=1) + 1) * self.width, self.maximum) / levels
        best = _best_step if method == "mse" else _closest_step
        return np.array([best(c, self.width, m, levels) if m else 0.0 for c, m in zip(self.counts, self.maximum)])


def _best_step(counts: NDArray[np.int64], width: float, maximum: float, levels: int) -> float:
    """Return the step of least squared error, among clipping points from the maximum down to a twentieth."""
    centres = (np.arange(BINS) + 0.5) * width
    used = np.flatnonzero(counts)
    centres, weights = centres[used], counts[used]
    steps = maximum / levels * np.linspace(1.0, 0.05, 96)
    rounded = np.minimum(np.rint(centres / steps[:, None]), levels) * steps[:, None]
    return float(steps[((rounded - centres) ** 2 @ weights).argmin()])


def _closest_step(counts: NDArray[np.int64], width: float, maximum: float, levels: int) -> float:
    """Return the step whose integers are distributed most like the values; clipping points as in ``_best_step``."""
    tops = np.maximum(np.ceil(maximum / width * np.linspace(1.0, 0.05, 96)).astype(np.int64), levels + 1)
    steps, losses = tops * width / levels, []
    counts = counts.copy()
    counts[0] = 0  # zeros stay zeros on every grid; a rectifier makes so many that they would outvote the rest
    if not counts.any():
        return maximum / levels
    for top in np.minimum(tops, BINS):
        kept = counts[:top].astype(np.float64)
        wanted = kept.copy()
        wanted[-1] += counts[top:].sum()
        level = np.arange(top) * levels // top
        used = kept > 0
        spread = np.bincount(level, kept, levels) / np.maximum(np.bincount(level, used, levels), 1)
        got = np.where(used, spread[level], 0) + 1e-9
        p, q = wanted / wanted.sum(), got / got.sum()
        losses.append(float(np.sum(p[p > 0] * np.log(p[p > 0] / q[p > 0]))))
    return float(steps[int(np.argmin(losses))])
