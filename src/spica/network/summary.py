"""A network as a table of text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from spica.network.graph import Network
from spica.network.record import Layer


def parameters(layer: Layer) -> int:
    """Number of weights and biases in a layer."""
    arrays = (getattr(layer, f.name) for f in fields(layer) if "kernel" in f.name or f.name == "bias")
    return sum(a.size for a in arrays if isinstance(a, np.ndarray))


def table(rows: Sequence[tuple[str, ...]], left: int = 2) -> str:
    """Rows of text in aligned columns under a rule; the first ``left`` columns to the left, the rest right."""
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths))).rstrip()
        for r in rows
    ]
    lines.insert(1, "  ".join("─" * w for w in widths))
    return "\n".join(lines)


def summary(net: Network) -> str:
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
