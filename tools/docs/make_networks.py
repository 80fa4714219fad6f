"""Puts what became of the catalogue's networks into networks.md: ``python tools/docs/make_networks.py``.

The results are those that ``python benchmarks/networks/run.py`` left.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pages import Row, filled, markdown

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "networks.md"
RESULTS = ROOT / "benchmarks" / "networks" / "results" / "networks.json"
DEVICES = ("Akida2-6", "AKD1000")
SMALL = 30_000_000  # multiply-accumulates up to which both engines ran


def results() -> dict[str, dict[str, Any]]:
    """Return the results of each network that its framework could export."""
    found = json.loads(RESULTS.read_text())
    return {name: facts for name, facts in found.items() if "exporter" not in facts}


def share(count: int, of: int) -> str:
    return f"{count} of {of} ({count / of:.0%})" if of else "none"


def summary() -> str:
    """Counts over all networks."""
    found = results().values()
    taken = [f for f in found if f["taken"]]
    errors = [f["error"] for f in taken if "error" in f]
    rows: list[Row] = [
        ("taken whole", share(len(taken), len(found))),
        ("compared with their framework", share(len(errors), len(taken))),
        ("largest error, relative to the largest output", f"{max(errors):.1e}"),
    ]
    for bits in (8, 4):
        asked = {f"engines agree at {bits}", f"why not at {bits}"}
        tried = [f for f in taken if f["macs"] <= SMALL and asked & f.keys()]
        same = [f for f in tried if f.get(f"engines agree at {bits}")]
        what = f"quantised whole at {bits} bits, engines equal (those up to 30 million MACs)"
        rows.append((what, share(len(same), len(tried))))
        for device in DEVICES:
            ends = [f[f"devices at {bits}"][device] for f in taken if device in f.get(f"devices at {bits}", {})]
            whole = [e for e in ends if e.startswith("whole")]
            split = [e for e in ends if "on the chip" in e and not e.startswith("0%")]
            rows.append((f"... whole on {device}, as they are or once fixed", share(len(whole), len(ends))))
            rows.append((f"... or split between {device} and its host", share(len(whole) + len(split), len(ends))))
    return markdown(("networks", "count"), rows)


def table() -> str:
    """A row for each network."""
    rows: list[Row] = []
    for name, facts in results().items():
        if not facts["taken"]:
            rows.append((name, f"refused: {facts['why']}", "", "", ""))
            continue
        error = f"{facts['error']:.0e}" if "error" in facts else "not compared"
        ends = facts.get("devices at 8", {})
        equal = {True: "yes", False: "NO"}.get(
            facts.get("engines agree at 8"), facts.get("why not at 8", "too large here")
        )
        rows.append((name, f"{facts['layers']} layers", error, equal, ends.get(DEVICES[0], "")))
    return markdown(("network", "taken", "error", "8-bit engines equal", DEVICES[0]), rows)


SECTIONS = {"summary": summary, "table": table}


def page() -> str:
    """The page with its figures."""
    return filled(PAGE, SECTIONS)


if __name__ == "__main__":
    PAGE.write_text(page())
