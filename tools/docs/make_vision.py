"""Puts the figures of the transformer into vision.md: ``python tools/docs/make_vision.py``."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from pages import filled, markdown

from spica.hardware import two_digits

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE = DOCS / "explanation" / "vision.md"
RESULTS = ROOT / "benchmarks" / "accuracy" / "results" / "vit.json"
NAMES = {"float": "float", "PTQ": "quantised after training", "QAT": "fine-tuned, one pass"}


def vit() -> str:
    found = json.loads(RESULTS.read_text())
    rows = []
    for method, bits in dict.fromkeys((row["method"], row["bits"]) for row in found):
        values = [100 * row["accuracy"] for row in found if (row["method"], row["bits"]) == (method, bits)]
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        rows.append((NAMES[method], bits, f"{statistics.mean(values):.2f}{spread}"))
    return markdown(("", "bits of weights/activations", "accuracy, %"), rows)


def device() -> str:
    found = next(row for row in json.loads(RESULTS.read_text()) if "device" in row)
    latency, energy, engine = (two_digits(found[key]) for key in ("latency_ms", "energy_uj", "engine_ms"))
    return (
        f"The transformer above at eight bits takes {found['nps']} NPs in {found['passes']} passes of "
        f"{found['device']}: modelled, {latency} ms and {energy} uJ of dynamic energy an image. "
        f"The engine takes {engine} ms, measured, one thread."
    )


def page() -> str:
    """The page with the figures in it."""
    return filled(PAGE, {"vit": vit, "device": device})


if __name__ == "__main__":
    PAGE.write_text(page())
