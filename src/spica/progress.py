"""The progress bar of every long task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def progress(steps: Sequence[T], text: str, show: bool | None = None):
    """Iterate over ``steps`` with a bar on standard error; by default only where a person watches.

    Rich is loaded here, not with Spica, to keep the import light.
    """
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    visible = console.is_terminal if show is None else show
    return track(steps, text, console=console, disable=not visible, transient=True)
