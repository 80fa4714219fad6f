"""Passes that merge a layer with its only reader: what most passes do."""

from __future__ import annotations

from collections.abc import Callable

from spica.network import Layer, Network
from spica.network.edit import redirect
from spica.passes.base import Pass, Result

Merge = Callable[[Network, Layer, Layer], Layer | None]


def merge_pass(merge: Merge) -> Pass:
    """Make a pass that replaces ``before -> after`` by ``merge(net, before, after)`` wherever that gives a layer.

    Args:
        merge: gets the network as it was, and two layers as they are now. The first is read by the second alone and is
            no output, so that a merge takes a tensor from nobody. The new layer must read what ``before`` reads.
    """

    def rewrite(net: Network) -> Result:
        built: dict[str, Layer] = {}
        merged_into: dict[str, str] = {}  # name of a tensor -> where it is found now
        for original in net:
            layer = redirect(original, merged_into)
            merged = None
            if len(layer.inputs) == 1:
                source, name = layer.inputs[0], original.inputs[0]
                if source in built and len(net.consumers[name]) == 1 and name not in net.outputs:
                    merged = merge(net, built[source], layer)
            if merged is not None:
                del built[source]
                merged_into[layer.name] = merged.name
                layer = merged
            built[layer.name] = layer
        if not merged_into:
            return Result(net)
        return Result(net.with_layers(built.values(), (merged_into.get(o, o) for o in net.outputs)), modified=True)

    rewrite.__name__, rewrite.__doc__ = merge.__name__, merge.__doc__
    return Pass(rewrite)
