"""Atomic writes of files."""

from __future__ import annotations

import contextlib
import os
import tempfile
from os import PathLike
from pathlib import Path

from spica.errors import SpicaError


def write_atomically(path: str | PathLike[str], data: bytes) -> None:
    """Write bytes beside ``path`` and move them there, so that neither a reader nor a crash meets half a file.

    Raises:
        SpicaError: where the folder does not exist or cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise SpicaError(
            f"{path}: cannot be written ({error.strerror}); check the folder and its permissions"
        ) from None
