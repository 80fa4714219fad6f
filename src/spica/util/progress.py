"""The progress bar of every long task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def progress(steps: Iterable[T], text: str, show: bool | None = None, total: int | None = None) -> Iterable[T]:
    """Iterate over ``steps`` with a bar on standard error; by default only where a person watches.

    ``total`` is their number, where they do not tell it themselves.

    Rich is loaded here, not with Spica, to keep the import light.
    """
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    visible = console.is_terminal if show is None else show
    return track(steps, text, total=total, console=console, disable=not visible, transient=True)
