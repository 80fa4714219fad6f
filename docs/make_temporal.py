"""Puts the temporal study's figures into temporal.md and draws the soak: ``python docs/make_temporal.py``."""

from __future__ import annotations

import json
import statistics
from functools import partial
from pathlib import Path
from typing import Any

from pages import filled, markdown

from spica.hardware import two_digits

DOCS = Path(__file__).parent
PAGE, PICTURE = DOCS / "temporal.md", DOCS / "images" / "soak.svg"
RESULTS = DOCS.parent / "benchmarks" / "temporal" / "results"
MEBIBYTE = 1 << 20


def results(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def of(rows: list[dict], key: str, factor: float = 1.0) -> str:
    """Mean and spread, where there are any."""
    values = [factor * row[key] for row in rows if key in row]
    return f"{statistics.mean(values):.1f} ± {statistics.stdev(values):.1f}" if values else ""


def modelled(rows: list[dict], key: str) -> str:
    return two_digits(statistics.mean(row[key] for row in rows)) if key in rows[0] else ""


def series(name: str) -> str:
    found = results("study")[name]
    table = []
    for model in dict.fromkeys(row["model"] for row in found["rows"]):
        rows = [row for row in found["rows"] if row["model"] == model]
        table.append(
            (
                model,
                of(rows, "accuracy", 100),
                of(rows, "accuracy_8bit", 100),
                f"{rows[0]['parameters']:,}",
                f"{rows[0]['macs']:,}",
                modelled(rows, "latency_us"),
                modelled(rows, "energy_nj"),
                modelled(rows, "engine_us"),
            )
        )
    head = ("model", "float", "8 bits", "parameters", "MACs", "latency, us", "energy, nJ", "engine, us")
    about = found["about"]
    return f"**{name}**: {about}.\n\n{markdown(head, table)}"


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


def draw() -> None:
    from spica.report.figures import INK, SPIKE, load_pyplot, write_figure

    curve = results("soak")["curve"]
    figure = load_pyplot()(figsize=(8, 2.4), layout="constrained")
    axes = figure.subplots()
    frames = [point["frame"] / 1e6 for point in curve]
    axes.plot(frames, [point["bytes"] / MEBIBYTE for point in curve], color=SPIKE)
    axes.set(xlabel="million frames", ylabel="MiB", ylim=(0, None), title="Memory of the process")
    axes.yaxis.label.set_color(INK)
    write_figure(figure, PICTURE)


SECTIONS = {name: partial(series, name) for name in ("vowels", "motions", "words")} | {"soak": soak}


def page() -> str:
    """The page with the figures in it."""
    return filled(PAGE, SECTIONS)


if __name__ == "__main__":
    PAGE.write_text(page())
    draw()
