"""Puts the learning study's figures into learning.md: ``python tools/docs/make_learning.py``."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from pages import filled, markdown

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = DOCS / "explanation" / "learning.md"
RESULTS = ROOT / "benchmarks" / "learning" / "results" / "study.json"
SHOTS = (1, 5, 20)


def results() -> Any:
    return json.loads(RESULTS.read_text())


def mean(rows: list[dict], key: str, **where: float) -> float:
    return 100 * statistics.mean(row[key] for row in rows if where.items() <= row.items())


def methods(of: dict[str, list[dict]]) -> str:
    table = []
    for name, rows in of.items():
        new = [f"{mean(rows, 'new', shots=s):.1f}" for s in SHOTS]
        old = [f"{mean(rows, 'old', shots=s):.1f}" for s in SHOTS]
        if "before" in rows[0]:
            old = [f"{o} ({100 * rows[0]['before'] - mean(rows, 'old', shots=s):+.1f})" for o, s in zip(old, SHOTS)]
        table.append((name, *new, *old))
    head = ("method", *[f"new, {s} shots" for s in SHOTS], *[f"old, {s} shots" for s in SHOTS])
    return markdown(head, table)


def choices() -> str:
    table = []
    for name, changes in results()["digits"]["choices"].items():
        for case in changes:
            value = list(case["change"].values())[-1]
            lost = 100 * case["rows"][0]["before"] - mean(case["rows"], "old", shots=5)
            table.append((name, f"{value:g}", f"{mean(case['rows'], 'new', shots=5):.1f}", f"{lost:+.1f}"))
    return markdown(("choice", "value", "new, %", "old lose, points"), table)


def arrivals() -> str:
    found = results()["digits"]["arrivals"]
    counts = [row["classes"] for row in next(iter(found.values()))]
    rows = [(name, *[f"{100 * row['accuracy']:.1f}" for row in of]) for name, of in found.items()]
    return markdown(("classes", *map(str, counts)), rows)


def noise() -> str:
    found = results()["digits"]["noise"]
    shares = sorted({row["share"] for row in next(iter(found.values()))})
    rows = [(name, *[f"{mean(of, 'new', share=s):.1f}" for s in shares]) for name, of in found.items()]
    return markdown(("new digits, % right", *[f"{s:.0%} wrong" for s in shares]), rows)


def times() -> str:
    rows = [
        (name, f"{of['inference']:.3f}", f"{of['learning']:.3f}", f"{of['learning'] / of['inference']:.2f}")
        for name, of in results()["digits"]["times_ms"].items()
    ]
    return markdown(("one sample, ms", "inference", "learning, its inference included", "ratio"), rows)


def vocabulary() -> str:
    found = results()["words"]["vocabulary"]
    rows = [(name, *[f"{100 * row['accuracy']:.1f}" for row in of]) for name, of in found.items()]
    return markdown(("neurons a word", *[str(row["neurons"]) for row in found["swap"]]), rows)


def words() -> str:
    found = results()["words"]
    return (
        f"The classifier of 25 words gets {found['float_accuracy']:.1%} in float and {found['integer_accuracy']:.1%} "
        f"with 4 bits; {found['density']:.0%} of its {found['inputs']} binary features fire, and a neuron has "
        f"{found['proposed_weights']} connections."
    )


def elbow() -> str:
    found = results()["digits"]["elbow"]
    missed = ("spikes missed", *[f"{share:.1%}" for share in found["curve"].values()])
    return f"{markdown(('neurons a class', *found['curve']), [missed])}\n\nProposed: {found['best']}."


SECTIONS = {
    "methods": lambda: methods(results()["digits"]["methods"]),
    "extractors": lambda: methods(results()["digits"]["extractors"]),
    "words": words,
    "word methods": lambda: methods(results()["words"]["methods"]),
    "vocabulary": vocabulary,
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
