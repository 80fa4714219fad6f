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
    rows = [("layer", "kind", "output", "weights", "parameters", "MACs")]
    total = 0
    macs = 0
    for layer in net:
        fact = net.facts(layer)
        count = parameters(layer)
        bits = getattr(layer, "weight_bits", None)
        rows.append(
            (
                layer.name,
                type(layer).__name__,
                str(net.types[layer.name]),
                f"int{bits}" if bits else ("float32" if count else ""),
                f"{count:,}" if count else "",
                f"{fact.macs:,}" if fact.macs else "",
            )
        )
        total += count
        macs += fact.macs
    kind = "integer" if net.is_integer else "float"
    return f"{net.name} ({kind} network)\n{table(rows)}\n{total:,} parameters, {macs:,} MACs a sample"
