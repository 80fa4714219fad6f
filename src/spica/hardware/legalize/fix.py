"""Legalizing a network: rules applied until none helps, and a proof on samples that its outputs stayed."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.hardware.checking import Finding, Report, check
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

TURNED = "every kernel turned by 180 degrees; the host turns the samples"

Findings = tuple[Finding, ...]


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
    fixed, changes, left = _changed(net, device)
    if left and (turned := _turned(net)) is not None:
        other, others, left_there = _changed(turned, device)
        if left_there < left:
            fixed, changes = other, [TURNED, *others]
    x = _random_samples(net) if samples is None else samples
    before, after = (y if isinstance(y, list) else [y] for y in (net.forward(x), fixed.forward(x)))
    apart = max((float(np.abs(a - b).max()) for a, b in zip(before, after) if a.size), default=0.0)
    return Fixed(fixed, tuple(changes), check(fixed, device, samples), apart, len(before[0]))


def _changed(net: Network, device: Device) -> tuple[Network, list[str], int]:
    """Apply rules layer by layer until none helps; return the network, the changes, and how many findings are left."""
    changes: list[str] = []
    found, before = check(net, device).findings, -1
    while before < len(changes):
        before = len(changes)
        for name in dict.fromkeys(finding.layer for finding in found):
            if any(finding.layer == name for finding in found):
                step, found = _first_that_helps(net, name, device, found)
                if step.modified:
                    net = step.network
                    changes.append(step.note)
    return net, changes, len(found)


def _turned(net: Network) -> Network | None:
    """Return the network that reads turned images, or None where there is none."""
    try:
        return turned_network(net)
    except CannotTurn:
        return None


def _first_that_helps(net: Network, name: str, device: Device, found: Findings) -> tuple[Result, Findings]:
    """Apply the first rule on a layer that leaves fewer findings, and return these as well."""
    for rule in RULES:
        result = rule.run(net, net[name], device)
        if result.modified and len(left := check(result.network, device).findings) < len(found):
            return result, left
    return Result(net), found


def _random_samples(net: Network) -> NDArray | list[NDArray]:
    generator, kinds = np.random.default_rng(0), [net.types[layer.name] for layer in net.inputs]
    drawn = [
        generator.standard_normal((SAMPLES, *kind.shape), np.float32)
        if kind.is_float
        else generator.integers(*kind.range, (SAMPLES, *kind.shape), endpoint=True).astype(kind.dtype)
        for kind in kinds
    ]
    return drawn if len(drawn) > 1 else drawn[0]
