"""Traffic on the mesh: how many event packets go from tile to tile, and over which links.

An event goes as one packet to each NP that needs it. Which nodes are neighbours, the order of routing and one packet
for each NP are assumed: the mesh's own rules are not public, and no published measurement shows it to be the limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spica.hardware.cost_model.activity import Activity
from spica.hardware.mapping.partition import split
from spica.hardware.mapping.placement import INPUT_UNIT, NP, Placement
from spica.network import Network

Link = tuple[int, tuple[int, int], tuple[int, int]]
"""A device and two neighbouring nodes, in the direction of the packets."""


def source(net: Network, tensor: str, placed: Mapping[str, Placement]) -> Placement | None:
    """Return the layer on NPs, or in the input unit, whose events a tensor holds; ``None`` if the host sends them."""
    while tensor not in placed:
        if not net[tensor].inputs:
            return None
        tensor = net[tensor].inputs[0]
    return placed[tensor]


def packets(place: Placement, origin: Placement, events: NDArray) -> NDArray[np.float64]:
    """Count the packets from each tile of ``origin`` to each of ``place``: ``(tiles, tiles)``.

    Args:
        place: the layer that receives.
        origin: the layer that sends.
        events: that ``place`` receives, by row and channel ``(H, C)``; one row where its input is flat.
    """
    shape = origin.spec.output_shape
    height, channels = shape[0], shape[-1]
    if len(events) == 1 and events.shape[1] != channels:  # flattened: rows in order, channels within each pixel
        events = events.reshape(height, -1, channels).sum(axis=1)
    groups = origin.groups if origin.groups[-1].stop == channels else (range(channels),) * len(origin.groups)
    readers = place.groups if place.spec.channelwise else (range(channels),) * len(place.groups)
    whole = [range(len(events))] * len(place.bands)
    bands = [band.rows for band in place.bands] if len(place.bands) > 1 else whole
    sent = _corners(split(len(events), len(origin.bands)), groups)[:, None]
    needed = _corners(bands, readers)[None]
    (bottom, right), (top, left) = np.minimum(sent, needed)[..., 2:].T, np.maximum(sent, needed)[..., :2].T
    top, left = np.minimum(top, bottom), np.minimum(left, right)  # nothing in common: no area
    total = np.pad(events.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    return (total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left]).T


def _corners(rows: Sequence[range], channels: Sequence[range]) -> NDArray[np.int64]:
    """Return first row, first channel, last row and last channel (both exclusive) of each tile ``(tiles, 4)``."""
    return np.array([(r.start, c.start, r.stop, c.stop) for r in rows for c in channels])


def tile_traffic(
    net: Network, places: Sequence[Placement], activity: Mapping[str, Activity]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the packets between the tiles of some layers ``(tiles, tiles)`` and to each from elsewhere ``(tiles,)``.

    What comes from elsewhere enters the mesh at the input unit.
    """
    placed = {place.layer: place for place in places}
    tiles, total = {}, 0
    for place in places:
        tiles[place.layer] = slice(total, total + len(place.nps))
        total += len(place.nps)
    traffic, entry = np.zeros((total, total)), np.zeros(total)
    for place in places:
        for tensor, events in zip(net[place.layer].inputs, activity[place.layer].by_channel):
            origin = source(net, tensor, placed)
            if origin is None or not origin.nps:
                entry[tiles[place.layer]] += events.sum() / len(place.bands)
            elif place.nps:
                traffic[tiles[origin.layer], tiles[place.layer]] += packets(place, origin, events)
    return traffic, entry


def route(a: NP, b: NP) -> Iterator[Link]:
    """Yield the links from one NP to another of the same device: along the row, then along the column."""
    row, column = a.row, a.column
    while (row, column) != (b.row, b.column):
        here = row, column
        if column != b.column:
            column += 1 if b.column > column else -1
        else:
            row += 1 if b.row > row else -1
        yield a.chip, here, (row, column)


class Traffic(NamedTuple):
    """Packets that a layer receives, of all samples of a run."""

    packets: float  # events, once for each NP that needs them
    hops: float  # links of the mesh that they cross, in all
    crossings: float  # packets that come from another device
    busiest: float  # packets over the link that carries most


def route_traffic(net: Network, place: Placement, placed: Mapping[str, Placement], received: Activity) -> Traffic:
    """Route what ``place`` receives: from layers that are ``placed``, from the input unit, or from another pass."""
    if not place.nps:
        return Traffic(0.0, 0.0, 0.0, 0.0)
    load: Counter[Link] = Counter()
    each = [
        _route_from(place, source(net, tensor, placed), events, load)
        for tensor, events in zip(net[place.layer].inputs, received.by_channel)
    ]
    sent, crossings = map(sum, zip(*each))
    return Traffic(sent, float(sum(load.values())), crossings, float(max(load.values(), default=0)))


def _route_from(
    place: Placement, origin: Placement | None, events: NDArray, load: Counter[Link]
) -> tuple[float, float]:
    """Return the packets, and those that come from another device; add the links that they cross to ``load``."""
    door = NP(place.nps[0].chip, *INPUT_UNIT, 0)
    if origin is not None and origin.nps:
        senders, sent = origin.nps, packets(place, origin, events)
    else:
        cut = len(place.bands) > 1
        each = [events[b.rows.start : b.rows.stop].sum() if cut else events.sum() for b in place.bands]
        senders, sent = (door,), np.repeat(each, len(place.groups))[None]
    crossings = 0.0
    for i, j in np.argwhere(sent):
        sender, receiver = senders[i], place.nps[j]
        if sender.chip != receiver.chip:
            sender, crossings = door, crossings + sent[i, j]
        for link in route(sender, receiver):
            load[link] += sent[i, j]
    return float(sent.sum()), float(crossings)
