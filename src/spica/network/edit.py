"""Edits of a network: each returns a new, checked network and leaves the one that it is given as it was.

To change layers where they stand, ``Network.with_layers`` is enough; the edits here also see to it that everything
that read a tensor, and every output, still finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from spica.network.graph import Network
from spica.network.layer import Layer


def redirect(layer: Layer, names: Mapping[str, str]) -> Layer:
    """Return ``layer`` with its inputs renamed by ``names``; the same record where that changes none."""
    inputs = tuple(names.get(i, i) for i in layer.inputs)
    return layer if inputs == layer.inputs else replace(layer, inputs=inputs)


def replace_layer(net: Network, name: str, *layers: Layer) -> Network:
    """Put ``layers`` in the place of the layer ``name``; whatever used it uses the last of them.

    Args:
        net: the network to change.
        name: the layer to take out; one of ``layers`` may have its name.
        layers: at least one, in topological order.

    Raises:
        SpicaError: where there is no such layer, or the new ones do not fit.
    """
    old, names = net[name], {name: layers[-1].name}
    changed = [new for layer in net for new in (layers if layer is old else [redirect(layer, names)])]
    return net.with_layers(changed, (names.get(o, o) for o in net.outputs))


def insert_after(net: Network, name: str, layer: Layer) -> Network:
    """Put ``layer``, which reads the tensor ``name``, between it and everything that uses it, outputs included."""
    return replace_layer(net, name, net[name], layer)


def subgraph(net: Network, outputs: Sequence[str], sources: Sequence[Layer] = ()) -> Network:
    """Return the part of a network that computes some of its tensors, in the same order.

    Args:
        net: the network to cut.
        outputs: names of the tensors that the part gives.
        sources: layers without inputs that stand in for those of the same names; what is before those is left out.

    Raises:
        SpicaError: where there is no such tensor.
    """
    given = {layer.name for layer in sources}
    needed = {net[name].name for name in outputs}
    for layer in reversed(net.layers):
        if layer.name in needed - given:
            needed.update(layer.inputs)
    kept = [layer for layer in net if layer.name in needed - given]
    return net.with_layers([*sources, *kept], outputs)
