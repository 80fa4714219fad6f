"""Cycles that layers take: equations fitted to layers measured on AKD1500; devices hold their constants.

Sources: the vendor's Apache-2.0 repository Brainchip-Inc/brainchip_devhub (2026) and our fit, both in
docs/explanation/hardware-model.md. A convolution's cost grows with its events, whatever its stride and however many
of its weights are zero; border events cost as much as others. The input unit and fully connected layers do not use
sparsity. A dense layer on tokens is a 1x1 convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.hardware.cost.activity import Activity
from spica.hardware.device.schema import Device
from spica.network.layer import Facts

INPUT, DENSE = "input_convolution", "fully_connected"

TOKENS = ("attention", "normalization")
"""Kinds of layers that only work on tokens. Nothing is published of their cost; that of their products is assumed."""

WITHOUT_SPARSITY = (INPUT, DENSE, *TOKENS)
"""Kinds of layers that compute zeros too."""


def layer_cycles(
    device: Device, kind: str, facts: Facts, rows: Sequence[range], filters: int, activity: Activity, bands: int
) -> NDArray[np.float64]:
    """Cycles of each sample in some bands of a layer: those of the NP that has most to do.

    Args:
        kind: the hardware's name of the layer.
        facts: what hardware must know of it.
        rows: input rows of each band, halo included.
        filters: filters of the largest group.
        activity: what it receives.
        bands: into how many its rows are cut.
    """
    if kind == INPUT:
        cycles = (
            device.input_unit_cycles * (facts.macs // facts.filters) * -(-facts.filters // device.input_unit_filters)
        )
        return np.full(activity.samples, cycles)
    if kind == DENSE:
        return np.full(activity.samples, dense_cycles(device, facts, filters))
    if kind in TOKENS:
        share = filters / max(facts.filters, 1) / bands
        cycles = facts.macs / device.products_per_cycle + device.output_cycles * facts.outputs
        return np.full(activity.samples, share * cycles + device.layer_cycles)
    taps, received = facts.fan_out * filters / facts.filters, (activity.events, activity.runs)
    outputs = facts.outputs * filters / facts.filters / bands
    by_band = [
        _np_cycles(device, taps, outputs, *(a[:, band.start : band.stop].sum(axis=1) for a in received))
        for band in rows
    ]
    return np.max(by_band, axis=0)


def _np_cycles(device: Device, taps: float, outputs: float, events: NDArray, runs: NDArray) -> NDArray[np.float64]:
    """Cycles of an NP for ``events`` in ``runs``, each with ``taps`` products to make, and for its ``outputs``."""
    products = taps * (events / device.products_per_cycle + device.row_cycles * runs)
    beside = device.event_cycles * events + device.output_cycles * outputs * (events > 0)
    return products + beside + device.layer_cycles


def dense_cycles(device: Device, facts: Facts, filters: int) -> float:
    """Cycles of ``filters`` of a fully connected layer, whose weights an NP holds or else external memory."""
    weights = facts.macs * filters / facts.filters
    if reads_external_memory(device, facts):
        return device.external_dense_cycles * weights + device.external_dense_start_cycles
    return device.dense_cycles * weights + device.dense_start_cycles


def reads_external_memory(device: Device, facts: Facts) -> bool:
    """Whether the weights of a fully connected layer are more than an NP holds."""
    return facts.weight_bits_per_filter * facts.filters > 8 * device.weight_memory_bytes


def stream_interval(cycles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cycles between the results of a stream, given those of each layer in order and each sample ``(layers, N)``.

    A layer and the one after it cannot work on two samples at once, so the slowest neighbours set the pace.
    """
    return cycles[0] if len(cycles) == 1 else (cycles[:-1] + cycles[1:]).max(axis=0)
