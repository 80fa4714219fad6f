"""Puts the engine's measured figures into engine.md and draws them: ``python tools/docs/make_engine.py``.

The figures are those that the scripts in benchmarks/engine left in its folder ``results``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pages import filled, markdown

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE, PICTURE = DOCS / "explanation" / "engine.md", DOCS / "images" / "engine.svg"
RESULTS = ROOT / "benchmarks" / "engine" / "results"


def results(name: str) -> dict[str, Any]:
    return json.loads((RESULTS / f"{name}.json").read_text())


def machine() -> str:
    facts = results("run")["machine"]
    peaks = facts["peak_gmacs"]
    return (
        f"Measured on one machine, in one run: {facts['processor']}, {facts['instruction_set']}, int8 peak "
        f"{peaks['1']:.0f} GMAC/s on one thread and {peaks['2']:.0f} on two; onnxruntime {facts['onnxruntime']}."
    )


def natural(row: dict) -> bool:
    return row["density"] is None


def networks() -> str:
    facts = results("run")
    rows = [
        (
            row["network"],
            str(row["batch"]),
            str(row["threads"]),
            f"{row['spica']['p50_ms']:.3f}",
            f"{row['spica']['p99_ms']:.3f}",
            f"{row['spica']['samples_per_second']:,.0f}",
            f"{row['onnxruntime']['p50_ms']:.3f}",
            f"{row['ratio']:.2f}",
            f"{row['gmacs'] / facts['machine']['peak_gmacs'][str(row['threads'])]:.0%}",
        )
        for row in facts["rows"]
        if natural(row)
    ]
    head = ("network", "batch", "threads", "ms", "p99 ms", "samples/s", "onnxruntime ms", "ratio", "of peak")
    mean = f"Geometric mean of the ratios, without the fused networks: **{facts['geometric_mean_ratio']:.2f}**."
    return f"{markdown(head, rows)}\n\n{mean}"


def held() -> str:
    """Ratios to onnxruntime on one thread with both sides held to lesser instruction sets, beside those without."""
    runs = {name: results(name) for name in ("avx2", "avxvnni", "run")}
    found: dict[tuple, dict[str, float]] = {}
    for name, facts in runs.items():
        for row in facts["rows"]:
            if natural(row) and row["threads"] == 1:
                found.setdefault((row["network"], row["batch"]), {})[name] = row["ratio"]
    rows = [(network, str(batch), *(f"{r[name]:.2f}" for name in runs)) for (network, batch), r in found.items()]
    means = ("geometric mean, as above", "", *(f"{facts['geometric_mean_ratio']:.2f}" for facts in runs.values()))
    peaks = ("our peak, GMAC/s", "", *(f"{facts['machine']['peak_gmacs']['1']:.0f}" for facts in runs.values()))
    return markdown(("network", "batch", "AVX2", "AVX-VNNI", "AVX-512"), [*rows, means, peaks])


def densities() -> str:
    facts = results("run")["rows"]
    rows = []
    for row in facts:
        if natural(row) or row["batch"] != 32 or row["threads"] != 1:
            continue
        same = (r for r in facts if r["network"] == row["network"] and (r["batch"], r["threads"]) == (32, 1))
        full = next(r for r in same if r["density"] == 1.0)
        paths = row["paths"]
        rows.append(
            (
                row["network"],
                f"{row['density']:.0%}",
                f"{row['mean_density']:.0%}",
                f"{row['spica']['p50_ms'] / 32:.4f}",
                f"{full['spica']['p50_ms'] / row['spica']['p50_ms']:.2f}",
                f"{row['ratio']:.2f}",
                f"{paths['events'] / max(paths['dense'] + paths['events'], 1):.0%}",
            )
        )
    head = (
        "network",
        "wished",
        "mean density",
        "ms a sample",
        "gain over 100 %",
        "ratio to onnxruntime",
        "events path",
    )
    return markdown(head, rows)


def predict() -> str:
    rows = [
        (row["network"], str(row["batch"]), f"{row['p50_ms']:.1f}", f"{row['ratio']:.0f}")
        for row in results("run")["quantizeml"]
    ]
    return markdown(("network", "batch", "quantizeml predict ms", "times Spica's"), rows)


def memory() -> str:
    rows = [
        (
            name,
            f"{m['spica'] / 1e6:.1f}",
            f"{(m['weights'] + 3 * m['largest_pair']) / 1e6:.1f}",
            f"{m['onnxruntime'] / 1e6:.1f}",
        )
        for name, m in results("run")["memory"].items()
    ]
    return markdown(("network", "MB", "weights + 3 largest pairs, MB", "onnxruntime MB"), rows)


def layers() -> str:
    rows = [
        (
            row["layer"],
            f"{row['density']:.0%}",
            *(f"{row[path]['gmacs']:.0f}" for path in ("dense", "events", "automatic")),
            f"{row['dense']['of_peak']:.0%}",
            f"{row['automatic']['gmacs'] / row['dense']['gmacs']:.2f}",
        )
        for row in results("layers")["densities"]
    ]
    head = ("layer", "density", "dense GMAC/s", "events GMAC/s", "chosen GMAC/s", "dense, of peak", "chosen / dense")
    return markdown(head, rows)


def scaling() -> str:
    rows = [
        (name, ", ".join(f"{s['value']}: {s['gmacs']:.0f}" for s in found))
        for name, found in results("layers")["scaling"].items()
    ]
    return markdown(("by", "GMAC/s"), rows)


def costs() -> str:
    rows = [
        (name, f"{found['counting']:+.1%}", f"{found['plan_seconds']:.3f}")
        for name, found in results("layers")["costs"].items()
    ]
    return markdown(("network", "counting events adds", "seconds to plan"), rows)


SECTIONS: dict[str, Callable[[], str]] = {
    "machine": machine,
    "networks": networks,
    "held": held,
    "densities": densities,
    "quantizeml": predict,
    "memory": memory,
    "layers": layers,
    "scaling": scaling,
    "costs": costs,
}


def page() -> str:
    """The page with the figures in it."""
    return filled(PAGE, SECTIONS)


def draw() -> None:
    """The roofline, the ratios to onnxruntime, and what zeros save, as one picture."""
    import matplotlib.pyplot as plt
    import numpy as np

    roof, run, single = results("roofline"), results("run"), results("layers")
    plt.rcParams["svg.fonttype"] = "none"
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    peak, bandwidth = roof["machine"]["peak_gmacs"]["1"], roof["bytes_per_second"] / 1e9
    x = np.logspace(-0.5, 3.5, 100)
    left.loglog(x, np.minimum(peak, bandwidth * x), color="black", label="roof: int8 peak, memory copy")
    for kind in sorted({row["kind"] for row in roof["layers"]}):
        of = [row for row in roof["layers"] if row["kind"] == kind]
        left.scatter([r["macs"] / r["bytes"] for r in of], [r["gmacs"] for r in of], s=18, label=kind)
    left.set(title="Roofline, one thread, batch 1", xlabel="MAC / byte", ylabel="GMAC/s")
    left.legend(fontsize=7)
    shown = [row for row in run["rows"] if natural(row)]
    names = list(dict.fromkeys(row["network"] for row in shown))
    cases = list(dict.fromkeys((row["batch"], row["threads"]) for row in shown))
    for i, case in enumerate(cases):
        heights = [r["ratio"] for r in shown if (r["batch"], r["threads"]) == case]
        at = np.arange(len(names)) + (i - 1.5) * 0.2
        middle.bar(at, heights, 0.2, label=f"batch {case[0]}, {case[1]} threads")
    middle.axhline(1, color="black", linewidth=0.8)
    middle.set_xticks(range(len(names)), names, rotation=30, ha="right", fontsize=7)
    middle.set(title="Speed against onnxruntime", ylabel="ratio")
    middle.legend(fontsize=7)
    for layer in dict.fromkeys(row["layer"] for row in single["densities"]):
        of = [row for row in single["densities"] if row["layer"] == layer]
        gains = [r["automatic"]["gmacs"] / r["dense"]["gmacs"] for r in of]
        right.semilogx([r["density"] for r in of], gains, marker="o", label=layer)
    right.axhline(1, color="black", linewidth=0.8)
    right.set(title="Chosen path against the dense one", xlabel="density of the input", ylabel="ratio")
    right.legend(fontsize=7)
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    PAGE.write_text(page())
    draw()
