"""The one graph edit that the passes need: replacing a layer and its only reader by one layer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from spica.network import Layer, Network


def merge_pairs(net: Network, merge: Callable[[Layer, Layer], Layer | None]) -> Network:
    """Walk the network and replace ``before -> after`` by ``merge(before, after)`` wherever that gives a layer.

    Only pairs in which nothing else reads ``before`` are offered, so a merge never takes a tensor from anyone.
    The merged layer must read what ``before`` reads.
    """
    built: dict[str, Layer] = {}
    now: dict[str, str] = {}  # where the tensor of a merged layer is found now
    for layer in net:
        layer = replace(layer, inputs=tuple(now.get(i, i) for i in layer.inputs))
        source = layer.inputs[0] if len(layer.inputs) == 1 else ""
        original = net[layer.name].inputs[0] if source else ""
        merged = None
        if source in built and len(net.consumers[original]) == 1 and original not in net.outputs:
            merged = merge(built[source], layer)
        if merged is not None:
            del built[source]
            now[layer.name] = merged.name
            layer = merged
        built[layer.name] = layer
    return Network(tuple(built.values()), tuple(now.get(o, o) for o in net.outputs), net.name)
