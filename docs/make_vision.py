"""Puts the figures of the transformer into vision.md: ``python docs/make_vision.py``."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from pages import filled, markdown

DOCS = Path(__file__).parent
PAGE = DOCS / "vision.md"
RESULTS = DOCS.parent / "benchmarks" / "accuracy" / "results" / "vit.json"
NAMES = {"float": "float", "PTQ": "quantised after training", "QAT": "fine-tuned, one pass"}


def vit() -> str:
    found = json.loads(RESULTS.read_text())
    rows = []
    for method, bits in dict.fromkeys((row["method"], row["bits"]) for row in found):
        values = [100 * row["accuracy"] for row in found if (row["method"], row["bits"]) == (method, bits)]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        rows.append((NAMES[method], bits, f"{statistics.mean(values):.2f}{spread}"))
    return markdown(("", "bits of weights/activations", "accuracy, %"), rows)


def page() -> str:
    """The page with the figures in it."""
    return filled(PAGE, {"vit": vit})


if __name__ == "__main__":
    PAGE.write_text(page())
