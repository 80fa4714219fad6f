"""Passes: which layers are on a device together, in what order, and the weights that are loaded between."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from spica.hardware.device.schema import Device
from spica.hardware.mapping.placement import Placement


@dataclass(frozen=True)
class Tiles:
    """Bands of rows and groups of filters that a layer is cut into; no band in the input-convolution unit."""

    bands: int
    groups: int

    @property
    def nps(self) -> int:
        """NPs that hold them, one each."""
        return self.bands * self.groups


def pack(device: Device, tiles: Mapping[str, Tiles]) -> list[list[str]]:
    """Return names of layers whose tiles fit a device together, in order and in the fewest bins."""
    bins: list[list[str]] = [[]]
    left = device.nps
    for name, need in tiles.items():
        if need.nps > left:
            bins.append([])
            left = device.nps
        bins[-1].append(name)
        left -= need.nps
    return bins


@dataclass(frozen=True, eq=False)
class Schedule:
    """Placed layers, and how they follow one another.

    Attributes:
        placements: where each layer runs, in the network's order.
        mode: how NPs were given out: "minimal", "all" or "fastest".
        chips: devices that share the network.
    """

    placements: tuple[Placement, ...]
    mode: str
    chips: int

    @cached_property
    def by_layer(self) -> dict[str, Placement]:
        """The placements by the names of their layers."""
        return {place.layer: place for place in self.placements}

    @cached_property
    def nps(self) -> int:
        """NPs in use, over all passes; the input-convolution unit is not among them."""
        return sum(len(place.nps) for place in self.placements)

    @cached_property
    def passes(self) -> int:
        """Passes in which the network runs."""
        return 1 + max((place.pass_index for place in self.placements), default=0)

    @cached_property
    def reload_bytes(self) -> int:
        """Bytes of weights that are loaded for each sample: none in a single pass, whose weights stay."""
        return sum(place.weight_bytes for place in self.placements) if self.passes > 1 else 0
