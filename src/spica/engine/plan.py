"""Segments in which each engine runs a network, kept for as long as the network is."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from spica.network import Network
from spica.program.segments import Segment, trace_network

_PLANS: WeakKeyDictionary[Network, dict[bool, tuple[frozenset[str], list[Segment]]]] = WeakKeyDictionary()


def plan(net: Network, kept: Sequence[str], streaming: bool = False) -> list[Segment]:
    """Return segments of ``net`` with as many layers in programs as can be; the last plan is kept.

    Args:
        net: the network.
        kept: names of the tensors that must be written.
        streaming: for samples that are the next frame of a stream each.
    """
    key, plans = frozenset(kept), _PLANS.setdefault(net, {})
    known = plans.get(streaming)  # kept here: another thread may put a plan for other tensors in its place
    if known is None or known[0] != key:
        known = plans[streaming] = key, trace_network(net, key, streaming=streaming)
    return known[1]


def layer_by_layer(net: Network) -> list[Segment]:
    """Return every layer as a segment of its own, without a program."""
    return [Segment((layer,), layer.inputs, (layer.name,)) for layer in net if layer.inputs]


def segments_of(net: Network, kept: Sequence[str], engine: str, streaming: bool = False) -> list[Segment]:
    """Return how ``engine`` runs a network: float networks and the reference layer by layer, others in programs.

    Args as of ``plan``, and ``engine``: "native" or "reference".
    """
    return plan(net, kept, streaming) if engine == "native" and net.is_integer else layer_by_layer(net)
