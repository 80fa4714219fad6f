"""What quantising did to a network: each layer's error, its values before and after, and the accuracy that it costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.errors import SpicaError
from spica.layers import Dequantize, Input, WeightedLayer
from spica.network import Network
from spica.network.graph import accuracy, classes
from spica.passes import prepare
from spica.report.compare import LayerDifference, compare, fitted, samples_for
from spica.util.progress import progress as show
from spica.util.table import table

BINS = 64


@dataclass(frozen=True, eq=False, kw_only=True)
class Histograms:
    """Counts of values in the same bins, before (float) and after (integers as real numbers)."""

    edges: NDArray[np.float64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]

    @property
    def divergence(self) -> float:
        """Kullback-Leibler divergence of the distribution after from the one before, in nats."""
        p, q = ((counts + 1e-6) / (counts + 1e-6).sum() for counts in (self.before, self.after))
        return float(np.sum(p * np.log(p / q)))


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerAnalysis:
    """One layer before and after.

    Attributes:
        difference: how far its output is from the float network's.
        activations, weights: histograms of its output and its kernel; ``weights`` is missing where it has none.
        accuracy: of the network if everything up to this layer were exact; missing without labels.
    """

    difference: LayerDifference
    activations: Histograms
    weights: Histograms | None
    accuracy: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Analysis:
    """What ``analyze`` found, layer by layer in the network's order.

    Attributes:
        network: its name.
        layers: one entry for each layer that both networks have.
        float_accuracy, accuracy: of both networks on the samples; missing without labels.
    """

    network: str
    layers: tuple[LayerAnalysis, ...]
    float_accuracy: float | None
    accuracy: float | None

    def __iter__(self) -> Iterator[LayerAnalysis]:
        return iter(self.layers)

    def costs(self) -> dict[str, float]:
        """Accuracy that each layer costs: what an exact network up to it gains on one exact up to the layer before.

        Positive is a loss. Together they make up the whole loss. Empty without labels.
        """
        if self.accuracy is None:
            return {}
        known = [self.accuracy, *(layer.accuracy or 0.0 for layer in self.layers)]
        steps = pairwise(known)
        return {r.difference.layer: after - before for r, (before, after) in zip(self.layers, steps)}

    def to_dict(self) -> dict[str, Any]:
        """Everything but the histograms as plain data."""
        costs = self.costs()
        layers = [
            asdict(r.difference)
            | {"divergence": r.activations.divergence, "accuracy_cost": costs.get(r.difference.layer)}
            for r in self.layers
        ]
        return {
            "network": self.network,
            "float_accuracy": self.float_accuracy,
            "accuracy": self.accuracy,
            "layers": layers,
        }

    def __str__(self) -> str:
        costs = self.costs()
        rows = [("layer", "SQNR dB", "cosine", "KL", *(("costs, points",) if costs else ()))]
        for row in self.layers:
            d = row.difference
            shown = (d.layer, f"{d.sqnr_db:.1f}", f"{d.cosine:.5f}", f"{row.activations.divergence:.4f}")
            rows.append((*shown, *((f"{100 * costs[d.layer]:+.2f}",) if costs else ())))
        lines = [table(rows, left=1)]
        if self.accuracy is not None and self.float_accuracy is not None:
            lines.append(f"accuracy {self.accuracy:.2%}, float {self.float_accuracy:.2%}")
        return "\n".join(lines)


def analyze(
    net: Network, quantized: Network, x: ArrayLike, labels: ArrayLike | None = None, *, progress: bool | None = None
) -> Analysis:
    """Look at every layer of a quantised network beside the float network that it was made from.

    Args:
        net: the float network.
        quantized: its integer form.
        x: samples ``(N, ...)`` that one of them reads.
        labels: class of each sample, to tell what each layer costs in accuracy. For each layer, the float network runs
            up to it, its tensors are rounded to the integer network's formats, and the integer network goes on.
        progress: whether to show a progress bar; by default only in a terminal.

    Raises:
        SpicaError: where the networks have no layer in common, or labels do not fit.
    """
    net = prepare(net)
    found = compare(net, quantized, x)
    names = [row.layer for row in found]
    real = net.run(samples_for(net, x), keep=names).tensors
    integers = quantized.run(samples_for(quantized, x), keep=names).tensors
    accuracies: dict[str, float] = {}
    if labels is not None:
        for name in show(names, "splicing networks", progress):
            accuracies[name] = _spliced(net, quantized, name, real, integers, labels)
    layers = []
    for row in found:
        kind = quantized.types[row.layer]
        after, _ = fitted(real[row.layer], kind.to_float(integers[row.layer]))
        layers.append(
            LayerAnalysis(
                difference=row,
                activations=_histograms(real[row.layer], after),
                weights=_weights(net, quantized, row.layer),
                accuracy=accuracies.get(row.layer),
            )
        )
    known = labels is not None
    return Analysis(
        network=quantized.name,
        layers=tuple(layers),
        float_accuracy=net.evaluate(samples_for(net, x), labels) if known else None,  # type: ignore[arg-type]
        accuracy=quantized.evaluate(samples_for(quantized, x), labels) if known else None,  # type: ignore[arg-type]
    )


def _spliced(
    net: Network,
    quantized: Network,
    name: str,
    real: dict[str, NDArray],
    integers: dict[str, NDArray],
    labels: ArrayLike,
) -> float:
    """Accuracy of the integer network behind ``name`` on what the float network gives up to there."""
    names = [layer.name for layer in quantized]
    before = set(names[: names.index(name) + 1])
    rest = [layer for layer in quantized if layer.name not in before]
    cut = list(dict.fromkeys(i for layer in rest for i in layer.inputs if i in before))
    cut += [output for output in quantized.outputs if output in before]
    if all(isinstance(layer, Dequantize) for layer in rest):
        return accuracy(classes(quantized, real[name]), labels)
    values, sources = [], []
    for source in cut:
        kind = quantized.types[source]
        if source not in real or not kind.per_tensor:
            raise SpicaError(f"{source}: the networks cannot be spliced here; quantise with per-tensor activations")
        values.append(kind.from_float(real[source] / _gain(real[source], kind.to_float(integers[source]))))
        step = np.ldexp(kind.scale, -kind.frac_bits.astype(np.int32)).astype(np.float32)
        sources.append(Input(name=source, shape=kind.shape, bits=kind.bits, signed=kind.signed, scale=step))
    spliced = Network((*sources, *rest), quantized.outputs, quantized.name)
    return accuracy(classes(spliced, spliced.forward(values if len(values) > 1 else values[0])), labels)


def _gain(before: NDArray, after: NDArray) -> NDArray:
    """The factor between two tensors' sizes, one a channel for images: what quantisation scaled, whatever it spoilt."""
    axes = tuple(range(before.ndim - 1)) if before.ndim == 4 else None
    sizes = [np.sqrt((t.astype(np.float64) ** 2).mean(axis=axes)) for t in (before, after)]
    return np.where((sizes[0] > 0) & (sizes[1] > 0), sizes[0] / np.maximum(sizes[1], 1e-12), 1.0)


def _weights(net: Network, quantized: Network, name: str) -> Histograms | None:
    twin, layer = net[name], quantized[name]
    if not isinstance(twin, WeightedLayer) or not isinstance(layer, WeightedLayer):
        return None
    before, after = twin.kernel, layer.kernel * layer.weight_scale  # type: ignore[attr-defined]
    # Quantisation may have scaled filters, and channels that they read; in units of each filter, shapes compare.
    axes = tuple(range(before.ndim - 1))
    units = [np.maximum(np.sqrt((k.astype(np.float64) ** 2).mean(axis=axes)), 1e-12) for k in (before, after)]
    return _histograms(before / units[0], after / units[1])


def _histograms(before: NDArray, after: NDArray) -> Histograms:
    low, high = (float(f([f(before), f(after)])) for f in (np.min, np.max))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    return Histograms(edges=edges, before=np.histogram(before, edges)[0], after=np.histogram(after, edges)[0])
