"""The command that runs a demo."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from spica.apps.demo import digits, learning, stream
from spica.cli.output import Json, emit
from spica.errors import SpicaError
from spica.report.figures import load_pyplot


class Which(StrEnum):
    """The demos."""

    digits = "digits"
    learning = "learning"
    stream = "stream"


SHOWN = {Which.digits: digits.show, Which.learning: learning.show, Which.stream: stream.show}


def demo(
    which: Annotated[Which, typer.Argument(help="What to show.")] = Which.digits,
    out: Annotated[Path, typer.Option(help="Folder for the network, the page and the picture.")] = Path("spica-demo"),
    epochs: Annotated[int, typer.Option(help="Passes over the training digits.")] = 12,
    seed: Annotated[int, typer.Option(help="Of the training.")] = 0,
    json: Json = False,
) -> None:
    """Run a demo: digits on a virtual chip; a new digit, learned there from five pictures; or a live stream."""
    load_pyplot()  # a missing library should be known before the training, not after
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpicaError(f"{out}: cannot be made ({error.strerror}); choose another folder with --out") from None
    facts, text = SHOWN[which](out, epochs, seed)
    emit(facts, text, json)
