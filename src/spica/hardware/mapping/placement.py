"""Placement: the tiles of layers, the processors of the mesh that hold them, and the passes in which they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spica.hardware.device.schema import Device
from spica.hardware.spec import LayerSpec, OpType
from spica.network import Network
from spica.semantics.primitives import Padding
from spica.util.cached import cached_property
from spica.util.renamed import renamed


class NP(NamedTuple):
    """A neural processor: its device among those that share the network, its node's row and column, its slot there."""

    chip: int
    row: int
    column: int
    slot: int


@dataclass(frozen=True)
class Band:
    """Input rows that one NP holds, halo included, and the padding with which they make its output rows.

    Where ``padding`` is ``None`` it is the layer's own.
    """

    rows: range
    padding: Padding | None = None
    pool_padding: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True, kw_only=True)
class Placement:
    """One layer on the device."""

    layer: str
    spec: LayerSpec  # what hardware must know of it
    pass_index: int  # the pass in which it runs, from 0
    bands: tuple[Band, ...]  # input rows of each band; one band of all rows where the layer is not cut
    groups: tuple[range, ...]  # filters of each group
    nps: tuple[NP, ...] = ()  # band by band and in a band group by group; none in the input-convolution unit
    external_weights: bool = False  # whether its weights are read from external memory at every inference

    kind, turn = renamed("op_type"), renamed("pass_index")

    @property
    def op_type(self) -> OpType:
        """Type of the layer to the hardware."""
        return self.spec.op_type

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights that its NPs are loaded with: each holds those of its filters, and all that filters share.

        Weights in external memory are not among them.
        """
        if self.external_weights:
            return 0
        bits = self.spec.weight_bits_per_filter * self.spec.filters + self.spec.shared_weight_bits * len(self.groups)
        return -(-bits // 8) * len(self.bands)


@dataclass(frozen=True)
class Loads:
    """Weights that are loaded for every sample, where a network runs in several passes; none in a single pass."""

    first_bytes: int = 0  # of the first pass, which are loaded before the chip starts
    later_bytes: int = 0  # of the others
    later_nps: int = 0  # NPs that these go to

    @property
    def total_bytes(self) -> int:
        """Bytes of all passes."""
        return self.first_bytes + self.later_bytes


@dataclass(eq=False, repr=False)
class Schedule:
    """A network's layers on a device, in the network's order, and how they follow one another."""

    network: Network
    device: Device
    placements: tuple[Placement, ...]
    mode: str = "minimal"  # how NPs were given out: "minimal", "all" or "fastest"
    chips: int = 1  # devices that share the network

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
    def loads(self) -> Loads:
        """Weights that are loaded for each sample."""
        if self.passes == 1:
            return Loads()
        later = [place for place in self.placements if place.pass_index]
        return Loads(
            first_bytes=sum(place.weight_bytes for place in self.placements if not place.pass_index),
            later_bytes=sum(place.weight_bytes for place in later),
            later_nps=sum(len(place.nps) for place in later),
        )


INPUT_UNIT = (0, 0)
"""Row and column of the node beside which the input-convolution unit is assumed to be."""


def coordinates(device: Device) -> NDArray[np.int64]:
    """Return row and column of each NP's node, NPs counted node by node along the mesh: to and fro, to stay near."""
    node = np.arange(device.nps) // device.nps_per_node
    row, column = np.divmod(node, device.mesh_columns)
    return np.stack([row, np.where(row % 2, device.mesh_columns - 1 - column, column)], axis=1)


SMALLEST_GAIN = 1e-3
"""Exchanges that save less than this share of the whole are not worth the search."""


def arrange(device: Device, traffic: NDArray[np.float64], from_input: NDArray[np.float64]) -> list[int]:
    """Choose an NP for each tile, so that little traffic goes far: the wire length is made small by exchanges.

    It starts with the tiles in order along the mesh and exchanges the pair of NPs that saves most until none does.

    Args:
        device: holds the mesh.
        traffic: events that tile i sends tile j ``(tiles, tiles)``.
        from_input: events that each tile receives from the input-convolution unit ``(tiles,)``.

    Returns:
        The number of each tile's NP.
    """
    tiles, row = len(traffic), device.mesh_columns * device.nps_per_node
    n = min(device.nps, -(-tiles // row) * row)  # no farther than the rows of the mesh that hold all tiles
    places = coordinates(device)[:n]
    distance = np.abs(places[:, None] - places[None]).sum(axis=2)
    flow = np.zeros((n, n))
    flow[:tiles, :tiles] = traffic + traffic.T
    entry = np.zeros(n)
    entry[:tiles] = from_input
    reach = np.abs(places - INPUT_UNIT).sum(axis=1)
    at = np.arange(n)  # the NP of each tile; tiles beyond the last are empty NPs
    for _ in range(2 * tiles):
        here = distance[np.ix_(at, at)]
        cost = flow @ here  # cost[i, j]: wire length of tile i's traffic from tile j's NP
        own = np.diag(cost)
        fixed = np.outer(entry, reach[at])
        # A tile moved to the other's NP sends that tile nothing over the mesh, nor the other it: 2 x their own traffic.
        change = cost - own[:, None] + cost.T - own[None] + 2 * flow * here
        change += fixed - np.diag(fixed)[:, None] + fixed.T - np.diag(fixed)[None]
        best = np.unravel_index(np.argmin(change), change.shape)
        if -change[best] <= SMALLEST_GAIN * (own.sum() / 2 + np.trace(fixed)):
            break
        i, j = best
        at[i], at[j] = at[j], at[i]
    return at[:tiles].tolist()
