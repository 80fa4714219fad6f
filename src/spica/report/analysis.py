"""The effect of quantising, layer by layer: errors, values before and after, and the accuracy that each layer costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.saturation import saturated_shares
from spica.errors import SpicaError
from spica.layers import Dequantize, Input, WeightedLayer
from spica.network import Network
from spica.network.classification import accuracy, classes, count_classes
from spica.network.edit import subgraph
from spica.passes import prepare
from spica.report.comparison import LayerDifference, compare, fitted, samples_for
from spica.report.text import analysis_table
from spica.util.progress import progress as show

BINS = 64


@dataclass(frozen=True, eq=False, kw_only=True)
class Histograms:
    """Counts of values in the same bins, before quantising (float) and after (integers as real numbers).

    Attributes:
        edges: of the bins, one more than there are bins.
        before, after: counts of the bins.
    """

    edges: NDArray[np.float64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]

    @property
    def divergence(self) -> float:
        """Kullback-Leibler divergence of the distribution after from that before, in nats."""
        p, q = ((counts + 1e-6) / (counts + 1e-6).sum() for counts in (self.before, self.after))
        return float(np.sum(p * np.log(p / q)))


@dataclass(frozen=True, eq=False, kw_only=True)
class LayerAnalysis:
    """One layer before and after quantising.

    Attributes:
        difference: its output against the float network's.
        activations, weights: histograms of its output and its kernel; ``weights`` is None where it has none.
        accuracy: of the network if everything up to this layer were exact; None without labels.
        saturated: share of its sums that saturate in the integer network, 0 to 1; None where it sums nothing.
    """

    difference: LayerDifference
    activations: Histograms
    weights: Histograms | None
    accuracy: float | None
    saturated: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class Analysis:
    """The result of ``analyze``; iterating over it gives the layers, in the network's order.

    Attributes:
        network: name of the quantised network.
        layers: one entry for each layer that both networks have.
        float_accuracy, accuracy: of the two networks on the samples, 0 to 1; None without labels.
    """

    network: str
    layers: tuple[LayerAnalysis, ...]
    float_accuracy: float | None
    accuracy: float | None

    def __iter__(self) -> Iterator[LayerAnalysis]:
        return iter(self.layers)

    def costs(self) -> dict[str, float]:
        """Return the accuracy that each layer costs, by its name; empty without labels.

        It is the accuracy of a network that is exact up to this layer, less that of one exact up to the layer before.
        Positive is a loss; together the costs are the whole loss.
        """
        if self.accuracy is None:
            return {}
        steps = pairwise([self.accuracy, *(layer.accuracy or 0.0 for layer in self.layers)])
        return {r.difference.layer: after - before for r, (before, after) in zip(self.layers, steps)}

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the histograms as plain data."""
        costs = self.costs()
        layers = [
            {
                **asdict(r.difference),
                "divergence": r.activations.divergence,
                "accuracy_cost": costs.get(r.difference.layer),
                "saturated": r.saturated,
            }
            for r in self.layers
        ]
        known = {name: getattr(self, name) for name in ("network", "float_accuracy", "accuracy")}
        return {**known, "layers": layers}

    def __str__(self) -> str:
        return analysis_table(self)


def analyze(
    net: Network, quantized: Network, x: ArrayLike, labels: ArrayLike | None = None, *, progress: bool | None = None
) -> Analysis:
    """Compare every layer of a quantised network with the float network that it was made from.

    Args:
        net: the float network.
        quantized: its integer form.
        x: samples ``(N, ...)`` that one of the networks reads.
        labels: class of each sample, to tell what each layer costs in accuracy. For each layer, the float network runs
            up to it, its tensors are rounded to the integer network's formats, and the integer network goes on.
        progress: whether to show a progress bar; by default only in a terminal.

    Returns:
        The analysis; printed, it is a table.

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
            accuracies[name] = _spliced(quantized, name, real, integers, labels)
    layers, saturated = [], saturated_shares(quantized, samples_for(quantized, x))
    for row in found:
        name = row.layer
        after, _ = fitted(real[name], quantized.types[name].to_float(integers[name]))
        activations, weights = _histograms(real[name], after), _weights(net, quantized, name)
        layers.append(
            LayerAnalysis(
                difference=row,
                activations=activations,
                weights=weights,
                accuracy=accuracies.get(name),
                saturated=saturated.get(name),
            )
        )
    of = [None if labels is None else n.evaluate(samples_for(n, x), labels) for n in (net, quantized)]
    return Analysis(network=quantized.name, layers=tuple(layers), float_accuracy=of[0], accuracy=of[1])


def _spliced(
    quantized: Network, name: str, real: dict[str, NDArray], integers: dict[str, NDArray], labels: ArrayLike
) -> float:
    """Return the accuracy of the integer network behind ``name``, fed with the float network's tensors there."""
    position = quantized.layers.index(quantized[name]) + 1
    before, rest = {layer.name for layer in quantized.layers[:position]}, quantized.layers[position:]
    cut = [i for i in dict.fromkeys(i for layer in rest for i in layer.inputs) if i in before]
    cut += [output for output in quantized.outputs if output in before]
    if all(isinstance(layer, Dequantize) for layer in rest):
        return _score(quantized, real[name], labels)
    values, sources = [], []
    for source in cut:
        kind = quantized.types[source]
        if source not in real or not kind.per_tensor:
            raise SpicaError(f"{source}: the networks cannot be spliced here; quantise with per-tensor activations")
        values.append(kind.from_float(real[source] / _gain(real[source], kind.to_float(integers[source]))))
        step = np.ldexp(kind.scale, -kind.frac_bits.astype(np.int32)).astype(np.float32)
        sources.append(Input(name=source, shape=kind.shape, bits=kind.bits, signed=kind.signed, scale=step))
    spliced = subgraph(quantized, quantized.outputs, sources)
    return _score(spliced, spliced.forward(values if len(values) > 1 else values[0]), labels)


def _score(net: Network, outputs: NDArray | list[NDArray], labels: ArrayLike) -> float:
    """Return the accuracy of outputs."""
    kind = net.types[net.outputs[0]]
    return accuracy(classes(net.name, kind, outputs), labels, count_classes(kind))


def _gain(before: NDArray, after: NDArray) -> NDArray:
    """Return by how much quantisation scaled a tensor: the ratio of its sizes, one for each channel of an image."""
    axes = tuple(range(before.ndim - 1)) if before.ndim == 4 else None
    sizes = [np.sqrt((t.astype(np.float64) ** 2).mean(axis=axes)) for t in (before, after)]
    return np.where((sizes[0] > 0) & (sizes[1] > 0), sizes[0] / np.maximum(sizes[1], 1e-12), 1.0)


def _weights(net: Network, quantized: Network, name: str) -> Histograms | None:
    real, layer = net[name], quantized[name]
    if not isinstance(real, WeightedLayer) or not isinstance(layer, WeightedLayer):
        return None
    before, after = real.kernel, layer.kernel * layer.weight_scale  # type: ignore[attr-defined]
    # Quantisation may have scaled filters, and channels that they read; in units of each filter, shapes compare.
    axes = tuple(range(before.ndim - 1))
    units = [np.maximum(np.sqrt((k.astype(np.float64) ** 2).mean(axis=axes)), 1e-12) for k in (before, after)]
    return _histograms(before / units[0], after / units[1])


def _histograms(before: NDArray, after: NDArray) -> Histograms:
    low, high = (float(f([f(before), f(after)])) for f in (np.min, np.max))
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    return Histograms(edges=edges, before=np.histogram(before, edges)[0], after=np.histogram(after, edges)[0])
