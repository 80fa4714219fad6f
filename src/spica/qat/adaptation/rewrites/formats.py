"""Rewrites of number formats: fewer bits, and ReLUs where a device sends no negative number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from spica.layers import Flatten, GlobalAverage, MaxPool2D, ReLU
from spica.layers.weighted import WeightedLayer
from spica.network import Layer, Network
from spica.network.edit import subgraph
from spica.qat.adaptation.rewrites.base import Case, Proposal, rewrite
from spica.qat.adaptation.rewrites.kinds import shifted_reader

MOVING = (Flatten, MaxPool2D)
"""Layers that pass on the values that they read."""


@rewrite("weight_bits", exact=True)
def fewer_weight_bits(case: Case) -> Proposal | None:
    """Quantise a layer's weights to the most bits that the device takes."""
    bits = _widest(case, "weight_bits", case.proposal.weights.get(case.layer.name, 16))
    if bits is None or not isinstance(case.layer, WeightedLayer):
        return None
    return case.changed(case.net, f"weights of {bits} bits", weights=_with(case.proposal.weights, case.layer, bits))


@rewrite("output_bits", exact=True)
def fewer_output_bits(case: Case) -> Proposal | None:
    """Quantise what a rectified layer gives to the most bits that the device takes."""
    if getattr(case.layer, "activation", None) is None:
        return None
    bits = _widest(case, "output_bits", case.proposal.activations.get(case.layer.name, 16))
    if bits is None:
        return None
    activations = _with(case.proposal.activations, case.layer, bits)
    return case.changed(case.net, f"activations of {bits} bits", activations=activations)


def _widest(case: Case, quantity: str, below: int) -> int | None:
    return next((bits for bits in (8, 4, 2, 1) if bits < below and case.allows(quantity, bits)), None)


def _with(bits: Mapping[str, int], layer: Layer, value: int) -> dict[str, int]:
    return {**bits, layer.name: value}


@rewrite("output_bits")
def rectify(case: Case) -> Proposal | None:
    """End a layer that gives negative numbers with a ReLU."""
    return _rectified(case, case.layer)


@rewrite("input_bits", "input_signed")
def rectify_before(case: Case) -> Proposal | None:
    """End what a layer reads with a ReLU, so that the numbers are positive and of few bits."""
    layer = case.layer
    while layer.inputs and not isinstance(layer := case.net[layer.inputs[0]], WeightedLayer):
        if not isinstance(layer, MOVING):
            return None
    return _rectified(case, layer)


def _rectified(case: Case, layer: Layer) -> Proposal | None:
    """Rectify a layer; where its readers can take that back, all it gave on the samples is moved above zero first."""
    net = case.net
    if not isinstance(layer, WeightedLayer) or layer.activation is not None or layer.name in net.outputs:
        return None
    readers = _readers(net, layer.name)
    if readers is None:
        changed = net.with_layers(replace(r, activation=ReLU()) if r is layer else r for r in net)
        return case.changed(changed, f"a ReLU at the end of {layer.name}")
    offset = np.maximum(-_lowest(case, layer), 0).astype(np.float32)
    bias = offset if layer.bias is None else layer.bias + offset
    made = {layer.name: replace(layer, bias=bias.astype(np.float32), activation=ReLU())}
    made |= {r.name: shifted_reader(r, -offset) for r in readers}
    changed = net.with_layers(made.get(r.name, r) for r in net)
    return case.changed(changed, f"a ReLU at the end of {layer.name}, its values moved above zero")


def _readers(net: Network, name: str) -> list[WeightedLayer] | None:
    """Return the layers with weights that read a tensor, directly or moved; None where others read it as well."""
    found: list[WeightedLayer] = []
    for reader in net.consumers[name]:
        if isinstance(reader, WeightedLayer):
            found.append(reader)
        elif isinstance(reader, MOVING) and (behind := _readers(net, reader.name)):
            found += behind
        else:
            return None
    return found or None


def _lowest(case: Case, layer: WeightedLayer) -> np.ndarray:
    """Return the smallest value that each filter of a layer gives on the samples."""
    bare = replace(layer, pool=None if isinstance(layer.pool, GlobalAverage) else layer.pool)
    part = subgraph(_ending(case.net, layer, bare), [layer.name])
    values = part.forward(case.samples)
    return np.asarray(values).reshape(-1, layer.filters).min(axis=0)


def _ending(net: Network, layer: Layer, instead: Layer) -> Network:
    """Return a network up to a layer, with another in its place."""
    return net.with_layers([*net.layers[: net.layers.index(layer)], instead], [instead.name])
