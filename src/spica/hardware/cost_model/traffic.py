"""Traffic on the mesh in a run: the packets that each layer receives, routed link by link."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spica.hardware.cost_model.activity import Activity
from spica.hardware.mapping.mesh import Link, packets, route, source
from spica.hardware.mapping.placement import INPUT_UNIT, NP, Placement
from spica.network import Network


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


def route_traffic(net: Network, place: Placement, placed: Mapping[str, Placement], received: Activity) -> Traffic:
    """Route what ``place`` receives: from layers that are ``placed``, from the input unit, or from another pass."""
    if not place.nps:
        return Traffic(0.0, 0.0, 0.0, 0.0)
    load: Counter[Link] = Counter()
    sent = crossings = 0.0
    for tensor, events in zip(net[place.layer].inputs, received.by_channel):
        some, crossed = _route_from(place, source(net, tensor, placed), events, load)
        sent, crossings = sent + some, crossings + crossed
    return Traffic(sent, float(sum(load.values())), crossings, float(max(load.values(), default=0)))


def _route_from(
    place: Placement, origin: Placement | None, events: NDArray, load: Counter[Link]
) -> tuple[float, float]:
    """Return the packets, and those that come from another device; add the links that they cross to ``load``."""
    door = NP(place.nps[0].chip, *INPUT_UNIT, 0)
    if origin is None or not origin.nps:
        senders, sent = [door], np.full((1, len(place.nps)), 0.0)
        for i, band in enumerate(place.bands):
            rows = events[band.rows.start : band.rows.stop] if len(place.bands) > 1 else events
            sent[0, i * len(place.groups) : (i + 1) * len(place.groups)] = rows.sum()
    else:
        senders, sent = list(origin.nps), packets(place, origin, events)
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
