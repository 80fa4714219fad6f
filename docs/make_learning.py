"""Puts the learning study's figures into learning.md: ``python docs/make_learning.py``."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from pages import filled, markdown

DOCS = Path(__file__).parent
PAGE = DOCS / "learning.md"
RESULTS = DOCS.parent / "benchmarks" / "learning" / "results" / "study.json"
SHOTS = (1, 5, 20)


def results() -> Any:
    return json.loads(RESULTS.read_text())


def mean(rows: list[dict], key: str, **where: float) -> float:
    return 100 * statistics.mean(row[key] for row in rows if where.items() <= row.items())


def methods() -> str:
    table = []
    for name, rows in results()["methods"].items():
        new = [f"{mean(rows, 'new', shots=s):.1f}" for s in SHOTS]
        old = [f"{mean(rows, 'old', shots=s):.1f}" for s in SHOTS]
        if "before" in rows[0]:
            old = [f"{o} ({100 * rows[0]['before'] - mean(rows, 'old', shots=s):+.1f})" for o, s in zip(old, SHOTS)]
        table.append((name, *new, *old))
    head = ("method", *[f"new, {s} shots" for s in SHOTS], *[f"old, {s} shots" for s in SHOTS])
    return markdown(head, table)


def choices() -> str:
    table = []
    for name, changes in results()["choices"].items():
        for case in changes:
            value = list(case["change"].values())[-1]
            lost = 100 * case["rows"][0]["before"] - mean(case["rows"], "old", shots=5)
            table.append((name, f"{value:g}", f"{mean(case['rows'], 'new', shots=5):.1f}", f"{lost:+.1f}"))
    return markdown(("choice", "value", "new, %", "old lose, points"), table)


def arrivals() -> str:
    found = results()["arrivals"]
    counts = [row["classes"] for row in next(iter(found.values()))]
    rows = [(name, *[f"{100 * row['accuracy']:.1f}" for row in of]) for name, of in found.items()]
    return markdown(("classes", *map(str, counts)), rows)


def noise() -> str:
    found = results()["noise"]
    shares = sorted({row["share"] for row in next(iter(found.values()))})
    rows = [(name, *[f"{mean(of, 'new', share=s):.1f}" for s in shares]) for name, of in found.items()]
    return markdown(("new digits, % right", *[f"{s:.0%} wrong" for s in shares]), rows)


def times() -> str:
    found = results()["times_ms"]
    ratio = found["learning"] / found["inference"]
    return (
        f"One inference takes {found['inference']:.3f} ms, learning one sample {found['learning']:.3f} ms, its own "
        f"inference included: {ratio:.2f} times as long (one thread, one sample at a time, from Python)."
    )


def elbow() -> str:
    found = results()["elbow"]
    missed = ("spikes missed", *[f"{share:.1%}" for share in found["curve"].values()])
    return f"{markdown(('neurons a class', *found['curve']), [missed])}\n\nProposed: {found['best']}."


SECTIONS = {
    "methods": methods,
    "choices": choices,
    "arrivals": arrivals,
    "noise": noise,
    "times": times,
    "elbow": elbow,
}


def page() -> str:
    """The page with the figures in it."""
    return filled(PAGE, SECTIONS)


if __name__ == "__main__":
    PAGE.write_text(page())
