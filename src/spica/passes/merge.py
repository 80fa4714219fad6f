"""Replacing a layer and its only reader by one layer: the edit that most passes are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from spica.network import Layer, Network
from spica.network.edit import redirect
from spica.passes.base import Result


def merge_pairs(net: Network, merge: Callable[[Layer, Layer], Layer | None]) -> Result:
    """Replace ``before -> after`` by ``merge(before, after)`` throughout a network, wherever that gives a layer.

    Args:
        net: the network.
        merge: gets two layers of which the first is read by the second alone and is no output, so that a merge takes a
            tensor from nobody. The layer it returns must read what ``before`` reads.
    """
    built: dict[str, Layer] = {}
    merged_into: dict[str, str] = {}  # name of a tensor -> where it is found now
    for original in net:
        layer = redirect(original, merged_into)
        merged = None
        if len(layer.inputs) == 1:
            source, name = layer.inputs[0], original.inputs[0]
            if source in built and len(net.consumers[name]) == 1 and name not in net.outputs:
                merged = merge(built[source], layer)
        if merged is not None:
            del built[source]
            merged_into[layer.name] = merged.name
            layer = merged
        built[layer.name] = layer
    if not merged_into:
        return Result(net)
    outputs = tuple(merged_into.get(o, o) for o in net.outputs)
    return Result(replace(net, layers=tuple(built.values()), outputs=outputs), modified=True)
