"""The progress bar of long tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def progress(steps: Iterable[T], text: str, show: bool | None = None, total: int | None = None) -> Iterable[T]:
    """Iterate over steps and show a bar on standard error.

    Args:
        steps: what to iterate over.
        text: the label of the bar.
        show: whether to show the bar; by default only in a terminal.
        total: number of steps, where ``len(steps)`` does not tell.
    """
    # Rich is loaded here, not with Spica, to keep the import light.
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    visible = console.is_terminal if show is None else show
    return track(steps, text, total=total, console=console, disable=not visible, transient=True)
