"""Edits of a network: each returns a new, checked network and leaves the one that it is given as it was.

To change layers where they stand, ``dataclasses.replace(net, layers=...)`` is enough; the edits here also see to it
that everything that read a tensor, and every output, still finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from spica.errors import SpicaError
from spica.network.graph import Network
from spica.network.layer import Layer


def redirect(layer: Layer, names: Mapping[str, str]) -> Layer:
    """Return ``layer`` with its inputs renamed by ``names``; the same record where none of them is in it."""
    if names.keys().isdisjoint(layer.inputs):
        return layer
    return replace(layer, inputs=tuple(names.get(i, i) for i in layer.inputs))


def replace_uses(net: Network, name: str, by: str) -> Network:
    """Let everything that uses the tensor ``name``, outputs included, use ``by``.

    ``by`` itself may go on reading ``name``. The layer that writes ``name`` stays, whether used or not.

    Raises:
        SpicaError: where a reader comes before ``by``, or the two tensors do not fit the same readers.
    """
    layers = tuple(layer if layer.name == by else redirect(layer, {name: by}) for layer in net)
    return replace(net, layers=layers, outputs=tuple(by if o == name else o for o in net.outputs))


def replace_layer(net: Network, name: str, *layers: Layer) -> Network:
    """Put ``layers`` in the place of the layer ``name``; whatever used it uses the last of them.

    Args:
        net: the network to change.
        name: the layer to take out; one of ``layers`` may have its name.
        layers: at least one, in topological order.

    Raises:
        SpicaError: where there is no such layer, or the new ones do not fit.
    """
    old, last = net[name], layers[-1].name
    names = {} if last == name else {name: last}
    changed = [new for layer in net for new in (layers if layer is old else [redirect(layer, names)])]
    return replace(net, layers=tuple(changed), outputs=tuple(names.get(o, o) for o in net.outputs))


def insert_after(net: Network, name: str, layer: Layer) -> Network:
    """Put ``layer``, which reads the tensor ``name``, between it and everything that uses it, outputs included."""
    return replace_layer(net, name, net[name], layer)


def insert_before(net: Network, name: str, layer: Layer) -> Network:
    """Put ``layer``, which reads one input of the layer ``name``, between the two; other readers are left alone."""
    return replace_layer(net, name, layer, redirect(net[name], dict.fromkeys(layer.inputs, layer.name)))


def remove(net: Network, name: str) -> Network:
    """Take out a layer of one input; whatever used it, outputs included, uses that input.

    Raises:
        SpicaError: where there is no such layer, or it has no input or several.
    """
    layer = net[name]
    if len(layer.inputs) != 1:
        raise SpicaError(f"{name}: only a layer with one input can be removed, but this has {len(layer.inputs)}")
    names = {name: layer.inputs[0]}
    rest = tuple(redirect(other, names) for other in net if other is not layer)
    return replace(net, layers=rest, outputs=tuple(names.get(o, o) for o in net.outputs))


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
    return replace(net, layers=(*sources, *kept), outputs=tuple(outputs))
