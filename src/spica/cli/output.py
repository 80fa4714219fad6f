"""Reading arrays, and printing results as text or as JSON, for all commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from spica.errors import SpicaError

Json = Annotated[bool, typer.Option("--json", help="Print the facts as JSON and nothing else.")]


def emit(facts: dict[str, Any], text: str, as_json: bool) -> None:
    """Print a result: its facts for a script, or its text for a person."""
    typer.echo(json.dumps(facts, indent=2) if as_json else text)


def read_array(path: Path) -> NDArray:
    """Return the array in a ``.npy`` file, or the only one in an ``.npz`` file."""
    try:
        loaded = np.load(path, allow_pickle=False)
    except OSError as error:
        raise SpicaError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    except (ValueError, EOFError):
        raise SpicaError(f"{path}: is not a .npy or .npz file of numbers; write it with numpy.save") from None
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        if len(loaded.files) != 1:
            raise SpicaError(f"{path}: holds {len(loaded.files)} arrays; save the one that is meant as a .npy file")
        return loaded[loaded.files[0]]
