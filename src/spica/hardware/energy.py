"""Energy that layers take: counted operations times an energy each, from the device's file.

Source: on AKD1500 dynamic energy is 5.1 pJ a synapse operation for 3x3 kernels and 7.4 pJ for 5x5, whatever
the mapping, so idle NPs and halo rows are not charged.
"""

from __future__ import annotations

from spica.hardware.device import Device

SMALL_KERNEL = 9
"""Taps of the largest kernel for which ``Device.sop_pj`` was fitted."""


def layer_energy(device: Device, kind: str, area: int, sops: float, macs: int) -> float:
    """Dynamic energy (microjoules) of a layer for one sample.

    Args:
        kind: the hardware's name of the layer.
        area: taps of its kernel.
        sops: synapse operations: events x synapses that each reaches.
        macs: multiply-accumulates, for the units that do not use sparsity.
    """
    if kind == "input_convolution":
        return macs * device.input_unit_pj * 1e-6
    if kind == "fully_connected":
        return macs * device.dense_pj * 1e-6
    return sops * (device.sop_pj if area <= SMALL_KERNEL else device.large_kernel_sop_pj) * 1e-6
