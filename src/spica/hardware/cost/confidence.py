"""How far a modelled figure can be trusted: its tier, the reasons, and the band in which it lies in 90 % of cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spica.hardware.cost.energy import FITTED_BITS, SMALL_KERNEL
from spica.hardware.cost.timing import INPUT, TOKENS
from spica.hardware.device.schema import TIERS, Device
from spica.hardware.mapping.placement import Placement
from spica.network import Network

SMALL_NETWORK = 1_000_000
"""Cycles below which costs that the equations leave out, such as starting a layer, are felt."""


@dataclass(frozen=True)
class Trust:
    """Tier of a run's estimates, what takes them away from the networks that were fitted, and their errors.

    Attributes:
        tier: "calibrated", "interpolated", "transferred" or "speculative".
        reasons: in words.
        cycles_error: relative error of cycles and times, 90 % of cases.
        energy_factor: energies lie between value / factor and value x factor, 90 % of cases.
    """

    tier: str
    reasons: tuple[str, ...]
    cycles_error: float
    energy_factor: float

    def band(self, figure: str, value: float) -> tuple[float, float]:
        """Where a figure lies in 90 % of cases, by its name, such as "latency_ms" or "energy_uj"."""
        if figure.endswith(("_uj", "_mj", "_mw")):
            return value / self.energy_factor, value * self.energy_factor
        if figure == "fps":
            return value / (1 + self.cycles_error), value / (1 - self.cycles_error)
        return value * (1 - self.cycles_error), value * (1 + self.cycles_error)


def trust(
    net: Network, device: Device, placements: Sequence[Placement], passes: int, chips: int, cycles: float
) -> Trust:
    """Trust in the estimates of a network on a device, which take ``cycles`` in all."""
    reasons = []
    if passes > 1:
        reasons.append(f"{passes} passes")
    if chips > 1:
        reasons.append(f"{chips} devices, whose link is assumed")
    if cycles < SMALL_NETWORK:
        reasons.append("a small network")
    for place in placements:
        facts = net.facts(net[place.layer])
        if place.kind in TOKENS:
            reasons.append("layers of transformers, whose cost is assumed")
        if place.kind == INPUT or facts.filters == 0:
            continue
        area, bits = facts.fan_out // facts.filters, facts.limits.get("weight_bits")
        if area > SMALL_KERNEL:
            reasons.append("kernels larger than 3x3")
        if bits not in (None, FITTED_BITS):
            reasons.append(f"{bits}-bit weights")
    reasons = list(dict.fromkeys(reasons))
    near = not reasons
    tier = device.tier if near else max(device.tier, "interpolated", key=TIERS.index)
    return Trust(
        tier,
        tuple(reasons),
        device.cycles_error if near else device.far_cycles_error,
        device.energy_factor if near else device.far_energy_factor,
    )
