"""Sensitivity: how much what a network costs hangs on each figure of its device."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spica.hardware.cost_model.activity import TYPICAL_DENSITY
from spica.hardware.device.schema import ERRORS, FIGURES
from spica.hardware.simulate import MappedNetwork
from spica.util.table import table

RAISE = 1.5
"""By how much each figure is raised."""

LEAST = 0.01
"""Changes below this share are not worth a line."""

COSTS = {"latency_ms": "latency", "energy_uj": "energy", "power_mw": "power"}
"""The costs that are looked at, and what tables call them."""


@dataclass(frozen=True)
class Influence:
    """What a figure half as large again does to the costs of a network."""

    figure: str
    source: str  # where the figure comes from, or "assumed"
    changes: dict[str, float]  # relative change of each of ``COSTS``


@dataclass(frozen=True)
class Sensitivity:
    """The figures that a network's costs on a device hang on, the strongest first."""

    network: str
    device: str
    influences: tuple[Influence, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return dataclasses.asdict(self) | {"raised": RAISE}

    def __str__(self) -> str:
        rows = [("figure", *(f"{words}" for words in COSTS.values()), "source")]
        rows += [(i.figure, *(f"{i.changes[name]:+.0%}" for name in COSTS), i.source) for i in self.influences]
        return (
            f"{self.network} on {self.device}: what each figure half as large again would change (modelled)\n"
            + table([(row[0], row[-1], *row[1:-1]) for row in rows], left=2)
        )


def sensitivity(chip: MappedNetwork, density: float | Mapping[str, float] = TYPICAL_DENSITY) -> Sensitivity:
    """Return how much the costs of a mapped network hang on each figure of time and energy; its mapping stays.

    Args:
        chip: the network on its device.
        density: share of non-zero values that layers receive.

    Raises:
        SpicaError: for another density, or an unknown layer.
    """
    device = chip.device
    names = [name for name, kind in FIGURES.items() if kind == "float" and name not in ERRORS]
    found = []
    before = chip.estimate(density)
    for name in names:
        changed = dataclasses.replace(device, **{name: getattr(device, name) * RAISE})
        after = MappedNetwork(chip.network, changed, chip.placements, chip.mode, chip.chips).estimate(density)
        changes = {cost: getattr(after, cost) / getattr(before, cost) - 1 for cost in COSTS}
        if max(map(abs, changes.values())) >= LEAST:
            found.append(Influence(name, device.sources[name], changes))
    found.sort(key=lambda i: -max(map(abs, i.changes.values())))
    return Sensitivity(chip.network.name, device.name, tuple(found))
