"""Where layers run: the pieces they are cut into, the processors that hold them, and what those send each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spica.hardware.device.schema import Device
from spica.hardware.mapping.partition import Band


class NP(NamedTuple):
    """A neural processor: its device among those that share the network, its node's row and column, its slot there."""

    chip: int
    row: int
    column: int
    slot: int


@dataclass(frozen=True, kw_only=True)
class Placement:
    """One layer on the device.

    Attributes:
        layer: its name.
        kind: the hardware's name of it.
        turn: the pass in which it runs, from 0.
        bands: input rows of each band; one band of all rows where the layer is not cut.
        groups: filters of each group.
        nps: the NPs, band by band and in a band group by group; none in the input-convolution unit.
    """

    layer: str
    kind: str
    turn: int
    bands: tuple[Band, ...]
    groups: tuple[range, ...]
    nps: tuple[NP, ...] = ()


INPUT_UNIT = (0, 0)
"""Row and column of the node beside which the input-convolution unit is assumed to be."""


def coordinates(device: Device) -> NDArray[np.int64]:
    """Row and column of each NP's node, NPs counted node by node along the mesh: to and fro, so that it stays near."""
    node = np.arange(device.nps) // device.nps_per_node
    row, column = np.divmod(node, device.mesh_columns)
    return np.stack([row, np.where(row % 2, device.mesh_columns - 1 - column, column)], axis=1)


SMALLEST_GAIN = 1e-3
"""Exchanges that save less than this share of the whole are not worth the search."""


def arrange(device: Device, traffic: NDArray[np.float64], from_input: NDArray[np.float64]) -> list[int]:
    """An NP for each piece, so that little traffic goes far: sum of events x hops, made small by exchanges.

    It starts with the pieces in order along the mesh and exchanges the pair of NPs that saves most until none does.

    Args:
        traffic: events that piece i sends piece j ``(pieces, pieces)``.
        from_input: events that each piece receives from the input-convolution unit ``(pieces,)``.

    Returns:
        The number of each piece's NP.
    """
    pieces, row = len(traffic), device.mesh_columns * device.nps_per_node
    n = min(device.nps, -(-pieces // row) * row)  # no farther than the rows of the mesh that hold all pieces
    places = coordinates(device)[:n]
    distance = np.abs(places[:, None] - places[None]).sum(axis=2)
    flow = np.zeros((n, n))
    flow[:pieces, :pieces] = traffic + traffic.T
    entry = np.zeros(n)
    entry[:pieces] = from_input
    reach = np.abs(places - INPUT_UNIT).sum(axis=1)
    at = np.arange(n)  # the NP of each piece; pieces beyond the last are empty NPs
    for _ in range(2 * pieces):
        here = distance[np.ix_(at, at)]
        cost = flow @ here  # cost[i, j]: what piece i's traffic would travel from piece j's NP
        own = np.diag(cost)
        fixed = np.outer(entry, reach[at])
        # A piece moved to the other's NP no longer travels to that piece, nor the other to it: 2 x their own traffic.
        change = cost - own[:, None] + cost.T - own[None] + 2 * flow * here
        change += fixed - np.diag(fixed)[:, None] + fixed.T - np.diag(fixed)[None]
        best = np.unravel_index(np.argmin(change), change.shape)
        if -change[best] <= SMALLEST_GAIN * (own.sum() / 2 + np.trace(fixed)):
            break
        i, j = best
        at[i], at[j] = at[j], at[i]
    return at[:pieces].tolist()


def travel(device: Device, numbers: Sequence[int], traffic: NDArray, from_input: NDArray) -> float:
    """Sum of events x hops that ``arrange`` makes small."""
    places = coordinates(device)[list(numbers)]
    distance = np.abs(places[:, None] - places[None]).sum(axis=2)
    return float((traffic * distance).sum() + from_input @ np.abs(places - INPUT_UNIT).sum(axis=1))
