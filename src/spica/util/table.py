"""Text tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from spica.errors import printable


def table(rows: Sequence[tuple[str, ...]], left: int = 2) -> str:
    """Return rows of text as aligned columns with a rule under the first row.

    Args:
        rows: cells; all rows of one length, the first is the header.
        left: how many columns are aligned to the left; the rest to the right.
    """
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(c.ljust(w) if i < left else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths))).rstrip()
        for r in rows
    ]
    lines.insert(1, "  ".join("─" * w for w in widths))
    return "\n".join(lines)
