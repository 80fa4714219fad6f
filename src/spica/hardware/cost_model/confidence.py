"""Confidence in modelled figures: their tier, the reasons, and the band in which they lie in 90 % of cases."""

from __future__ import annotations

from dataclasses import dataclass

from spica.hardware.cost_model.units import FITTED_BITS, SMALL_KERNEL
from spica.hardware.device.schema import TIERS
from spica.hardware.mapping.placement import Schedule
from spica.hardware.spec import OpType

SMALL_NETWORK = 1_000_000
"""Cycles below which costs that the equations leave out, such as starting a layer, are felt."""


@dataclass(frozen=True)
class Confidence:
    """The confidence in a run's estimates."""

    tier: str  # one of TIERS
    reasons: tuple[str, ...]  # what takes the run away from the networks that were fitted, in words
    cycles_error: float  # relative error of cycles and times, 90 % of cases
    energy_factor: float  # energies lie between value / factor and value x factor, 90 % of cases

    def band(self, figure: str, value: float) -> tuple[float, float]:
        """Return where a figure lies in 90 % of cases, by its name, such as "latency_ms" or "energy_uj"."""
        if figure.endswith(("_uj", "_mj", "_mw")):
            return value / self.energy_factor, value * self.energy_factor
        if figure == "fps":
            return value / (1 + self.cycles_error), value / (1 - self.cycles_error)
        return value * (1 - self.cycles_error), value * (1 + self.cycles_error)


def judge(schedule: Schedule, cycles: float) -> Confidence:
    """Return the confidence in the estimates of a mapped network, which takes ``cycles`` in all."""
    device, reasons = schedule.device, []
    if schedule.passes > 1:
        reasons.append(f"{schedule.passes} passes")
    if schedule.chips > 1:
        reasons.append(f"{schedule.chips} devices, whose link is assumed")
    if cycles < SMALL_NETWORK:
        reasons.append("a small network")
    for place in schedule.placements:
        spec = place.spec
        if spec.op_type in (OpType.ATTENTION, OpType.NORMALIZATION):
            reasons.append("layers of transformers, whose cost is assumed")
        if spec.op_type is OpType.INPUT_CONVOLUTION or spec.filters == 0:
            continue
        if spec.taps > SMALL_KERNEL:
            reasons.append("kernels larger than 3x3")
        if spec.weight_bits not in (None, FITTED_BITS):
            reasons.append(f"{spec.weight_bits}-bit weights")
    if not reasons:
        return Confidence(device.tier, (), device.cycles_error, device.energy_factor)
    tier = max(device.tier, "interpolated", key=TIERS.index)
    return Confidence(tier, tuple(dict.fromkeys(reasons)), device.far_cycles_error, device.far_energy_factor)
