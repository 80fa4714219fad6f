"""Cycles that layers take: equations fitted to layers measured on AKD1500; devices hold their constants.

Source: our regression on 97 published layer rows of nine runs (mean error 4.1 % where a network family is
left out). A convolution's cost grows with its events, whatever its stride and however many of its weights are
zero; border events cost as much as others. The input unit and fully connected layers do not use sparsity.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from spica.hardware.device import Device


def convolution_cycles(device: Device, area: int, filters: int, events: NDArray, rows: NDArray) -> NDArray[np.float64]:
    """Cycles of one NP for a band of a convolution.

    Args:
        area: taps of the kernel.
        filters: filters that the NP holds.
        events: non-zero inputs it receives, halo included.
        rows: rows of single channels among them that hold at least one event.
    """
    products = area * filters * (events / device.products_per_cycle + device.row_cycles * rows)
    return products + device.event_cycles * events + device.layer_cycles


def input_unit_cycles(device: Device, macs: int, filters: int) -> float:
    """Cycles of the input-convolution unit for ``macs`` multiply-accumulates over all ``filters``."""
    return device.input_unit_cycles * (macs // filters) * -(-filters // device.input_unit_filters)


def dense_cycles(device: Device, weights: int, external: bool) -> float:
    """Cycles of a fully connected layer of that many weights, which external memory holds or the NP."""
    if external:
        return device.external_dense_cycles * weights + device.external_dense_start_cycles
    return device.dense_cycles * weights + device.dense_start_cycles


def stream_interval(cycles: Sequence[float]) -> float:
    """Cycles between the results of a stream of samples, given those of each layer in order.

    A layer and the one after it cannot work on two samples at once, so the slowest neighbours set the pace.
    """
    return max([a + b for a, b in pairwise(cycles)] or cycles, default=0.0)
