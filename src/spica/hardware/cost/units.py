"""Hardware units: each owns what its work takes, in cycles and in energy. Devices hold the constants.

Sources: the vendor's Apache-2.0 repository Brainchip-Inc/brainchip_devhub (2026) and our fit, both in
docs/hardware-model.md. The equations of cycles are fitted to layers measured on AKD1500. Dynamic energy there is 5.1 pJ
a synapse operation for 3x3 kernels, whatever the mapping, so idle NPs and halo rows are not charged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from spica.hardware.cost.activity import Activity
from spica.hardware.device.schema import Device
from spica.hardware.mapping.placement import Placement
from spica.hardware.spec import LayerSpec, OpType

SMALL_KERNEL = 9
"""Taps of the largest kernel for which ``Device.sop_pj`` was fitted."""

FITTED_BITS = 4
"""Weight bits of the networks for which it was."""


class Unit(Protocol):
    """A kind of hardware unit that computes layers."""

    uses_sparsity: ClassVar[bool]
    """Whether zeros cost it nothing."""

    def cycles(
        self, device: Device, place: Placement, rows: Sequence[range], filters: int, activity: Activity
    ) -> NDArray[np.float64]:
        """Return the cycles of each sample ``(N,)`` in some bands of a layer: those of the NP that has most to do.

        Args:
            device: holds the constants.
            place: the layer.
            rows: input rows of each of these bands, halo included.
            filters: filters of the largest group.
            activity: what the layer receives.
        """
        ...

    def energy(self, device: Device, spec: LayerSpec, sops: NDArray) -> NDArray[np.float64]:
        """Return the dynamic energy (microjoules) of each sample ``(N,)``, whose synapse operations are ``sops``."""
        ...


class EventUnit:
    """An NP that computes events, and looks at each potential once.

    A convolution's cost grows with its events, whatever its stride and however many of its weights are zero; border
    events cost as much as others. A dense layer on tokens is a 1x1 convolution.
    """

    uses_sparsity: ClassVar[bool] = True

    def cycles(
        self, device: Device, place: Placement, rows: Sequence[range], filters: int, activity: Activity
    ) -> NDArray[np.float64]:
        """Return the cycles for the events of each band, each with products to make, and for the outputs."""
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

    def energy(self, device: Device, spec: LayerSpec, sops: NDArray) -> NDArray[np.float64]:
        """Charge synapse operations; part of each reads the weight and grows with its bits."""
        each = device.sop_pj if spec.taps <= SMALL_KERNEL else device.large_kernel_sop_pj
        bits = spec.weight_bits or FITTED_BITS
        return sops * (each * (1 + device.weight_energy_share * (bits / FITTED_BITS - 1))) * 1e-6


class InputUnit:
    """The input-convolution unit beside the mesh, which computes zeros too."""

    uses_sparsity: ClassVar[bool] = False

    def cycles(
        self, device: Device, place: Placement, rows: Sequence[range], filters: int, activity: Activity
    ) -> NDArray[np.float64]:
        """Return the cycles for all products, some filters together."""
        spec = place.spec
        together = -(-spec.filters // device.input_unit_filters)
        return np.full(activity.samples, device.input_unit_cycles * (spec.macs // spec.filters) * together)

    def energy(self, device: Device, spec: LayerSpec, sops: NDArray) -> NDArray[np.float64]:
        """Charge multiply-accumulates."""
        return np.full(len(sops), spec.macs * device.input_unit_pj * 1e-6)


class DenseUnit:
    """An NP that computes a fully connected layer, zeros too; weights that it cannot hold are read from outside."""

    uses_sparsity: ClassVar[bool] = False

    def cycles(
        self, device: Device, place: Placement, rows: Sequence[range], filters: int, activity: Activity
    ) -> NDArray[np.float64]:
        """Return the cycles for all weights of these filters, and for the start."""
        weights = place.spec.macs * filters / place.spec.filters
        if place.external_weights:
            cycles = device.external_dense_cycles * weights + device.external_dense_start_cycles
        else:
            cycles = device.dense_cycles * weights + device.dense_start_cycles
        return np.full(activity.samples, cycles)

    def energy(self, device: Device, spec: LayerSpec, sops: NDArray) -> NDArray[np.float64]:
        """Charge multiply-accumulates."""
        return np.full(len(sops), spec.macs * device.dense_pj * 1e-6)


class TokenUnit:
    """An NP that works on tokens, zeros too. Nothing is published of its cost; that of its products is assumed."""

    uses_sparsity: ClassVar[bool] = False

    def cycles(
        self, device: Device, place: Placement, rows: Sequence[range], filters: int, activity: Activity
    ) -> NDArray[np.float64]:
        """Return the cycles for its share of all products and outputs."""
        spec = place.spec
        share = filters / max(spec.filters, 1) / len(place.bands)
        cycles = spec.macs / device.products_per_cycle + device.output_cycles * spec.outputs
        return np.full(activity.samples, share * cycles + device.layer_cycles)

    def energy(self, device: Device, spec: LayerSpec, sops: NDArray) -> NDArray[np.float64]:
        """Charge multiply-accumulates as in a fully connected layer."""
        return np.full(len(sops), spec.macs * device.dense_pj * 1e-6)


class TransferUnit:
    """Direct memory access and links: loads the weights of the next pass, carries packets between devices."""

    def cycles(self, device: Device, loaded_bytes: int, crossings: float) -> float:
        """Return the cycles of a sample's transfers."""
        return loaded_bytes * device.reload_cycles + crossings / device.chip_link_events

    def energy(self, device: Device, loaded_bytes: int, crossings: float) -> float:
        """Return the dynamic energy (microjoules) of a sample's transfers."""
        return (loaded_bytes * device.reload_pj + crossings * device.chip_link_pj) * 1e-6


TRANSFERS = TransferUnit()
_EVENTS, _TOKENS = EventUnit(), TokenUnit()
_UNITS: dict[OpType, Unit] = {
    OpType.INPUT_CONVOLUTION: InputUnit(),
    OpType.FULLY_CONNECTED: DenseUnit(),
    OpType.ATTENTION: _TOKENS,
    OpType.NORMALIZATION: _TOKENS,
}


def unit_of(op_type: OpType) -> Unit:
    """Return the unit that computes layers of this type."""
    return _UNITS.get(op_type, _EVENTS)
