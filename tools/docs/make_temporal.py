"""Puts the temporal study's figures into temporal.md and draws them: ``python tools/docs/make_temporal.py``."""

from __future__ import annotations

import json
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from pages import filled, markdown

from spica.hardware import two_digits

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGE, IMAGES = DOCS / "explanation" / "temporal.md", DOCS / "images"
RESULTS = ROOT / "benchmarks" / "temporal" / "results"
MEBIBYTE = 1 << 20
SERIES = ("vowels", "motions", "heart", "words", "sound", "camera")


def results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def of(rows: list[dict], key: str, factor: float = 1.0) -> str:
    """Mean and spread, where there are any."""
    values = [factor * row[key] for row in rows if key in row]
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}" if values else ""


def modelled(rows: list[dict], key: str) -> str:
    return two_digits(statistics.mean(row[key] for row in rows)) if key in rows[0] else ""


def rows_of(name: str) -> dict[str, list[dict]]:
    """Rows of each model; those that are compared with come first."""
    rows = results("study")[name]["rows"]
    models = sorted(dict.fromkeys(row["model"] for row in rows), key=lambda model: ("TENN" in model, model[0] != "G"))
    return {model: [row for row in rows if row["model"] == model] for model in models}


def series(name: str) -> str:
    found = results("study")[name]
    table = [
        (
            model,
            of(rows, "accuracy", 100),
            of(rows, "accuracy_8bit", 100),
            f"{rows[0]['parameters']:,}",
            f"{rows[0]['macs']:,}",
            modelled(rows, "latency_us"),
            modelled(rows, "energy_nj"),
            two_digits(found["engine_us"][model]) if model in found["engine_us"] else "",
        )
        for model, rows in rows_of(name).items()
    ]
    head = ("model", "float", "8 bits", "parameters", "MACs", "latency, us", "energy, nJ", "engine, us")
    return f"**{name}**: {found['about']}.\n\n{markdown(head, table)}"


def narrow() -> str:
    """Words with weights of four bits."""
    keys = ("accuracy", "accuracy_8bit", "accuracy_4bit", "accuracy_4bit_tuned")
    table = [
        (model, *(of(rows, key, 100) for key in keys))
        for model, rows in rows_of("words").items()
        if "accuracy_4bit" in rows[0]
    ]
    return markdown(("words", "float", "8 bits", "weights of 4 bits", "4 bits, fine-tuned"), table)


def soak() -> str:
    found = results("soak")
    curve = found["curve"]
    early, late = curve[len(curve) // 10], curve[-1]
    return (
        f"{found['frames']:,} frames through a small network in {found['seconds']:.0f} s: "
        f"{early['bytes'] / MEBIBYTE:.1f} MiB of memory after a tenth of them, {late['bytes'] / MEBIBYTE:.1f} MiB at "
        f"the end; a frame takes {early['latency_us']:.0f} us and {late['latency_us']:.0f} us. "
        "`python benchmarks/temporal/soak.py --frames 10000000` does it again."
    )


def draw_soak() -> None:
    from spica.report.figures import INK, SPIKE, load_pyplot, write_figure

    curve = results("soak")["curve"]
    figure = load_pyplot()(figsize=(8, 2.4), layout="constrained")
    axes = figure.subplots()
    frames = [point["frame"] / 1e6 for point in curve]
    axes.plot(frames, [point["bytes"] / MEBIBYTE for point in curve], color=SPIKE)
    axes.set(xlabel="million frames", ylabel="MiB", ylim=(0, None), title="Memory of the process")
    axes.yaxis.label.set_color(INK)
    write_figure(figure, IMAGES / "soak.svg")


def draw_study() -> None:
    """Accuracy against work, one panel a series."""
    from matplotlib.ticker import EngFormatter

    from spica.report.figures import INK, SPIKE, load_pyplot, write_figure

    styles = {
        "GRU": {"marker": "s", "color": "#64748b"},
        "CNN": {"marker": "^", "color": "#94a3b8"},
        "TENN": {"marker": "o", "color": SPIKE},
        "TENN, polynomials": {"marker": "o", "color": SPIKE, "markerfacecolor": "white"},
        "recurrent TENN": {"marker": "D", "color": INK},
    }
    figure = load_pyplot()(figsize=(10, 5.8), layout="constrained")
    panels, shown = figure.subplots(2, 3).flat, {}
    for axes, name in zip(panels, SERIES):
        for model, rows in rows_of(name).items():
            kind = "TENN, polynomials" if "polynomials" in model else model.partition(",")[0]
            values = [100 * row["accuracy"] for row in rows]
            point = rows[0]["macs"], statistics.mean(values)
            shown[kind] = axes.errorbar(*point, yerr=statistics.stdev(values), capsize=2, linestyle="", **styles[kind])
        axes.set(title=name, xlim=(0, None))
        axes.margins(x=0.1, y=0.15)
        axes.xaxis.set_major_formatter(EngFormatter())
    figure.supxlabel("multiply-accumulates a frame")
    figure.supylabel("test accuracy in float, % (heart: F1)")
    figure.legend(shown.values(), shown.keys(), loc="outside upper center", ncols=len(shown), frameon=False)
    write_figure(figure, IMAGES / "temporal.svg")


SECTIONS = {**{name: partial(series, name) for name in SERIES}, "bits": narrow, "soak": soak}


def page() -> str:
    """The page with the figures in it."""
    return filled(PAGE, SECTIONS)


if __name__ == "__main__":
    PAGE.write_text(page())
    draw_soak()
    draw_study()
