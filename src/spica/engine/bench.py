"""Measuring a network on this machine: its time, and that of each layer."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spica import _native
from spica.engine.inputs import check_samples, is_count
from spica.engine.plan import plan
from spica.engine.runner import make_ops, run
from spica.errors import SpicaError
from spica.network import Network
from spica.program.native import NativeProgram
from spica.util.table import table


@dataclass(frozen=True)
class LayerBench:
    """One layer: its time, and what it did in it.

    Attributes:
        name, kind: the layer's.
        microseconds: of all threads together, a sample; zero where the layer ran outside a native program.
        macs: multiply-accumulates of one dense sample.
        gmacs: 10**9 of them a second and thread, zeros counted as if they had been multiplied.
        density: share of non-zero values that it receives.
        path: "dense", "events", or "mixed" where samples differed; "" where there is no choice.
    """

    name: str
    kind: str
    microseconds: float
    macs: int
    gmacs: float
    density: float
    path: str


@dataclass(frozen=True)
class Bench:
    """Result of a benchmark.

    Attributes:
        network: its name.
        instruction_set: of the native engine.
        batch, threads, repeats: how it ran.
        p50_ms, p99_ms: milliseconds of a run of one batch.
        samples_per_second: at the median.
        gmacs: 10**9 multiply-accumulates a second at the median.
        peak_gmacs: what the instruction set reaches on registers alone with as many threads, measured now.
        arena_bytes: memory for the activations of one sample.
        layers: the layers, in order.
    """

    network: str
    instruction_set: str
    batch: int
    threads: int
    repeats: int
    p50_ms: float
    p99_ms: float
    samples_per_second: float
    gmacs: float
    peak_gmacs: float
    arena_bytes: int
    layers: tuple[LayerBench, ...]

    def to_dict(self) -> dict[str, Any]:
        """All figures as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("layer", "kind", "µs", "MACs", "GMAC/s", "density", "path")]
        for layer in self.layers:
            rate = [_cell(layer.microseconds, ".1f"), _cell(layer.macs, ","), _cell(layer.gmacs, ".0f")]
            rows.append((layer.name, layer.kind, *rate, f"{layer.density:.0%}", layer.path))
        return (
            f"{self.network}: batch {self.batch}, {self.threads} threads, {self.instruction_set}\n{table(rows)}\n"
            f"{self.p50_ms:.3f} ms a batch (99th percentile {self.p99_ms:.3f} ms, {self.repeats} runs), "
            f"{self.samples_per_second:,.0f} samples a second\n"
            f"{self.gmacs:.1f} GMAC/s, {self.gmacs / self.peak_gmacs:.0%} of this machine's measured peak of "
            f"{self.peak_gmacs:.0f} GMAC/s; activations take {self.arena_bytes / 1024:.0f} KiB a sample"
        )


def _cell(value: float, form: str) -> str:
    return format(value, form) if value else ""


def bench(net: Network, x: ArrayLike, *, threads: int | None = None, repeats: int = 30) -> Bench:
    """Run ``net`` on one batch many times and measure it.

    Args:
        net: an integer network with one input.
        x: the batch, ``(N, H, W, C)`` or ``(N, C)``, as ``Network.forward`` takes it.
        threads: threads of the native engine; all processors by default.
        repeats: runs that are measured, after one that is not.

    Raises:
        SpicaError: for a float network, or samples or options that are bad.
    """
    if not net.is_integer:
        raise SpicaError(f"{net.name}: a float network runs in numpy only; quantise it to measure the engine")
    if not is_count(repeats):
        raise SpicaError(f"repeats is {repeats!r}, but must be an integer of at least 1")
    samples = len(next(iter(check_samples(net, x).values())))
    threads = make_ops("native", threads).threads
    counted = run(net, x, threads=threads, batch_size=samples, count=True)
    programs = [segment.native for segment in plan(net, net.outputs) if segment.program is not None]
    before, seconds = _spent(programs), []
    for _ in range(repeats):
        start = time.perf_counter()
        run(net, x, threads=threads, batch_size=samples)
        seconds.append(time.perf_counter() - start)
    spent = {name: (total - before[name]) / (repeats * samples) for name, total in _spent(programs).items()}
    paths = _paths(programs)
    layers = []
    for layer in net:
        if layer.inputs:
            name, macs, took = layer.name, net.macs(layer), spent.get(layer.name, 0.0)
            density, rate = counted.events[name] / max(counted.inputs[name], 1), macs / took / 1e9 if took else 0.0
            kind, path = type(layer).__name__, paths.get(name, "")
            layers.append(LayerBench(name, kind, took * 1e6, macs, rate, density, path))
    middle = float(np.median(seconds))
    return Bench(
        network=net.name,
        instruction_set=_native.instruction_set(),
        batch=samples,
        threads=threads,
        repeats=repeats,
        p50_ms=middle * 1e3,
        p99_ms=float(np.percentile(seconds, 99)) * 1e3,
        samples_per_second=samples / middle,
        gmacs=sum(layer.macs for layer in layers) * samples / middle / 1e9,
        peak_gmacs=_native.peak(threads) / 1e9,
        arena_bytes=sum(program.sample_bytes for program in programs),
        layers=tuple(layers),
    )


def _spent(programs: Sequence[NativeProgram]) -> dict[str, float]:
    """Seconds so far in every layer."""
    total: dict[str, float] = defaultdict(float)
    for program in programs:
        for name, seconds in program.seconds():
            total[name] += seconds
    return total


def _paths(programs: Sequence[NativeProgram]) -> dict[str, str]:
    """Path of each layer that has a choice."""
    taken = {}
    for program in programs:
        for name, dense, events in program.paths():
            taken[name] = "mixed" if dense and events else "events" if events else "dense"
    return taken
