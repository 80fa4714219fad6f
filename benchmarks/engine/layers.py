"""Single layers: dense and event path by density, the share of this machine's peak, and scaling.

``python benchmarks/engine/layers.py --out layers.json`` prints tables and writes all figures: a layer's own time, its
listing of events and output stage included, without the copying of samples in and out, on one thread. A path is forced
in a process of its own, by SPICA_PATH; processes take turns, and every figure is a median over all turns.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table
from rivals import race
from run import machine, macs
from studied import integer, samples, single, sparse

from spica import _native
from spica.engine.plan import plan

LAYERS = [
    ("conv3x3", 28, 64),
    ("conv3x3", 28, 128),
    ("conv3x3", 14, 256),
    ("conv1x1", 14, 256),
    ("conv1x1", 14, 512),
    ("depthwise3x3", 28, 128),
    ("dense", 1, 1024),
]
DENSITIES = (1.0, 0.5, 0.2, 0.1, 0.05, 0.02)
PATHS = ("dense", "events", "automatic")
SCALING = {
    "image size": [("conv3x3", size, 64, 1) for size in (7, 14, 28, 56, 112)],
    "channels": [("conv3x3", 28, channels, 1) for channels in (8, 16, 32, 64, 128, 256)],
    "batch": [("dense", 1, 1024, batch) for batch in (1, 2, 4, 8, 16, 32)],
}
TURNS, RUNS = 5, 5


def measure(kind: str, size: int, channels: int, density: float, batch: int) -> dict[str, float]:
    """Multiply-accumulates a second of the layer, and their share of the peak at the same moment."""
    net = single(kind, size, channels)
    x = sparse((batch, *net.inputs[0].shape), density)
    net.run(x, threads=1, keep=["layer"])
    program = plan(net, ["layer"])[0].native
    seconds = []
    for _ in range(RUNS):
        before = sum(s for _, s in program.seconds())
        net.run(x, threads=1, keep=["layer"])
        seconds.append(sum(s for _, s in program.seconds()) - before)
    rate = macs(net) * batch / statistics.median(seconds)
    return {"gmacs": rate / 1e9, "of_peak": rate / _native.peak(1)}


def costs() -> dict[str, dict[str, float]]:
    """What counting events adds to a run (a ratio), and the seconds that planning takes, for whole networks."""
    found = {}
    for name in ("resnet8", "akidanet_0.5_160", "akidanet_1_224"):
        net = integer(name)
        x = samples(net, 8, seed=1)
        start = time.perf_counter()
        for segment in plan(net, net.outputs):
            segment.native.sample_bytes  # noqa: B018  (built when first asked for)
        planned = time.perf_counter() - start
        runs = {
            "plain": lambda net=net, x=x: net.run(x, threads=1),
            "counted": lambda net=net, x=x: net.run(x, threads=1, count=True),
        }
        seconds = race(runs, 100)
        ratio = statistics.median(seconds["counted"]) / statistics.median(seconds["plain"])
        found[name] = {"counting": ratio - 1, "plan_seconds": planned}
    return found


def densities_of(path: str) -> list[dict[str, float]]:
    """Figures of all layers at all densities, in a process where ``path`` is forced."""
    environment = {**os.environ, "SPICA_PATH": path}
    return json.loads(subprocess.check_output([sys.executable, __file__, "--one-turn"], env=environment, text=True))


def one_turn() -> list[dict[str, float]]:
    batch = {"dense": 32}
    return [measure(*layer, density, batch.get(layer[0], 4)) for layer in LAYERS for density in DENSITIES]


def median(turns: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(turn[key] for turn in turns) for key in turns[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    parser.add_argument("--one-turn", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_turn:
        print(json.dumps(one_turn()))
        return
    console = Console(width=120)
    turns: dict[str, list] = {path: [] for path in PATHS}
    for _ in track(range(TURNS), "paths", console=Console(stderr=True)):
        for path in PATHS:
            turns[path].append(densities_of(path))
    rows = []
    for i, (layer, density) in enumerate((layer, density) for layer in LAYERS for density in DENSITIES):
        figures = {path: median([turn[i] for turn in turns[path]]) for path in PATHS}
        rows.append({"layer": f"{layer[0]} {layer[1]}x{layer[1]}x{layer[2]}", "density": density, **figures})
    table = Table("layer", "density", *[f"{path} GMAC/s" for path in PATHS], "of peak", "automatic / dense")
    for row in rows:
        rates = [f"{row[path]['gmacs']:.0f}" for path in PATHS]
        gain = row["automatic"]["gmacs"] / row["dense"]["gmacs"]
        table.add_row(
            row["layer"], f"{row['density']:.0%}", *rates, f"{row['automatic']['of_peak']:.0%}", f"{gain:.2f}"
        )
    console.print(table)
    scaling = {}
    for name, cases in track(SCALING.items(), "scaling", console=Console(stderr=True)):
        found = [median([measure(kind, size, c, 1.0, batch) for _ in range(TURNS)]) for kind, size, c, batch in cases]
        values = [case[{"image size": 1, "channels": 2, "batch": 3}[name]] for case in cases]
        scaling[name] = [{"value": v, **figures} for v, figures in zip(values, found)]
        console.print(name, ", ".join(f"{s['value']}: {s['gmacs']:.0f} GMAC/s" for s in scaling[name]))
    facts = {"machine": machine(), "densities": rows, "scaling": scaling, "costs": costs()}
    if options.out:
        options.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
