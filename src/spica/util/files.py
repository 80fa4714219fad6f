"""Reading and writing files: only regular ones are read, only of a size that was promised; writes are whole or not."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import os
import stat
import threading
import zipfile
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

from spica.errors import SpicaError

LEAST_BUDGET, UNPACKED_RATIO = 256 << 20, 32
"""A packed file may unpack to so many bytes, or so many times its own size, whichever is more."""

BUDGET_VARIABLE = "SPICA_UNPACKED_MIB"
"""Environment variable that sets another budget, in MiB, for files that are trusted."""


def as_path(path: Any) -> Path:
    """Return a path as a ``Path``.

    Raises:
        SpicaError: where it is none, or has characters that no file name can have.
    """
    if not isinstance(path, str | PathLike) or not isinstance(os.fspath(path), str):
        raise SpicaError(f"{path!r:.60} is not a path; give the name of a file as text")
    try:
        valid = b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        valid = False
    if not valid:
        raise SpicaError(f"{os.fspath(path)!a:.60} is not a path: no file name has such characters")
    return Path(path)


def check_readable(path: Any) -> Path:
    """Return the path of a regular file, which may be a link to one.

    Raises:
        SpicaError: for what does not exist, a folder, and pipes and devices, whose reading may never end.
    """
    path = as_path(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise SpicaError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise SpicaError(f"{path}: is {kind}, not a file; give the name of a file")
    return path


def read_bytes(path: Any) -> bytes:
    """Return what is in a regular file.

    Raises:
        SpicaError: where it cannot be read.
    """
    try:
        return check_readable(path).read_bytes()
    except OSError as error:
        raise SpicaError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None


def check_unpacked(where: str, claimed: int, packed: int) -> None:
    """Check the size that something packed claims to have, before it is unpacked.

    Args:
        where: the file, for the error.
        claimed: bytes that it says it unpacks to.
        packed: bytes that it has.

    Raises:
        SpicaError: where the claim is beyond the budget.
    """
    given = os.environ.get(BUDGET_VARIABLE, "")
    budget = int(given) << 20 if given.isdecimal() else max(LEAST_BUDGET, UNPACKED_RATIO * packed)
    if claimed > budget:
        raise SpicaError(
            f"{where}: {packed:,} bytes claim to unpack to {claimed:,}, but {budget:,} are the most; if you trust the "
            f"file, set {BUDGET_VARIABLE}={-(-claimed >> 20) + 1}"
        )


@contextlib.contextmanager
def open_archive(where: str, file: BinaryIO) -> Iterator[zipfile.ZipFile]:
    """Open a ZIP file, once it is known that what its members claim to unpack to can be held; reading keeps to that."""
    with zipfile.ZipFile(file) as archive:
        check_unpacked(where, sum(member.file_size for member in archive.infolist()), file.seek(0, os.SEEK_END))
        yield archive


@contextlib.contextmanager
def refuse_damage(where: str, problem: str) -> Iterator[None]:
    """Turn whatever a reader of files trips over into a ``SpicaError``; the cause stays with it.

    Readers of other formats, and the libraries below them, raise all kinds of errors on damaged files.

    Args:
        where: the file, or the part of it that is being read.
        problem: what is wrong, and after a semicolon what to do.
    """
    try:
        yield
    except SpicaError:
        raise
    except KeyError as error:
        raise SpicaError(f"{where}: the file lacks its {error!s:.80}; it is damaged") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        what, _, advice = problem.partition(";")
        raise SpicaError(f"{where}: {what} ({reason:.200})" + (f";{advice}" if advice else "")) from error


# -- writing ---------------------------------------------------------------------------------------------------------


def write_atomically(path: str | PathLike[str], data: bytes) -> None:
    """Write bytes beside ``path`` and move them there, so that neither a reader nor a crash meets half a file.

    A link keeps pointing where it does, a file keeps its owner and permissions, and what is no regular file (a pipe, a
    device) is written to as it is. What a process that was killed left behind is cleared away.

    Raises:
        SpicaError: where the folder does not exist or cannot be written.
    """
    target = as_path(path)
    try:
        status = target.stat() if target.exists() else None
        if status is not None and not stat.S_ISREG(status.st_mode):
            target.write_bytes(data)
            return
        if status is not None and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        _replace(target.resolve() if target.is_symlink() else target, data, status)
    except (OSError, RuntimeError) as error:  # the latter: links in a circle
        reason = getattr(error, "strerror", None) or error
        raise SpicaError(f"{path}: cannot be written ({reason}); check the folder and its permissions") from None


def _replace(target: Path, data: bytes, status: os.stat_result | None) -> None:
    stem = f".{target.name[:200]}."
    temporary = target.parent / f"{stem}{os.getpid()}-{threading.get_ident()}.part"
    try:
        # A new file gets the permissions that the process gives all of them, so nobody has to look at its mask.
        with _locked(temporary) as file:
            file.write(data)
            file.flush()
            if status is not None:
                with contextlib.suppress(OSError):  # only root gives files away
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(status.st_mode))
            os.fsync(file.fileno())
            os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    for other in target.parent.glob(f"{glob.escape(stem)}*.part"):
        with contextlib.suppress(OSError), open(other, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its writer lives
            if _is_at(file, other):  # not moved to its place meanwhile, with the writer's next one under its name
                other.unlink()


def _locked(path: Path) -> BinaryIO:
    """Create a file and lock it, so that others see that its writer lives."""
    while True:
        file = open(path, "wb")  # noqa: SIM115 (the caller closes it)
        fcntl.flock(file, fcntl.LOCK_EX)
        if _is_at(file, path):
            return file
        file.close()  # cleared away as an orphan before it was locked


def _is_at(file: BinaryIO, path: Path) -> bool:
    """Return whether a path still leads to an open file."""
    return path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat())
