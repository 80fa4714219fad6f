"""The nearest network that a device takes: rewrites applied until none helps, judged by the device's own check."""

from __future__ import annotations

import warnings
from typing import Any

from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.hardware import Device, Finding, Fixed, check, fix, specs
from spica.network import Layer, Network
from spica.passes import prepare
from spica.qat.adaptation.rewrites import EXACT, Case, Proposal, Rewrite, rewrites_of
from spica.quantization import quantize

FEW = 16
"""Samples on which a proposal is quantised, and ranges of values are seen."""

ROUNDS = 60
"""Rounds after which a network that still breaks a rule is given up."""

TIMES = 4
"""Times that one rewrite is tried on a layer, and on what it was made into."""

Tried = list[tuple[Layer, Rewrite]]
"""Rewrites that were tried, with the layers as they were."""


def propose(net: Network, device: Device, samples: NDArray, bits: tuple[int, int]) -> tuple[Proposal, Fixed]:
    """Return the nearest legal float network, and its integers after every exact legalization.

    First, what no exact change ends is rewritten. Then what exact changes would do to integers is done to the float
    network, so that it passes without them and its new weights may be learned.
    """
    proposal = Proposal(prepare(net), {"*": bits[0]}, {"*": bits[1]})
    tried: Tried = []
    fixed = fix(quick(proposal, samples), device)
    if not fixed.report.ok:
        for exact_only in (False, True):
            proposal = _rewritten(proposal, device, samples, exact_only, tried)
        fixed = fix(quick(proposal, samples), device)
    return proposal, fixed


def quick(proposal: Proposal, samples: NDArray) -> Network:
    """Return the integers of a proposal, without repairs: for the device's rules, which do not see values."""
    plain: dict[str, Any] = dict.fromkeys(("equalization", "reconstruction", "bias_correction"), False)
    return integers(proposal, samples[:FEW], progress=False, **plain)


def integers(proposal: Proposal, samples: NDArray, **options: Any) -> Network:
    """Return a proposal quantised at its bits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a proposal is judged by its outputs, which are shown
        return quantize(
            proposal.network, samples, weights=proposal.weights, activations=proposal.activations, **options
        )


def _rewritten(proposal: Proposal, device: Device, samples: NDArray, exact_only: bool, tried: Tried) -> Proposal:
    """Return a proposal after rounds of rewrites: at most one of a layer in a round, until none applies."""
    for _ in range(ROUNDS):
        integer = quick(proposal, samples)
        judged = integer if exact_only else fix(integer, device).network
        before = proposal
        done: set[str] = set()
        for finding in sorted(check(judged, device), key=lambda finding: finding.rule != "kind"):
            name = _float_name(finding.layer, proposal.network)
            if name is not None and name not in done:
                layer, spec = proposal.network[name], specs(judged)[finding.layer]
                case = Case(proposal, layer, finding, spec, device, samples[:FEW])
                if (found := _first_that_applies(case, exact_only, tried)) is not None:
                    proposal = found
                    done.add(name)
        if proposal is before:
            break
    return proposal


def _first_that_applies(case: Case, exact_only: bool, tried: Tried) -> Proposal | None:
    """Return what the first rewrite that was not tried on the layer makes of it; some do not fit what is around it."""
    for rewrite in rewrites_of(case.finding):
        times = [old for old, done in tried if done is rewrite and old.name == case.layer.name]
        if case.layer in times or len(times) >= TIMES or (exact_only and rewrite not in EXACT):
            continue
        tried.append((case.layer, rewrite))
        try:
            found = rewrite(case)
        except SpicaError:
            continue
        if found is not None:
            return found
    return None


def _float_name(name: str, net: Network) -> str | None:
    """Return the float layer that a layer of the legalized integers was made of; its name has more behind it."""
    while name and name not in net.types:
        name = name.rpartition("/")[0]
    return name or None


def adaptable(findings: tuple[Finding, ...]) -> bool:
    """Return whether adaptation has a way for each of some broken rules."""
    return bool(findings) and all(rewrites_of(finding) for finding in findings)
