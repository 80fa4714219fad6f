"""Where one layer runs: the pieces it is cut into and the processors that hold them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from spica.hardware.device import Device
from spica.hardware.partition import Band


class NP(NamedTuple):
    """A neural processor: its node's row and column in the mesh, and its place in the node."""

    row: int
    column: int
    slot: int


@dataclass(frozen=True, kw_only=True)
class Placement:
    """One layer on the device.

    Attributes:
        layer: its name.
        kind: the hardware's name of it.
        bands: input rows of each band; none where the layer is not cut (input unit, fully connected).
        groups: filters of each group.
        nps: the NPs, band by band and in a band group by group; none in the input-convolution unit.
        external_weights: whether the weights are read from external memory at every inference.
    """

    layer: str
    kind: str
    bands: tuple[Band, ...] = ()
    groups: tuple[range, ...]
    nps: tuple[NP, ...] = ()
    external_weights: bool = False


def np_at(device: Device, number: int) -> NP:
    """The NP of a number, counted node by node along the mesh: to and fro, so that it stays near."""
    node, slot = divmod(number, device.nps_per_node)
    row, column = divmod(node, device.mesh_columns)
    return NP(row, column if row % 2 == 0 else device.mesh_columns - 1 - column, slot)
