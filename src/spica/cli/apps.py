"""Commands of the applications: the demos, and the page where a person teaches."""

from __future__ import annotations

import webbrowser
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

import spica
from spica.apps.demo import digits, learning, stream
from spica.cli.network import NetworkFile
from spica.cli.output import Json, emit
from spica.errors import SpicaError
from spica.report.figures import load_pyplot


class Demo(StrEnum):
    """The demos."""

    digits = "digits"
    learning = "learning"
    stream = "stream"


SHOW = {Demo.digits: digits.show, Demo.learning: learning.show, Demo.stream: stream.show}


def demo(
    which: Annotated[Demo, typer.Argument(help="What to show.")] = Demo.digits,
    out: Annotated[Path, typer.Option(help="Folder for the network, the page and the picture.")] = Path("spica-demo"),
    epochs: Annotated[int, typer.Option(help="Passes over the training digits.")] = 12,
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    json: Json = False,
) -> None:
    """Run a demo: digits on a virtual chip; a new digit, learned there from five pictures; or a live stream."""
    load_pyplot()  # a missing library should be known before the training, not after
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpicaError(f"{out}: cannot be made ({error.strerror}); choose another folder with --out") from None
    emit(*SHOW[which](out, epochs, seed), json)


def teach(
    network: NetworkFile,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the page saves; by default the network's own file.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of the page on this machine; 0 takes any that is free.")] = 8000,
    browse: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Draw signs in the browser, teach them to a network, and see them recognised."""
    from spica.apps.teach import Lesson, serve

    with serve(Lesson(spica.from_file(network)), output or network, port) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        typer.echo(f"{address} (Ctrl-C ends)")
        if browse:
            webbrowser.open(address)
        server.serve_forever()
