"""The command that measures how fast a network runs here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from spica.cli.network import NetworkFile, Threads, load_any
from spica.cli.output import Json, emit, read_array
from spica.engine.bench import bench as run_bench
from spica.errors import SpicaError


def bench(
    network: NetworkFile,
    samples: Annotated[
        Path | None, typer.Option(help="Inputs as a .npy array, batch axis first; random ones without it.")
    ] = None,
    batch: Annotated[int, typer.Option(help="Samples of a run.")] = 1,
    threads: Threads = None,
    repeats: Annotated[int, typer.Option(help="Runs that are measured.")] = 30,
    json: Json = False,
) -> None:
    """Measure time and throughput, and each layer's rate, density and path (dense or events), on this machine."""
    net = load_any(network)
    if batch < 1:
        raise SpicaError(f"batch is {batch}, but must be at least 1")
    kind = net.types[net.inputs[0].name]
    if samples is not None:
        x = read_array(samples)
        x = np.resize(x, (batch, *x.shape[1:]))  # repeats samples where there are too few
    elif kind.is_float:
        x = np.random.default_rng(0).random((batch, *kind.shape), np.float32)
    else:
        low, high = kind.range
        x = np.random.default_rng(0).integers(low, high, (batch, *kind.shape), kind.dtype, endpoint=True)
    measured = run_bench(net, x, threads=threads, repeats=repeats)
    emit(measured.to_dict(), str(measured), json)
