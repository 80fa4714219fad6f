"""Energy that layers take: counted operations times an energy each, from the device's file.

Source: on AKD1500 dynamic energy is 5.1 pJ a synapse operation for 3x3 kernels, whatever the mapping
(docs/hardware-model.md), so idle NPs and halo rows are not charged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spica.hardware.cost.timing import INPUT, WITHOUT_SPARSITY
from spica.hardware.device.schema import Device
from spica.network.layer import Facts

SMALL_KERNEL = 9
"""Taps of the largest kernel for which ``Device.sop_pj`` was fitted."""

FITTED_BITS = 4
"""Weight bits of the networks for which it was."""


def layer_energy(device: Device, kind: str, facts: Facts, sops: NDArray) -> NDArray[np.float64]:
    """Dynamic energy (microjoules) of a layer for each sample, whose synapse operations are ``sops`` (N,).

    Layers that do not use sparsity are charged by multiply-accumulate.
    """
    if kind == INPUT:
        return np.full(len(sops), facts.macs * device.input_unit_pj * 1e-6)
    if kind in WITHOUT_SPARSITY:
        return np.full(len(sops), facts.macs * device.dense_pj * 1e-6)
    return sops * sop_energy(device, facts) * 1e-6


def sop_energy(device: Device, facts: Facts) -> float:
    """Picojoules of a synapse operation; part of it reads the weight and grows with its bits."""
    area = facts.fan_out // facts.filters
    energy = device.sop_pj if area <= SMALL_KERNEL else device.large_kernel_sop_pj
    bits = facts.limits.get("weight_bits") or FITTED_BITS
    return energy * (1 + device.weight_energy_share * (bits / FITTED_BITS - 1))
