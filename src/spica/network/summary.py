"""A network as a text table."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from spica.network.graph import Network
from spica.network.layer import Layer
from spica.util.table import table


def parameters(layer: Layer) -> int:
    """Return the number of weights and biases in a layer."""
    arrays = (getattr(layer, f.name) for f in fields(layer) if "kernel" in f.name or f.name == "bias")
    return sum(a.size for a in arrays if isinstance(a, np.ndarray))


def summary(net: Network) -> str:
    """Return a table of a network's layers, and its parameters and MACs in all."""
    rows: list[tuple[str, ...]] = [("layer", "kind", "output", "weights", "parameters", "MACs")]
    counts = [(parameters(layer), net.macs(layer)) for layer in net]
    for layer, figures in zip(net, counts):
        bits = getattr(layer, "weight_bits", None)
        weights = f"int{bits}" if bits else "float32" if figures[0] else ""
        shown = (f"{n:,}" if n else "" for n in figures)
        rows.append((layer.name, type(layer).__name__, str(net.types[layer.name]), weights, *shown))
    weights, macs = (f"{sum(column):,}" for column in zip(*counts))
    kind = "integer" if net.is_integer else "float"
    return f"{net.name} ({kind} network)\n{table(rows)}\n{weights} parameters, {macs} MACs a sample"
