"""The command that compares two networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from spica.cli.network import Samples, load_any
from spica.cli.output import Json, emit, read_array
from spica.errors import SpicaError


def compare(
    a: Annotated[Path, typer.Argument(help="The network to compare with: .spica, .keras or a quantizeml .h5 file.")],
    b: Annotated[Path, typer.Argument(help="The network to compare.")],
    samples: Samples,
    picture: Annotated[Path | None, typer.Option(help="An .svg or .png file for a picture.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Exit with code 1 if any value differs.")] = False,
    json: Json = False,
) -> None:
    """Show how far each layer of one network is from another's."""
    from spica.report import compare as compare_networks

    if picture is not None and picture.suffix not in (".svg", ".png"):
        raise SpicaError(f"{picture}: pictures are .svg or .png files")
    found = compare_networks(load_any(a), load_any(b), read_array(samples))
    found = replace(found, a=a.name, b=b.name)  # files often hold networks of the same name
    if picture is not None:
        from spica.report.figures import comparison, write_figure

        write_figure(comparison(found), picture)
    emit(found.to_dict(), str(found), json)
    if exact and not found.equal:
        raise typer.Exit(1)
