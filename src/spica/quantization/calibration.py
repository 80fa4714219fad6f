"""Calibration: run samples through a float network and choose the ranges of what will become integers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spica.network import Network, TensorType
from spica.quantization.config import QuantizationConfig
from spica.quantization.observers import Histogram
from spica.util.progress import progress

BATCH = 64


@dataclass(frozen=True)
class Ranges:
    """Histograms of the tensors that become integers, and the ranges chosen from them.

    Attributes:
        histograms: by tensor.
        formats: types of the integers, but for their steps, by tensor.
        method: how a range is chosen, see ``Histogram.step``.
        per_channel: the tensors whose channels have ranges of their own.
    """

    histograms: dict[str, Histogram]
    formats: dict[str, TensorType]
    method: str
    per_channel: frozenset[str]

    def steps(self) -> dict[str, NDArray[np.float64]]:
        """Return the wanted step of each tensor: a scalar, or one a channel."""
        steps = {name: self._step(name) for name in self.histograms}
        return {name: step if name in self.per_channel else step[0] for name, step in steps.items()}

    def reach(self) -> dict[str, NDArray[np.float64]]:
        """Return the largest magnitude worth keeping of each channel, for the tensors that have ranges by channel."""
        names = [name for name in self.histograms if name in self.per_channel]
        return {name: self._step(name) * self.formats[name].range[1] for name in names}

    def equalized(self, gains: dict[str, NDArray[np.float32]]) -> Ranges:
        """Return the ranges, one for each tensor, after the channels of some were multiplied by ``gains``."""
        histograms = dict(self.histograms)
        for name in self.per_channel:
            histogram = histograms[name].scaled(gains[name]) if name in gains else histograms[name]
            histograms[name] = histogram.merged()
        return replace(self, histograms=histograms, per_channel=frozenset())

    def _step(self, name: str) -> NDArray[np.float64]:
        return self.histograms[name].step(self.formats[name].range[1], self.method)


def calibrate(net: Network, samples: NDArray, config: QuantizationConfig, show: bool | None) -> Ranges:
    """Watch the tensors that become integers while the float network runs.

    The channels of images are watched apart where they keep steps of their own, or are to be equalised.
    """
    formats = config.formats(net)
    apart = config.per_channel_activations or config.equalization
    per_channel = frozenset(name for name in formats if apart and len(net.types[name].shape) == 3)
    watched = {name: Histogram(net.types[name].channels if name in per_channel else None) for name in formats}
    for start in progress(range(0, len(samples), BATCH), "calibrating", show):
        result = net.run(np.asarray(samples[start : start + BATCH], np.float32), keep=watched)
        for name, histogram in watched.items():
            histogram.update(result.tensors[name])
    return Ranges(watched, formats, config.ranges, per_channel)
