"""Commands that measure: bench, compare, analyze."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import spica
from spica import report
from spica.cli.network import Labels, NetworkFile, Samples, Threads, read_labels
from spica.cli.output import Json, emit, read_array
from spica.engine.bench import bench as run_bench
from spica.network.fields import MOST_VALUES
from spica.util.arguments import check_integer

Picture = Annotated[Path | None, typer.Option(help="An .svg or .png file for a picture.")]


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
    net = spica.from_file(network)
    kind = net.types[net.inputs[0].name]
    check_integer("batch", batch, 1, MOST_VALUES // math.prod(kind.shape))
    random, shape = np.random.default_rng(0), (batch, *kind.shape)
    if samples is not None:
        x = read_array(samples)
        x = np.resize(x, (batch, *x.shape[1:]))  # repeats samples where there are too few
    elif kind.is_float:
        x = random.random(shape, np.float32)
    else:
        x = random.integers(*kind.range, shape, kind.dtype, endpoint=True)
    measured = run_bench(net, x, threads=threads, repeats=repeats)
    emit(measured.to_dict(), str(measured), json)


def compare(
    a: Annotated[Path, typer.Argument(help="The network to compare with: .spica, .keras or a quantizeml .h5 file.")],
    b: Annotated[Path, typer.Argument(help="The network to compare.")],
    samples: Samples,
    picture: Picture = None,
    exact: Annotated[bool, typer.Option("--exact", help="Exit with code 1 if any value differs.")] = False,
    json: Json = False,
) -> None:
    """Show how far each layer of one network is from another's."""
    found = report.compare(spica.from_file(a), spica.from_file(b), read_array(samples))
    found = replace(found, a=a.name, b=b.name)  # files often hold networks of the same name
    if picture is not None:
        report.write_figure(report.figures.comparison(found), picture)
    emit(found.to_dict(), str(found), json)
    if exact and not found.equal:
        raise typer.Exit(1)


def analyze(
    model: Annotated[Path, typer.Argument(help="The float network: a .keras or a .spica file.")],
    network: Annotated[Path, typer.Argument(help="Its integer form: a .spica file.")],
    samples: Samples,
    labels: Labels = None,
    page: Annotated[Path | None, typer.Option(help="An .html file for a page of pictures.")] = None,
    json: Json = False,
) -> None:
    """Show what quantising did to each layer: its error, and with labels the accuracy that it costs."""
    found = report.analyze(spica.from_file(model), spica.from_file(network), read_array(samples), read_labels(labels))
    if page is not None:
        known = {"float": found.float_accuracy, "integers": found.accuracy}
        report.write_page(
            page,
            f"{network.name}, layer by layer",
            {name: f"{value:.2%}" for name, value in known.items() if value is not None},
            report.figures.analysis(found),
            {"Layers": str(found)},
            "Counts are logarithmic. Gains that quantisation gives filters and channels are taken out.",
        )
    emit(found.to_dict(), str(found), json)
