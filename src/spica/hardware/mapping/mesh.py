"""Event packets between processors: counted by piece, and routed over the mesh, along the row first.

An event goes as one packet to each NP that needs it. Which nodes are neighbours, the order of routing and one packet
for each NP are assumed: the mesh's own rules are not public, and no published measurement shows it to be the limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spica.hardware.cost.activity import Activity
from spica.hardware.mapping.partition import split
from spica.hardware.mapping.placement import INPUT_UNIT, NP, Placement
from spica.layers import DEPTHWISE, Attention, StatefulRecurrent
from spica.network import Network

Link = tuple[int, tuple[int, int], tuple[int, int]]
"""A device and two neighbouring nodes, in the direction of the packets."""


@dataclass(frozen=True)
class Traffic:
    """Packets that a layer receives, of all samples of a run.

    Attributes:
        packets: events, once for each NP that needs them.
        hops: links of the mesh that they cross, in all.
        crossings: packets that come from another device.
        busiest: packets over the link that carries most.
    """

    packets: float
    hops: float
    crossings: float
    busiest: float


def source(net: Network, tensor: str, placed: Mapping[str, Placement]) -> Placement | None:
    """The layer on NPs, or in the input unit, whose events a tensor holds; ``None`` if they come from the host."""
    while tensor not in placed:
        if not net[tensor].inputs:
            return None
        tensor = net[tensor].inputs[0]
    return placed[tensor]


def packets(net: Network, place: Placement, origin: Placement, events: NDArray) -> NDArray[np.float64]:
    """Packets from each piece of ``origin`` to each of ``place``: ``(pieces, pieces)``.

    Args:
        events: that ``place`` receives, by row and channel ``(H, C)``; one row where its input is flat.
    """
    shape = net.types[origin.layer].shape
    if isinstance(net[origin.layer], StatefulRecurrent):  # one part of each complex number leaves
        shape = shape[:-1]
    height, channels = shape[0], shape[-1]
    if len(events) == 1 and events.shape[1] != channels:  # flattened: rows in order, channels within each pixel
        events = events.reshape(height, -1, channels).sum(axis=1)
    rows = split(len(events), len(origin.bands))
    groups = origin.groups if origin.groups[-1].stop == channels else (range(channels),) * len(origin.groups)
    total = np.pad(events.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))

    def count(band: range, group: range) -> float:
        if not band or not group:
            return 0.0
        (top, bottom), (left, right) = (band.start, band.stop), (group.start, group.stop)
        return float(total[bottom, right] - total[top, right] - total[bottom, left] + total[top, left])

    own = isinstance(net[place.layer], (*DEPTHWISE, Attention))
    everything = range(channels)
    return np.array(
        [
            [
                count(_common(sent, band.rows if len(place.bands) > 1 else sent), _common(group, reader))
                for band in place.bands
                for reader in (place.groups if own else [everything] * len(place.groups))
            ]
            for sent in rows
            for group in groups
        ]
    )


def _common(a: range, b: range) -> range:
    return range(max(a.start, b.start), min(a.stop, b.stop))


def exchange(
    net: Network, places: Sequence[Placement], activity: Mapping[str, Activity]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Expected packets between the pieces of some layers ``(pieces, pieces)`` and to each from elsewhere ``(pieces,)``.

    What comes from elsewhere enters the mesh at the input unit.
    """
    first, total = {}, 0
    for place in places:
        first[place.layer] = total
        total += len(place.nps)
    placed = {place.layer: place for place in places}
    traffic, entry = np.zeros((total, total)), np.zeros(total)
    for place in places:
        if not place.nps:
            continue
        start, stop = first[place.layer], first[place.layer] + len(place.nps)
        for tensor, events in zip(net[place.layer].inputs, activity[place.layer].by_channel):
            origin = source(net, tensor, placed)
            if origin is None or not origin.nps:
                entry[start:stop] += events.sum() / len(place.bands)
                continue
            sent = packets(net, place, origin, events)
            begin = first[origin.layer]
            traffic[begin : begin + len(sent), start:stop] += sent
    return traffic, entry


def route(a: NP, b: NP) -> list[Link]:
    """Links from one NP to another of the same device: along the row, then along the column."""
    row, column = a.row, a.column
    links: list[Link] = []
    while (row, column) != (b.row, b.column):
        here = row, column
        if column != b.column:
            column += 1 if b.column > column else -1
        else:
            row += 1 if b.row > row else -1
        links.append((a.chip, here, (row, column)))
    return links


def deliver(net: Network, place: Placement, placed: Mapping[str, Placement], received: Activity) -> Traffic:
    """Route what ``place`` receives: from layers that are ``placed``, from the input unit, or from another pass."""
    if not place.nps:
        return Traffic(0.0, 0.0, 0.0, 0.0)
    load: Counter[Link] = Counter()
    sent = crossings = 0.0
    for tensor, events in zip(net[place.layer].inputs, received.by_channel):
        some, crossed = _deliver_from(net, place, source(net, tensor, placed), events, load)
        sent, crossings = sent + some, crossings + crossed
    return Traffic(sent, float(sum(load.values())), crossings, float(max(load.values(), default=0)))


def _deliver_from(
    net: Network, place: Placement, origin: Placement | None, events: NDArray, load: Counter[Link]
) -> tuple[float, float]:
    """Packets, and those that come from another device; ``load`` takes up the links that they cross."""
    door = NP(place.nps[0].chip, *INPUT_UNIT, 0)
    if origin is None or not origin.nps:
        senders, sent = [door], np.full((1, len(place.nps)), 0.0)
        for i, band in enumerate(place.bands):
            rows = events[band.rows.start : band.rows.stop] if len(place.bands) > 1 else events
            sent[0, i * len(place.groups) : (i + 1) * len(place.groups)] = rows.sum()
    else:
        senders, sent = list(origin.nps), packets(net, place, origin, events)
    crossings = 0.0
    for i, sender in enumerate(senders):
        for j, receiver in enumerate(place.nps):
            if not sent[i, j]:
                continue
            start = sender if sender.chip == receiver.chip else door
            crossings += sent[i, j] if sender.chip != receiver.chip else 0
            for link in route(start, receiver):
                load[link] += sent[i, j]
    return float(sent.sum()), float(crossings)
