"""The command that opens the page where a person teaches."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

import spica
from spica.cli.network import NetworkFile


def teach(
    network: NetworkFile,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where the page saves; by default the network's own file.")
    ] = None,
    port: Annotated[int, typer.Option(help="Of the page on this machine; 0 takes any that is free.")] = 8000,
    browse: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Draw signs in the browser, teach them to a network, and see them recognised."""
    from spica.apps.teach import Lesson, serve

    with serve(Lesson(spica.load(network)), output or network, port) as server:
        address = f"http://127.0.0.1:{server.server_port}/"
        typer.echo(f"{address} (Ctrl-C ends)")
        if browse:
            webbrowser.open(address)
        server.serve_forever()
