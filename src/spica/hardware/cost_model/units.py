"""Hardware units: each owns what its work takes, in cycles and in energy. Devices hold the constants.

Sources: measurements of an AKD1500 in the vendor's Apache-2.0 repository Brainchip-Inc/brainchip_devhub (2026), and our
fit of them, row by row in docs/explanation/hardware-model.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

import numpy as np
from numpy.typing import NDArray

from spica.hardware.cost_model.activity import Activity
from spica.hardware.device.schema import Device
from spica.hardware.mapping.placement import Loads, Placement
from spica.hardware.spec import LayerSpec, OpType

SMALL_KERNEL = 9
"""Taps of the largest kernel whose energy was measured apart from that of larger ones."""

FITTED_BITS = 4
"""Weight bits of the networks that energies were fitted to."""

Rows = Sequence[range]
Floats = NDArray[np.float64]


def event_cycles(device: Device, spec: LayerSpec) -> float:
    """Return the cycles that an event takes in each filter, by the layer's kernel.

    Kernels of another number of taps than the measured ones (1, 9, 25, 49) lie between these on a line of logarithms.
    """
    if not spec.taps:  # a recurrence has states, which are looked at whether or not there are events
        return 0.0
    if spec.channelwise:
        return device.depthwise_cycles * spec.taps
    kernels = {1: device.kernel1_cycles, 9: device.kernel3_cycles, 25: device.kernel5_cycles, 49: device.kernel7_cycles}
    if spec.op_type is OpType.SEPARABLE_CONVOLUTION:
        kernels[25] = device.separable5_cycles
    if spec.taps > max(kernels):
        return kernels[max(kernels)] * spec.taps / max(kernels)
    return float(np.exp(np.interp(log(spec.taps), np.log([*kernels]), np.log([*kernels.values()]))))


class EventUnit:
    """An NP that computes events, filters in small groups, and looks at each potential once.

    A convolution's cost grows with its events, whatever its stride and however many of its weights are zero; border
    events cost as much as others, and so does a row of a channel that holds any. A dense layer on tokens is a 1x1
    convolution.

    Attributes:
        uses_sparsity: whether zeros cost the unit nothing.
    """

    uses_sparsity = True

    def cycles(self, device: Device, place: Placement, rows: Rows, filters: int, activity: Activity) -> Floats:
        """Return the cycles of each sample ``(N,)`` in some bands of a layer: those of the NP that has most to do.

        Args:
            device: holds the constants.
            place: the layer.
            rows: input rows of each of these bands, halo included.
            filters: filters of the largest group.
            activity: what the layer receives.
        """
        spec, bands = place.spec, len(place.bands)
        together = -(-filters // device.filter_step) * device.filter_step
        # Where events were counted row by row, the counts themselves say which band is the busiest.
        busier = 1.0 if activity.counted else 1 + device.band_imbalance * log(bands)
        pixels = spec.outputs / max(spec.filters, 1) / bands
        weights = spec.weight_bits_per_filter / (spec.weight_bits or FITTED_BITS) * filters
        start = device.layer_cycles + device.weight_cycles * weights
        by_event = device.event_cycles if spec.taps > 1 and not spec.channelwise else 0.0
        by_band = []
        for band in rows:
            events, runs = (a[:, band.start : band.stop].sum(axis=1) for a in (activity.events, activity.runs))
            if spec.channelwise:  # an event reaches the filter of its own channel only
                events, runs = events / spec.filters, runs / spec.filters
            work = event_cycles(device, spec) * busier * (events + device.run_events * runs)
            beside = device.output_cycles * pixels + device.input_row_cycles * len(band)
            by_filter = work + beside * (events > 0)
            by_band.append(together * by_filter + by_event * events + start)
        return np.max(by_band, axis=0)

    def energy(self, device: Device, spec: LayerSpec, sops: Floats) -> Floats:
        """Return the dynamic energy (microjoules) of each sample ``(N,)``.

        Part of an operation's energy is spent only where the weight is not zero, and part grows with its bits.

        Args:
            device: holds the constants.
            spec: the layer.
            sops: synapse operations of each sample, those of halo rows included ``(N,)``.
        """
        each = device.sop_pj + device.weight_pj * spec.weight_density
        if spec.taps > SMALL_KERNEL:
            each *= device.large_kernel_factor
        bits = spec.weight_bits or FITTED_BITS
        return sops * (each * (1 + device.weight_energy_share * (bits / FITTED_BITS - 1))) * 1e-6


class DenseUnit(EventUnit):
    """An NP that computes a fully connected layer: event by event, or all weights where they are read from outside."""

    def cycles(self, device: Device, place: Placement, rows: Rows, filters: int, activity: Activity) -> Floats:
        """Return the cycles for these filters, and for the start."""
        spec = place.spec
        if place.external_weights:
            inputs = spec.macs / spec.filters
            each = device.external_dense_cycles * inputs + device.external_dense_filter_cycles
            return np.full(len(activity.events), filters * each)
        return device.dense_cycles * activity.events.sum(axis=1) * filters + device.dense_start_cycles

    def energy(self, device: Device, spec: LayerSpec, sops: Floats) -> Floats:
        """Charge every synapse operation."""
        return sops * device.dense_pj * 1e-6


class InputUnit(EventUnit):
    """The input-convolution unit beside the mesh: it makes a pixel of some filters together, zeros or not."""

    uses_sparsity = False

    def cycles(self, device: Device, place: Placement, rows: Rows, filters: int, activity: Activity) -> Floats:
        """Return the cycles for all pixels before pooling."""
        spec = place.spec
        together = -(-spec.filters // device.input_unit_filters)
        pixels = spec.outputs // spec.filters
        return np.full(len(activity.events), device.input_unit_cycles * pixels * together)

    def energy(self, device: Device, spec: LayerSpec, sops: Floats) -> Floats:
        """Charge every value that it makes."""
        return np.full(len(sops), spec.outputs * device.input_unit_pj * 1e-6)


class TokenUnit(EventUnit):
    """An NP that works on tokens, zeros too. Nothing is published of its cost; that of its products is assumed."""

    uses_sparsity = False

    def cycles(self, device: Device, place: Placement, rows: Rows, filters: int, activity: Activity) -> Floats:
        """Return the cycles for its share of all products and outputs."""
        spec = place.spec
        share = filters / max(spec.filters, 1) / len(place.bands)
        cycles = spec.macs * device.kernel1_cycles + device.output_cycles * spec.outputs
        return np.full(len(activity.events), share * cycles + device.layer_cycles)

    def energy(self, device: Device, spec: LayerSpec, sops: Floats) -> Floats:
        """Charge every multiply-accumulate."""
        return np.full(len(sops), spec.macs * device.dense_pj * 1e-6)


UNITS: dict[OpType, EventUnit] = dict.fromkeys(OpType, EventUnit()) | {
    OpType.INPUT_CONVOLUTION: InputUnit(),
    OpType.FULLY_CONNECTED: DenseUnit(),
    OpType.ATTENTION: TokenUnit(),
    OpType.NORMALIZATION: TokenUnit(),
}
"""The unit that computes layers of each op type."""


def transfer_cycles(device: Device, loads: Loads, crossings: float) -> float:
    """Return the cycles in which weights of later passes are loaded for a sample, and packets go between devices."""
    loading = loads.later_bytes * device.reload_cycles + loads.later_nps * device.reload_np_cycles
    return loading + crossings / device.chip_link_events


def transfer_energy(device: Device, loads: Loads, crossings: float) -> float:
    """Return the dynamic energy (microjoules) of loading all passes, and of packets between devices."""
    return (loads.total_bytes * device.reload_pj + crossings * device.chip_link_pj) * 1e-6


def host_ms(device: Device, loads: Loads, input_bytes: int) -> float:
    """Return the milliseconds that a host adds to a sample that it sends alone.

    It loads the weights of the first pass, outside the chip's own counter of cycles.
    """
    return device.host_ms + (input_bytes * device.host_input_ns + loads.first_bytes * device.host_reload_ns) * 1e-6
