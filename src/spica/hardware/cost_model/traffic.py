"""Traffic on the mesh in a run: the packets that each layer receives, routed link by link."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spica.hardware.cost_model.activity import Activity
from spica.hardware.mapping.mesh import Link, packets, route, source
from spica.hardware.mapping.placement import INPUT_UNIT, NP, Placement
from spica.network import Network


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
