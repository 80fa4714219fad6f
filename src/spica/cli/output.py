"""Reading arrays, and printing results as text or as JSON, for all commands."""

from __future__ import annotations

import json
import math
import zipfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from spica.errors import SpicaError, printable
from spica.util.files import check_readable, open_archive, refuse_damage

Json = Annotated[bool, typer.Option("--json", help="Print the facts as JSON and nothing else.")]


def emit(facts: dict[str, Any], text: str, as_json: bool) -> None:
    """Print a result: its facts for a script, or its text for a person.

    JSON has no NaN and no infinity, so what is not finite is null there.
    """
    typer.echo(json.dumps(_finite(facts), indent=2) if as_json else "\n".join(map(printable, text.split("\n"))))


def _finite(value: Any) -> Any:
    """Return plain data with ``None`` for numbers that are not finite."""
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refuse_unread(when: str, **options: Any) -> None:
    """Refuse options that were given though nothing reads them ``when`` the others are as they are."""
    for name, value in options.items():
        if value is not None:
            raise SpicaError(f"--{name.replace('_', '-')} changes nothing {when}; leave it out")


def read_array(path: Path) -> NDArray:
    """Return the array in a ``.npy`` file, or the only one in an ``.npz`` file."""
    source, damage = check_readable(path), "is not a .npy or .npz file of numbers; write it with numpy.save"
    with refuse_damage(str(path), damage), open(source, "rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            return np.lib.format.read_array(file, allow_pickle=False)
        with open_archive(str(path), file) as archive:
            names = archive.namelist()
            if len(names) != 1:
                raise SpicaError(f"{path}: holds {len(names)} arrays; save the one that is meant as a .npy file")
            with archive.open(names[0]) as member:
                return np.lib.format.read_array(member, allow_pickle=False)
