"""Puts the accuracy study's figures into quantization.md and draws them: ``python tools/docs/make_accuracy.py``.

The figures are those that the scripts in benchmarks/accuracy left in its folder ``results``.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from pages import filled, markdown

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE, PICTURE = DOCS / "explanation" / "quantization.md", DOCS / "images" / "accuracy.svg"
RESULTS = ROOT / "benchmarks" / "accuracy" / "results"
SCHEMES = ("8/8", "8/4/4", "4/4", "2/2", "1/1")
NETWORKS = ("digits", "akidanet32", "resnet8")


def results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def accuracies(network: str, method: str, scheme: str) -> list[float]:
    """Percent, over seeds."""
    wanted = (network, method, scheme)
    return [100 * r["accuracy"] for r in results("study") if (r["network"], r["method"], r["bits"]) == wanted]


def methods(network: str) -> list[str]:
    return list(dict.fromkeys(r["method"] for r in results("study") if r["network"] == network and r["bits"] != "32"))


def study(network: str) -> str:
    """A table of methods by bits."""
    rows = []
    for method in methods(network):
        cells = []
        for scheme in SCHEMES:
            values = accuracies(network, method, scheme)
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}" if values else "")
        rows.append((method, *cells))
    float_accuracy = accuracies(network, "float", "32")[0]
    return markdown((f"{network}, float {float_accuracy:.2f} %", *SCHEMES), rows)


def sparsity() -> str:
    rows = [
        (
            f"{row['strength']:g}",
            f"{row['accuracy']:.2%}",
            f"{row['sparsity']:.1%}",
            f"{row['events']:,.0f}",
            f"{row['energy_uj']:.1f}",
            f"{row['latency_ms']:.3f}",
        )
        for row in results("sparsity")["rows"]
    ]
    head = (
        "strength",
        "accuracy",
        "zeros",
        "events a sample",
        "dynamic energy, uJ (modelled)",
        "latency, ms (modelled)",
    )
    return markdown(head, rows)


SECTIONS = {
    **{name: (lambda name=name: study(name)) for name in NETWORKS},
    "sparsity": sparsity,
}


def page() -> str:
    """The page with the figures in it."""
    return filled(PAGE, SECTIONS)


def draw() -> None:
    """Accuracy by bits for each network, and accuracy against modelled energy under activity losses, as one picture."""
    import matplotlib.pyplot as plt

    plt.rcParams["svg.fonttype"] = "none"
    figure, axes = plt.subplots(1, len(NETWORKS) + 1, figsize=(17, 4.4), layout="constrained")
    for ax, network in zip(axes, NETWORKS):
        for method in methods(network):
            if method.endswith("a step a channel"):
                continue
            found = [accuracies(network, method, scheme) for scheme in SCHEMES]
            shown = [(s, statistics.mean(v)) for s, v in zip(SCHEMES, found) if v]
            ax.plot(*zip(*shown), marker="o", label=method)
        ax.axhline(accuracies(network, "float", "32")[0], color="black", linewidth=0.8)
        ax.set(title=network, xlabel="bits", ylabel="accuracy, %")
        ax.legend(fontsize=7)
    rows = results("sparsity")["rows"]
    axes[-1].plot([r["energy_uj"] for r in rows], [100 * r["accuracy"] for r in rows], marker="o")
    for row in rows:
        place = (row["energy_uj"], 100 * row["accuracy"])
        axes[-1].annotate(f" {row['sparsity']:.0%} zeros", place, fontsize=7)
    axes[-1].set(title="Activity losses", xlabel="dynamic energy a sample, uJ (modelled)", ylabel="accuracy, %")
    figure.savefig(PICTURE, metadata={"Date": None})


if __name__ == "__main__":
    PAGE.write_text(page())
    draw()
