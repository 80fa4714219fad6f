"""Hardware units: each owns what its work takes, in cycles and in energy. Devices hold the constants.

Sources: the vendor's Apache-2.0 repository Brainchip-Inc/brainchip_devhub (2026) and our fit, both in
docs/hardware-model.md. The equations of cycles are fitted to layers measured on AKD1500. Dynamic energy there is 5.1 pJ
a synapse operation for 3x3 kernels, whatever the mapping, so idle NPs and halo rows are not charged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.hardware.cost_model.activity import Activity
from spica.hardware.device.schema import Device
from spica.hardware.mapping.placement import Placement
from spica.hardware.spec import LayerSpec, OpType

SMALL_KERNEL = 9
"""Taps of the largest kernel for which ``Device.sop_pj`` was fitted."""

FITTED_BITS = 4
"""Weight bits of the networks for which it was."""

Rows = Sequence[range]
Floats = NDArray[np.float64]


class EventUnit:
    """An NP that computes events, and looks at each potential once.

    A convolution's cost grows with its events, whatever its stride and however many of its weights are zero; border
    events cost as much as others. A dense layer on tokens is a 1x1 convolution.

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
        spec, received = place.spec, (activity.events, activity.runs)
        taps = spec.fan_out * filters / spec.filters
        outputs = spec.outputs * filters / spec.filters / len(place.bands)
        by_band = []
        for band in rows:
            events, runs = (a[:, band.start : band.stop].sum(axis=1) for a in received)
            products = taps * (events / device.products_per_cycle + device.row_cycles * runs)
            beside = device.event_cycles * events + device.output_cycles * outputs * (events > 0)
            by_band.append(products + beside + device.layer_cycles)
        return np.max(by_band, axis=0)

    def energy(self, device: Device, spec: LayerSpec, sops: Floats) -> Floats:
        """Return the dynamic energy (microjoules) of each sample ``(N,)``, whose synapse operations are ``sops``.

        Part of an operation reads the weight and grows with its bits.
        """
        each = device.sop_pj if spec.taps <= SMALL_KERNEL else device.large_kernel_sop_pj
        bits = spec.weight_bits or FITTED_BITS
        return sops * (each * (1 + device.weight_energy_share * (bits / FITTED_BITS - 1))) * 1e-6


class DenseUnit(EventUnit):
    """An NP that computes a fully connected layer, zeros too; weights that it cannot hold are read from outside.

    Attributes:
        mac_pj: the device's figure for the energy of a multiply-accumulate.
    """

    uses_sparsity = False
    mac_pj = "dense_pj"

    def cycles(self, device: Device, place: Placement, rows: Rows, filters: int, activity: Activity) -> Floats:
        """Return the cycles for all weights of these filters, and for the start."""
        each, start = device.dense_cycles, device.dense_start_cycles
        if place.external_weights:
            each, start = device.external_dense_cycles, device.external_dense_start_cycles
        return np.full(len(activity.events), each * (place.spec.macs * filters / place.spec.filters) + start)

    def energy(self, device: Device, spec: LayerSpec, sops: Floats) -> Floats:
        """Charge every multiply-accumulate."""
        return np.full(len(sops), spec.macs * getattr(device, self.mac_pj) * 1e-6)


class InputUnit(DenseUnit):
    """The input-convolution unit beside the mesh: it computes zeros too, some filters together."""

    mac_pj = "input_unit_pj"

    def cycles(self, device: Device, place: Placement, rows: Rows, filters: int, activity: Activity) -> Floats:
        """Return the cycles for all products."""
        spec = place.spec
        together = -(-spec.filters // device.input_unit_filters)
        return np.full(len(activity.events), device.input_unit_cycles * (spec.macs // spec.filters) * together)


class TokenUnit(DenseUnit):
    """An NP that works on tokens, zeros too. Nothing is published of its cost; that of its products is assumed."""

    def cycles(self, device: Device, place: Placement, rows: Rows, filters: int, activity: Activity) -> Floats:
        """Return the cycles for its share of all products and outputs."""
        spec = place.spec
        share = filters / max(spec.filters, 1) / len(place.bands)
        cycles = spec.macs / device.products_per_cycle + device.output_cycles * spec.outputs
        return np.full(len(activity.events), share * cycles + device.layer_cycles)


UNITS: dict[OpType, EventUnit] = dict.fromkeys(OpType, EventUnit()) | {
    OpType.INPUT_CONVOLUTION: InputUnit(),
    OpType.FULLY_CONNECTED: DenseUnit(),
    OpType.ATTENTION: TokenUnit(),
    OpType.NORMALIZATION: TokenUnit(),
}
"""The unit that computes layers of each op type."""


def transfer_cycles(device: Device, loaded_bytes: int, crossings: float) -> float:
    """Return the cycles in which a sample's weights of the next passes are loaded, and packets go between devices."""
    return loaded_bytes * device.reload_cycles + crossings / device.chip_link_events


def transfer_energy(device: Device, loaded_bytes: int, crossings: float) -> float:
    """Return the dynamic energy (microjoules) of the same."""
    return (loaded_bytes * device.reload_pj + crossings * device.chip_link_pj) * 1e-6
