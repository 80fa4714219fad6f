"""A rewrite of adaptation: a function of one broken rule that proposes a float network without it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from spica.hardware import Device, Finding, LayerSpec
from spica.hardware.device.rules import QUANTITIES
from spica.network import Layer, Network
from spica.network.edit import subgraph
from spica.passes import fuse


@dataclass(frozen=True)
class Change:
    """One change of a network: the layer, the rule that it broke, what was done, and why."""

    layer: str
    rule: str
    change: str
    why: str


@dataclass(frozen=True)
class Proposal:
    """A float network, ready to be quantised, and the bits at which to do it.

    Attributes:
        network: the network.
        weights, activations: bits by layer, "*" for all others.
        changes: what was done to it so far.
    """

    network: Network
    weights: Mapping[str, int]
    activations: Mapping[str, int]
    changes: tuple[Change, ...] = ()


class Case(NamedTuple):
    """Broken rule that a rewrite is to end, with all that it may look at.

    Attributes:
        proposal: the network and bits so far.
        layer: the float layer that breaks a rule.
        finding: the broken rule.
        spec: what the device knows of the layer, once quantised.
        device: the device.
        samples: inputs, to see ranges of values on.
    """

    proposal: Proposal
    layer: Any
    finding: Finding
    spec: LayerSpec
    device: Device
    samples: ArrayLike

    @property
    def net(self) -> Network:
        """Return the network so far."""
        return self.proposal.network

    def allows(self, quantity: str, value: Any) -> bool:
        """Return whether the device lets a quantity of the layer have a value, whatever its others are."""
        rules = [rule for rule in self.device.rules if rule.op_type is self.spec.op_type]
        known = [
            rule.bounds[quantity]
            for rule in rules
            if quantity in rule.bounds and all(QUANTITIES[n].value(self.spec) == v for n, v in rule.when.items())
        ]
        return all(bound.admits(value) for bound in known)

    def changed(self, net: Network, words: str, **bits: Mapping[str, int]) -> Proposal:
        """Return the proposal with another network, without layers that nobody reads and bits of layers that went."""
        net = fuse(subgraph(net, net.outputs))
        change = Change(self.layer.name, self.finding.rule, words, self.finding.reason)
        known = {"weights": self.proposal.weights, "activations": self.proposal.activations} | bits
        left = {field: {n: b for n, b in of.items() if n == "*" or n in net.types} for field, of in known.items()}
        return Proposal(net, changes=(*self.proposal.changes, change), **left)


Rewrite = Callable[[Case], Proposal | None]
"""Returns a proposal without the broken rule, or None where it does not know how."""

REWRITES: dict[str, list[Rewrite]] = {}
"""The rewrites of each rule, in the order in which they are tried. Layers that a device lacks are found by kind."""

EXACT: set[Rewrite] = set()
"""Rewrites after which a float network computes what it did."""


def rewrite(*rules: str, exact: bool = False) -> Callable[[Rewrite], Rewrite]:
    """Register a rewrite for some rules: quantities, "after_max_pool", "order", or kinds of layers."""

    def registered(function: Rewrite) -> Rewrite:
        for rule in rules:
            REWRITES.setdefault(rule, []).append(function)
        if exact:
            EXACT.add(function)
        return function

    return registered


def rewrites_of(finding: Finding) -> list[Rewrite]:
    """Return the rewrites that may end a broken rule; none where adaptation has no way."""
    return REWRITES.get(finding.op_type if finding.rule == "kind" else finding.rule, [])


def only_reader(net: Network, layer: Layer) -> Layer | None:
    """Return the layer that alone reads another one, or None where there are more, or it is an output."""
    readers = net.consumers[layer.name]
    return readers[0] if len(readers) == 1 and layer.name not in net.outputs else None
