"""Mixed-precision search: how much each layer's bits matter, and the least harmful way to stay under a budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.inputs import check_frames
from spica.errors import SpicaError
from spica.layers.weighted import weighted_layers
from spica.network import Network
from spica.network.graph import check_network
from spica.passes import prepare
from spica.quantization.api import quantize
from spica.quantization.rules import has_output_stage
from spica.util.arguments import check_number
from spica.util.progress import progress as show
from spica.util.table import table

MEASURED = 256
"""Samples that the outputs are compared on."""


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The effect of narrowing one layer alone.

    Attributes:
        layer: its name.
        bits: the narrower width, of its weights and, where a rectifier makes them positive, its activations.
        loss: mean squared error of the network's outputs, as a share of their variance.
        cost: what the network then costs.
    """

    layer: str
    bits: int
    loss: float
    cost: float


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Widths by layer, to give to ``spica.quantize``: ``weights=recipe.bits, activations=recipe.activations``.

    Attributes:
        bits: width of each layer's weights.
        activations: width of each layer's output; where layers join, of the widest that is read.
        cost: what the network costs with them, and ``widest_cost`` with the widest everywhere.
        budget: what it may cost.
        loss: mean squared error of the outputs, as a share of their variance.
        sensitivities: every narrowing that was tried alone.
    """

    bits: dict[str, int]
    activations: dict[str, int]
    cost: float
    widest_cost: float
    budget: float
    loss: float
    sensitivities: tuple[Sensitivity, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return asdict(self)

    def __str__(self) -> str:
        widths = sorted({s.bits for s in self.sensitivities}, reverse=True)
        rows = [("layer", "bits", *(f"loss at {b} bits" for b in widths))]
        for name, bits in self.bits.items():
            alone = {s.bits: f"{s.loss:.2%}" for s in self.sensitivities if s.layer == name}
            rows.append((name, str(bits), *(alone.get(b, "") for b in widths)))
        text = f"cost {self.cost:,.6g} of {self.budget:,.6g} (widest: {self.widest_cost:,.6g}), loss {self.loss:.2%}"
        return f"{table(rows, left=1)}\n{text}"


def recipe(
    net: Network,
    samples: ArrayLike,
    cost: Callable[[Network], float],
    budget: float,
    *,
    widths: Sequence[int] = (8, 4, 2),
    progress: bool | None = None,
    **options: Any,
) -> Recipe:
    """Choose each layer's bits so that a network fits a budget and its outputs change least.

    Starting with the widest everywhere, the layer whose next narrowing adds least loss for what it saves is narrowed,
    until the budget holds. Losses are measured by narrowing one layer at a time.

    Args:
        net: a float network with one input.
        samples: as for ``spica.quantize``; the outputs are compared on some of them.
        cost: what an integer network costs, such as ``spica.hardware.cost("nps", "AKD1000")``.
        budget: what it may cost.
        widths: bits to choose from, widest first.
        progress: whether to show a progress bar; by default only in a terminal.
        options: of ``spica.quantize``.

    Raises:
        SpicaError: where even the narrowest network is over the budget.
    """
    budget = _check_arguments(net, cost, budget, widths)
    prepared = prepare(net)
    real = check_frames(prepared, prepared.types[prepared.inputs[0].name], samples)
    known, wanted = np.asarray(samples), _outputs(prepared, real[:MEASURED])

    def made(bits: dict[str, int]) -> Network:
        return quantize(net, samples, weights=bits, activations=_activations(prepared, bits), progress=False, **options)

    def measured(name: str, width: int, network: Network) -> Sensitivity:
        return Sensitivity(layer=name, bits=width, loss=_loss(network, known[:MEASURED], wanted), cost=cost(network))

    bits = {layer.name: widths[0] for layer in weighted_layers(prepared)}
    start = measured("", widths[0], made(bits))
    total, tried = start.cost, {}
    for name, width in show([(n, w) for n in bits for w in widths[1:]], "narrowing layers", progress):
        tried[name, width] = measured(name, width, made(bits | {name: width}))
    while total > budget:
        steps = {name: widths[widths.index(b) + 1] for name, b in bits.items() if b != widths[-1]}
        if not steps:
            raise SpicaError(f"{net.name}: costs {total:,.6g} at {widths[-1]} bits everywhere, above {budget:,.6g}")
        harm = {n: _harm(tried.get((n, bits[n]), start), tried[n, width], start.cost) for n, width in steps.items()}
        name = min(steps, key=harm.__getitem__)
        bits[name] = steps[name]
        total = cost(made(bits))
    return Recipe(
        bits=bits,
        activations=_activations(prepared, bits),
        cost=total,
        widest_cost=start.cost,
        budget=budget,
        loss=_loss(made(bits), known[:MEASURED], wanted),
        sensitivities=tuple(tried.values()),
    )


def _loss(quantized: Network, x: NDArray, wanted: NDArray[np.float64]) -> float:
    """Return the mean squared error of a network's outputs for samples, as a share of the variance of those wanted."""
    kind = quantized.types[quantized.inputs[0].name]
    got = _outputs(quantized, x if x.dtype.kind in "iu" else kind.from_float(x))
    return float(np.mean((got - wanted) ** 2) / max(float(wanted.var()), 1e-12))


def _harm(before: Sensitivity, after: Sensitivity, widest_cost: float) -> float:
    """Return the loss that narrowing a layer adds, for the cost that it saves."""
    # Some costs move in steps, and one layer alone saves nothing: the harm is all there is to go by then.
    return max(after.loss - before.loss, 1e-9) / max(before.cost - after.cost, 1e-3 * widest_cost)


def _check_arguments(net: Network, cost: Any, budget: float, widths: Any) -> float:
    """Check the arguments of ``recipe`` and return the budget."""
    check_network(net)
    if not callable(cost):
        raise SpicaError(f"cost is {cost!r:.60}, but must be a function of a network; spica.hardware.cost makes one")
    if not isinstance(widths, Sequence) or not widths or sorted(set(widths), reverse=True) != list(widths):
        raise SpicaError(f"widths is {widths!r:.60}, but must be bits from the widest down, such as (8, 4, 2)")
    return check_number("budget", budget, 0, 1e18)


def _activations(prepared: Network, bits: dict[str, int]) -> dict[str, int]:
    """Return activation bits by layer: its own, and for what joins layers those of the widest that it reads."""
    found: dict[str, int] = {}
    for layer in prepared:
        read = [found[name] for name in layer.inputs]
        found[layer.name] = bits.get(layer.name, max(read, default=8))
    return {layer.name: found[layer.name] for layer in prepared if has_output_stage(layer, prepared)}


def _outputs(net: Network, x: NDArray) -> NDArray[np.float64]:
    outputs = net.forward(x)
    every = outputs if isinstance(outputs, list) else [outputs]
    return np.concatenate([output.reshape(len(x), -1) for output in every], axis=1)
