"""The command that shows what a network is compiled to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import spica
from spica.cli.network import NetworkFile
from spica.cli.output import Json, emit
from spica.errors import SpicaError
from spica.program import save_programs, trace_network
from spica.program.file import digest
from spica.program.text import describe


def program(
    network: NetworkFile,
    streaming: Annotated[
        bool, typer.Option("--streaming", help="For frames that come one by one, as a stream runs them.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="A file to write the programs to.")] = None,
    json: Json = False,
) -> None:
    """Show the programs that the native engine runs an integer network as: every step, its range and its bits."""
    net = spica.from_file(network)
    if not net.is_integer:
        raise SpicaError(f"{network}: a float network has no program; quantise it first")
    facts: list[dict[str, Any]] = []
    texts, programs = [], []
    for i, segment in enumerate(trace_network(net, streaming=streaming)):
        layers = [layer.name for layer in segment.layers]
        fact: dict[str, Any] = {"layers": layers, "reads": segment.reads, "writes": segment.writes}
        if segment.program is not None:
            programs.append(segment.program)
            fact |= {"digest": digest(segment.program), "steps": describe(segment.program)}
        facts.append(fact)
        names = layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]}, {len(layers)} layers"
        body = "by itself, without a program" if segment.program is None else str(segment.program)
        texts.append(f"segment {i}: {names}\n{body}")
    if save is not None:
        save_programs(programs, save)
        texts.append(f"written to {save}")
    emit({"network": net.name, "segments": facts}, "\n\n".join(texts), json)
