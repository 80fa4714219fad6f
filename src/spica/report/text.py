"""Results as text tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spica.util.table import table

if TYPE_CHECKING:
    from spica.report.analysis import Analysis
    from spica.report.comparison import Comparison


def analysis_table(found: Analysis) -> str:
    """Return a row for each layer, what it costs and which of its sums saturate where there is any, and accuracies."""
    costs, lost = found.costs(), any(row.saturated for row in found.layers)
    more = [title for title, shown in (("saturated", lost), ("costs, points", costs)) if shown]
    rows: list[tuple[str, ...]] = [("layer", "SQNR dB", "cosine", "KL", *more)]
    for row in found.layers:
        d = row.difference
        shown: tuple[str, ...] = (d.layer, f"{d.sqnr_db:.1f}", f"{d.cosine:.5f}", f"{row.activations.divergence:.4f}")
        shown += (f"{row.saturated or 0:.2%}",) if lost else ()
        rows.append((*shown, *((f"{100 * costs[d.layer]:+.2f}",) if costs else ())))
    lines = [table(rows, left=1)]
    if lost:
        lines.append("sums saturate on these samples; quantise again with samples as large as these")
    if found.accuracy is not None and found.float_accuracy is not None:
        lines.append(f"accuracy {found.accuracy:.2%}, float {found.float_accuracy:.2%}")
    return "\n".join(lines)


def comparison_table(found: Comparison) -> str:
    """Return a row for each layer that both networks have, and the names of the others."""
    rows = [("layer", "values", "differ", "largest", "gain", "SQNR dB", "cosine")]
    for r in found.layers:
        figures = f"{r.largest:.3g}", f"{r.gain:.4f}", f"{r.sqnr_db:.1f}", f"{r.cosine:.6f}"
        rows.append((r.layer, f"{r.values:,}", f"{r.differ:,}", *figures))
    lines = [f"{found.a} and {found.b}: {'equal' if found.equal else 'different'}", table(rows, left=1)]
    only = ((found.a, found.only_a), (found.b, found.only_b))
    return "\n".join(lines + [f"only in {name}: {', '.join(layers)}" for name, layers in only if layers])
