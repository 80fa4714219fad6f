"""``spica.adapt``: propose the nearest network that a device takes, train it to imitate, and show what that gave."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.inputs import check_frames
from spica.errors import SpicaError
from spica.hardware import Device, Report, check, fix, load_device
from spica.layers import Softmax
from spica.network import Network
from spica.network.graph import check_network
from spica.passes import prepare
from spica.qat.adaptation.imitation import imitate
from spica.qat.adaptation.proposal import integers, propose
from spica.qat.adaptation.rewrites import Change, Proposal
from spica.util.arguments import check_integer, check_number, is_integer
from spica.util.table import table

WIDTHS = (8, 4, 2, 1)
CALIBRATION = 512
"""Samples of those trained on that the adapted network is quantised with."""

HELD_BACK = 0.2
"""Share of the samples that training does not see."""


@dataclass(frozen=True)
class Closeness:
    """How near outputs are to the original's: signal to noise (dB), mean cosine, share of samples of the same class."""

    snr: float
    cosine: float
    agreement: float | None

    def __str__(self) -> str:
        same = "" if self.agreement is None else f", {self.agreement:.1%} of the same class"
        return f"{self.snr:.1f} dB, cosine {self.cosine:.4f}{same}"


@dataclass(frozen=True, eq=False)
class Adaptation:
    """Result of ``adapt``, beside the network: what was changed, and how near its outputs are to the original's.

    Attributes:
        device: the device's name.
        changes: every change, in order; none where nothing was to adapt.
        weights, activations: the bits to quantise at, by layer, "*" for all others.
        quantized: the adapted network's integers, after exact legalization.
        report: what ``check`` finds of them.
        after_fix: whether ``check --fix`` must still change the integers, exactly.
        held_back: number of samples that closeness was measured on.
        before: closeness of the changed network as it was before training.
        after: closeness after it; ``None`` where nothing was trained.
        integer: closeness of the quantised network.
    """

    device: str
    changes: tuple[Change, ...]
    weights: dict[str, int]
    activations: dict[str, int]
    quantized: Network
    report: Report
    after_fix: bool
    held_back: int
    before: Closeness
    after: Closeness | None
    integer: Closeness

    def __str__(self) -> str:
        lines = [f"nothing to adapt: {self.quantized.name} needs no training for {self.device}"]
        if self.changes:
            rows = [("layer", "rule", "change", "why"), *((c.layer, c.rule, c.change, c.why) for c in self.changes)]
            lines = [table(rows, left=4), f"against the original, on {self.held_back} samples held back:"]
            stages = (("changed", self.before), ("trained", self.after), ("quantised", self.integer))
            lines += [f"  {name:<10} {close}" for name, close in stages if close is not None]
        lines.append(f"bits: weights {_bits(self.weights)}; activations {_bits(self.activations)}")
        if self.after_fix:
            lines.append("quantised, it passes after check --fix, which leaves its outputs as they are")
        return "\n".join([*lines, str(self.report)])

    def to_dict(self) -> dict[str, Any]:
        """Return all but the networks as plain data."""
        stages = {name: close and asdict(close) for name in ("before", "after", "integer")
                  for close in [getattr(self, name)]}  # fmt: skip
        known = {"changes": [asdict(change) for change in self.changes], "held_back": self.held_back}
        bits = {"weights": self.weights, "activations": self.activations, "after_fix": self.after_fix}
        return known | bits | stages | self.report.to_dict()


def _bits(bits: dict[str, int]) -> str:
    return ", ".join([str(bits["*"]), *(f"{name} {n}" for name, n in bits.items() if name != "*")])


def adapt(
    net: Network,
    device: str | PathLike[str] | Device,
    samples: ArrayLike,
    *,
    bits: int | tuple[int, int] | None = None,
    epochs: int = 10,
    learning_rate: float = 3e-3,
    seed: int = 0,
    progress: bool | None = None,
) -> tuple[Network, Adaptation]:
    """Return the nearest float network that a device takes once quantised, trained to imitate the one given.

    What exact legalization (``check --fix``) cannot do is changed: padding, kernels, strides, pooling, separable
    forms, activations, skip connections, bits. The network is then distilled from the original on the samples, without
    labels. A network that needs none of this comes back as it is.

    Args:
        net: a float network with one input.
        device: a device, its name in the catalogue, or the path of its file.
        samples: unlabelled inputs, as ``spica.quantize`` takes them; a fifth is held back to judge on.
        bits: of weights and activations, one number or a pair; by default the most that the device takes.
        epochs: passes over the samples; 0 for the proposal without training.
        learning_rate: Adam's at the start; it falls to zero along a cosine.
        seed: of the order of samples, and of which are held back.
        progress: whether to show progress bars; by default only in a terminal.

    Returns:
        The float network, and what was changed and how near it came.

    Raises:
        SpicaError: for an integer network, samples that do not fit, a layer that cannot be trained, or rules that no
            change ends: it names each with its layer.
    """
    check_network(net)
    if net.is_integer:
        raise SpicaError(f"{net.name}: is an integer network; adapt the float network that it was made from")
    if len(net.inputs) != 1:
        raise SpicaError(f"{net.name}: has {len(net.inputs)} inputs; adaptation takes networks with one")
    epochs, seed = check_integer("epochs", epochs, 0), check_integer("seed", seed, 0, 2**32 - 1)
    learning_rate = check_number("learning_rate", learning_rate, 1e-12, 1e3)
    device = load_device(device)
    kept, held = _parted(net, samples, seed)
    proposal, fixed = propose(net, device, kept, _widths(bits, device))
    if not fixed.report.ok:
        left = " / ".join(map(str, fixed.report))
        raise SpicaError(f"{net.name}: adaptation to {device.name} has no way round: {left}")
    original = prepare(net)
    real = [check_frames(original, original.types[original.inputs[0].name], part) for part in (kept, held)]
    before = _closeness(original, proposal.network, real[1])
    trained = None
    if proposal.changes and epochs:
        trained = imitate(proposal.network, original, real[0], epochs, learning_rate, seed, progress)
        proposal = replace(proposal, network=trained)
    return _outcome(net, original, proposal, device, kept, held, real[1], before, trained, progress)


def _outcome(
    net: Network, original: Network, proposal: Proposal, device: Device, kept: NDArray, held: NDArray,
    real: NDArray[np.float32], before: Closeness, trained: Network | None, progress: bool | None,
) -> tuple[Network, Adaptation]:  # fmt: skip
    """Return the adapted network, quantised and checked, and its report."""
    quantized = integers(proposal, kept[:CALIBRATION], progress=progress)
    found, after_fix = check(quantized, device), False
    if not found.ok:
        fixed = fix(quantized, device)
        quantized, found, after_fix = fixed.network, fixed.report, fixed.report.ok
    source = quantized.types[quantized.inputs[0].name]
    integer = _compare(_outputs(original, real), _outputs(quantized, source.from_float(real)))
    adapted = _ended(net, proposal.network) if proposal.changes else net
    after = None if trained is None else _closeness(original, trained, real)
    return adapted, Adaptation(
        device.name, proposal.changes, dict(proposal.weights), dict(proposal.activations), quantized, found, after_fix,
        len(held), before, after, integer,
    )  # fmt: skip


def _parted(net: Network, samples: ArrayLike, seed: int) -> tuple[NDArray, NDArray]:
    """Return the samples to train on, and those held back."""
    x = np.asarray(samples)
    check_frames(net, net.types[net.inputs[0].name], x)
    if len(x) < 10:
        raise SpicaError(f"samples holds {len(x)} samples; adaptation needs at least 10, better hundreds")
    order = np.random.default_rng(seed).permutation(len(x))
    count = max(2, int(len(x) * HELD_BACK))
    return x[np.sort(order[count:])], x[np.sort(order[:count])]


def _widths(bits: int | tuple[int, int] | None, device: Device) -> tuple[int, int]:
    """Return bits of weights and of activations: those wished, or the most that all of a device's layers take."""
    if bits is None:
        return _most(device, "weight_bits"), _most(device, "output_bits")
    pair = bits if isinstance(bits, tuple | list) else (bits, bits)
    if len(pair) != 2 or not all(is_integer(b) and b in WIDTHS for b in pair):
        raise SpicaError(f"bits is {bits!r:.40}, but must be 1, 2, 4 or 8, or a pair of them: weights, activations")
    return int(pair[0]), int(pair[1])


def _most(device: Device, quantity: str) -> int:
    bounds = [
        rule.bounds[quantity] for rule in device.rules if rule.op_type == "convolution" and quantity in rule.bounds
    ]
    return next((width for width in WIDTHS if all(bound.admits(width) for bound in bounds)), WIDTHS[0])


def _ended(net: Network, adapted: Network) -> Network:
    """Return an adapted network that ends in the softmax that its original ended in."""
    layers, outputs = list(adapted.layers), []
    for name, made in zip(net.outputs, adapted.outputs):
        if isinstance(end := net[name], Softmax) and not isinstance(adapted[made], Softmax):
            layers.append(replace(end, inputs=(made,)))
            made = name
        outputs.append(made)
    return adapted.with_layers(layers, outputs)


def _closeness(original: Network, net: Network, x: NDArray) -> Closeness:
    return _compare(_outputs(original, x), _outputs(net, x))


def _outputs(net: Network, x: NDArray) -> list[NDArray]:
    y = net.forward(x)
    return y if isinstance(y, list) else [y]


def _compare(wanted: list[NDArray], given: list[NDArray]) -> Closeness:
    """Return how near outputs are; a class is the largest value of the first of them, where it is a vector."""
    a, b = (np.concatenate([y.reshape(len(y), -1) for y in ys], axis=1).astype(np.float64) for ys in (wanted, given))
    noise = max(float(((a - b) ** 2).sum()), 1e-300)
    cosine = (a * b).sum(axis=1) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-300)
    agreement = None
    if wanted[0].ndim == 2 and wanted[0].shape[1] > 1:
        agreement = float((wanted[0].argmax(axis=1) == given[0].argmax(axis=1)).mean())
    return Closeness(float(10 * np.log10(max(float((a**2).sum()), 1e-300) / noise)), float(cosine.mean()), agreement)
