"""Legalizing a network: rules applied until none helps, and a proof on samples that its outputs stayed."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.hardware.checking import Report, check
from spica.hardware.device.load import load_device
from spica.hardware.device.schema import Device
from spica.hardware.legalize.borders import pad_unread
from spica.hardware.legalize.dense import (
    convolve_before_table,
    cover_by_dense,
    project_by_convolution,
)
from spica.hardware.legalize.moves import select_by_convolution
from spica.hardware.legalize.pooling import carry_pooling, follow_pooling, pool_after_table, pool_in_two, square_pooling
from spica.hardware.legalize.turning import CannotTurn, turned_network
from spica.hardware.legalize.weights import (
    grow_kernel,
    grow_transposed,
    narrow_weights,
    stride_behind,
)
from spica.network import Network
from spica.passes.base import Result

SAMPLES = 16
"""Random samples on which a changed network is compared with the one it was."""

RULES = (
    grow_kernel, narrow_weights, follow_pooling, carry_pooling, project_by_convolution, pool_after_table,
    cover_by_dense, pad_unread,
    select_by_convolution, grow_transposed, stride_behind,
    pool_in_two, square_pooling, convolve_before_table,
)  # fmt: skip
"""The rules, in the order in which they are tried on a layer."""


@dataclass(frozen=True)
class Fixed:
    """A network after ``fix``."""

    network: Network  # the network with the changes
    changes: tuple[str, ...]  # every change in words, in order
    report: Report  # what ``check`` still finds
    largest_difference: float  # largest absolute difference between its outputs and those before
    samples: int  # number of samples that were compared

    def __str__(self) -> str:
        lines = [f"changed: {change}" for change in self.changes] or ["nothing could be changed safely"]
        same = "equal" if self.largest_difference == 0 else f"up to {self.largest_difference:g} apart"
        lines.append(f"outputs before and after are {same} on {self.samples} samples")
        return "\n".join([*lines, str(self.report)])


def fix(net: Network, device: str | PathLike[str] | Device, samples: ArrayLike | None = None) -> Fixed:
    """Apply every safe change after which a network breaks fewer of a device's rules.

    Args:
        net: an integer network.
        device: a device, its name in the catalogue, or the path of its file.
        samples: inputs on which outputs before and after are compared, random ones by default; where they are given,
            sums that saturate on them are counted too.

    Raises:
        SpicaError: for a float network, or an unknown device.
    """
    device = load_device(device)
    fixed, changes = _changed(net, device)
    if left := len(check(fixed, device).findings):
        other, others = _changed_turned(net, device)
        if len(check(other, device).findings) < left:
            fixed, changes = other, others
    x = _random_samples(net) if samples is None else samples
    before, after = (y if isinstance(y, list) else [y] for y in (net.forward(x), fixed.forward(x)))
    apart = max((float(np.abs(a - b).max()) for a, b in zip(before, after) if a.size), default=0.0)
    return Fixed(fixed, tuple(changes), check(fixed, device, samples), apart, len(before[0]))


def _changed(net: Network, device: Device) -> tuple[Network, list[str]]:
    """Return the network after every rule that helps, and what they changed: layer by layer, until none helps."""
    changes: list[str] = []
    found, before = check(net, device).findings, -1
    while before < len(changes):
        before = len(changes)
        for name in dict.fromkeys(finding.layer for finding in found):
            if any(finding.layer == name for finding in found):
                step = _first_that_helps(net, name, device, len(found))
                if step.modified:
                    net, found = step.network, check(step.network, device).findings
                    changes.append(step.note)
    return net, changes


def _changed_turned(net: Network, device: Device) -> tuple[Network, list[str]]:
    """Return the same for the network that reads turned images; the network as it is where it cannot be turned."""
    try:
        turned = turned_network(net)
    except CannotTurn:
        return net, []
    fixed, changes = _changed(turned, device)
    return fixed, ["every kernel turned by 180 degrees; the host turns the samples", *changes]


def _first_that_helps(net: Network, name: str, device: Device, count: int) -> Result:
    """Return the network after the first rule on a layer that leaves fewer than ``count`` findings."""
    for rule in RULES:
        result = rule.run(net, net[name], device)
        if result.modified and len(check(result.network, device).findings) < count:
            return result
    return Result(net)


def _random_samples(net: Network) -> NDArray | list[NDArray]:
    generator, kinds = np.random.default_rng(0), [net.types[layer.name] for layer in net.inputs]
    drawn = [
        generator.standard_normal((SAMPLES, *kind.shape), np.float32)
        if kind.is_float
        else generator.integers(*kind.range, (SAMPLES, *kind.shape), endpoint=True).astype(kind.dtype)
        for kind in kinds
    ]
    return drawn if len(drawn) > 1 else drawn[0]
