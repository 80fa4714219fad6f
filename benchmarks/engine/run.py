"""Whole networks on Spica, onnxruntime and quantizeml, on this machine, in one run.

``python benchmarks/engine/run.py --out results.json`` prints a table and writes all figures; ``--quick`` takes one
density and few repeats. With ``--quantizeml PYTHON``, an interpreter that has quantizeml, its predict runs too.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import math
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import onnxruntime
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rivals import figures, onnxruntime_run, quantizeml_seconds, race, spica_run
from studied import FUSED, NETWORKS, at_density, densities, integer, samples

import spica
from spica import _native
from spica.engine.plan import plan
from spica.network import Network

DENSITIES = (None, 1.0, 0.5, 0.1, 0.05)
"""Share of non-zero values; none stands for what the network makes of its samples."""
LONG_RUN = 0.5
"""Seconds of one prediction above which quantizeml predicts only five times."""


def machine() -> dict[str, object]:
    """What the figures depend on."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0].split(":")[1].strip() if names else platform.processor(),
        "instruction_set": _native.instruction_set(),
        "peak_gmacs": {threads: _native.peak(threads) / 1e9 for threads in (1, 2)},
        "spica": spica.__version__,
        "onnxruntime": onnxruntime.__version__,
    }


def macs(net: Network) -> int:
    return sum(net.macs(layer) for layer in net)


def study(name: str, density: float | None, batches: list[int], threads: list[int], repeats: int) -> list[dict]:
    """Rows of one network at one density."""
    net = integer(name)
    calibration = samples(net, 2)
    if density is not None:
        net = at_density(net, calibration, density)
    rows = []
    for batch in batches:
        x = samples(net, batch, seed=1)
        measured = densities(net, x)
        for count in threads:
            runs = {"spica": spica_run(net, x, count), "onnxruntime": onnxruntime_run(net, x, count)}
            seconds = race(runs, repeats)
            rows.append(
                {
                    "network": name,
                    "density": density,
                    "mean_density": statistics.mean(list(measured.values())[1:]),
                    "batch": batch,
                    "threads": count,
                    **{rival: figures(s, batch) for rival, s in seconds.items()},
                    "ratio": statistics.median(seconds["onnxruntime"]) / statistics.median(seconds["spica"]),
                    "gmacs": macs(net) * batch / statistics.median(seconds["spica"]) / 1e9,
                    "paths": paths(net),
                }
            )
    return rows


def paths(net: Network) -> dict[str, int]:
    """Groups of samples that convolutions took the dense path for, and the event path."""
    taken = [path for segment in plan(net, net.outputs) if segment.program for path in segment.native.paths()]
    return {"dense": sum(d for _, d, _ in taken), "events": sum(e for _, _, e in taken)}


def peak_memory(name: str, rival: str) -> int:
    """Bytes that a process, which has run another network, grows by to its peak over a few runs of one sample."""
    command = [sys.executable, __file__, "--memory", rival, "--networks", name]
    return int(subprocess.check_output(command, text=True).split()[-1])


def grow(name: str, rival: str) -> int:
    make = spica_run if rival == "spica" else onnxruntime_run
    first, net = integer("ds_cnn"), integer(name)
    x = samples(net, 1, seed=1)
    make(first, samples(first, 1), 1)()  # what is only needed once, whatever runs
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # free memory that the allocator still holds would hide the growth
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = _status("VmRSS")
    run = make(net, x, 1)
    for _ in range(5):
        run()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith(field))
    return int(line.split()[1]) * 1024


def largest_pair(net: Network) -> int:
    """Bytes of the largest two adjacent activations of one sample."""
    size = {name: math.prod(kind.shape) * (kind.bits or 8) // 8 for name, kind in net.types.items()}
    return max(size[layer.name] + sum(size[i] for i in layer.inputs) for layer in net if layer.inputs)


def weights(net: Network) -> int:
    """Bytes of all kernels at 8 bits."""
    return sum(
        getattr(layer, field).size for layer in net for field in ("kernel", "depthwise_kernel") if hasattr(layer, field)
    )


def table(rows: list[dict], title: str) -> Table:
    shown = Table(title=title)
    for column in ("network", "density", "batch", "threads", "spica ms", "p99", "onnxruntime ms", "ratio", "GMAC/s"):
        shown.add_column(column, justify="left" if column == "network" else "right")
    for row in rows:
        shown.add_row(
            row["network"],
            "natural" if row["density"] is None else f"{row['density']:.0%}",
            str(row["batch"]),
            str(row["threads"]),
            f"{row['spica']['p50_ms']:.3f}",
            f"{row['spica']['p99_ms']:.3f}",
            f"{row['onnxruntime']['p50_ms']:.3f}",
            f"{row['ratio']:.2f}",
            f"{row['gmacs']:.0f}",
        )
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=[*NETWORKS, *FUSED], choices=[*NETWORKS, *FUSED])
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--natural", action="store_true", help="what the samples give is the only density")
    parser.add_argument("--quick", action="store_true", help="natural density and five repeats only")
    parser.add_argument("--quantizeml", metavar="PYTHON", help="an interpreter that has quantizeml")
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    parser.add_argument("--memory", choices=["spica", "onnxruntime"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(grow(options.networks[0], options.memory))
        return
    repeats = 5 if options.quick else options.repeats
    one = options.quick or options.natural
    cases = [(n, d) for n in options.networks for d in (DENSITIES[:1] if one or n in FUSED else DENSITIES)]
    rows, console = [], Console(width=120)
    for name, density in track(cases, "networks", console=Console(stderr=True)):
        rows += study(name, density, options.batches, options.threads, repeats)
    memory = {}
    for name in track(options.networks, "memory", console=Console(stderr=True)):
        net = integer(name)
        memory[name] = {rival: peak_memory(name, rival) for rival in ("spica", "onnxruntime")}
        memory[name] |= {"weights": weights(net), "largest_pair": largest_pair(net)}
    predictions = []
    if options.quantizeml:
        for name in track([n for n in options.networks if n in NETWORKS], "quantizeml", console=Console(stderr=True)):
            predictions += against_quantizeml(options.quantizeml, name, options.batches, repeats)
    natural = [row for row in rows if row["density"] is None and row["network"] in NETWORKS]
    console.print(table(rows, f"{machine()['processor']}, {machine()['instruction_set']}"))
    facts = {
        "machine": machine(),
        "geometric_mean_ratio": statistics.geometric_mean(row["ratio"] for row in natural) if natural else None,
        "rows": rows,
        "memory": memory,
        "quantizeml": predictions,
    }
    console.print(f"geometric mean against onnxruntime, natural density: {facts['geometric_mean_ratio']:.2f}")
    for row in predictions:
        what = f"quantizeml {row['network']} batch {row['batch']}"
        console.print(f"{what}: {row['p50_ms']:.1f} ms, {row['ratio']:.0f} times Spica's")
    for name, sizes in memory.items():
        console.print(
            f"memory {name}: {sizes['spica'] / 1e6:.1f} MB, onnxruntime {sizes['onnxruntime'] / 1e6:.1f} MB, "
            f"weights {sizes['weights'] / 1e6:.1f} MB + 3 x largest pair {sizes['largest_pair'] / 1e6:.2f} MB"
        )
    if options.out:
        options.out.write_text(json.dumps(facts, indent=1) + "\n")


def against_quantizeml(python: str, name: str, batches: list[int], repeats: int) -> list[dict]:
    """Rows of quantizeml's predict on one thread, with Spica's time right after each."""
    net, rows = integer(name), []
    for batch in batches:
        x = samples(net, batch, seed=1)
        first = quantizeml_seconds(python, net, x, 1, 1)
        if first is None:
            continue
        theirs = quantizeml_seconds(python, net, x, 1, repeats if first[0] < LONG_RUN else 5)
        assert theirs is not None
        ours = race({"spica": spica_run(net, x, 1)}, repeats)["spica"]
        ratio = statistics.median(theirs) / statistics.median(ours)
        rows.append({"network": name, "batch": batch, "runs": len(theirs), **figures(theirs, batch), "ratio": ratio})
    return rows


if __name__ == "__main__":
    main()
