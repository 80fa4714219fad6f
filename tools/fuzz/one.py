"""Fuzz one target, in this process, with coverage-guided mutation; see ``run.py``, which calls this."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import sys
import traceback
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["spica"]):
    from targets import TARGETS, mutated

import spica
from spica.errors import SpicaError

HOME = str(Path(spica.__file__).parent)
SECONDS, MEMORY = 5, 2 << 30  # of CPU and bytes, for one mutant


def place(error: BaseException) -> str:
    """Name the line of the project, or the last there is, where an error arose."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f.filename.startswith(HOME)] or frames
    return f"{type(error).__name__} at {Path(ours[-1].filename).name}:{ours[-1].lineno}"


def main(name: str, found: Path, arguments: list[str]) -> None:
    """Fuzz a target in the current folder; write every finding, once a place, to ``found``."""
    target = TARGETS[name]
    known = {path.name for path in found.iterdir()}
    path = Path(f"mutant{target.suffix}")

    def keep(what: str, data: bytes, text: str) -> None:
        stem = f"{name}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"
        if f"{stem}.txt" not in known:
            known.add(f"{stem}.txt")
            (found / f"{stem}{target.suffix}").write_bytes(data)
            (found / f"{stem}.txt").write_text(f"{what}\n\n{text}")
            print(f"found: {what}", file=sys.stderr)

    def one(data: bytes) -> None:
        path.write_bytes(data)
        start = resource.getrusage(resource.RUSAGE_SELF)
        try:
            target.check(path)
        except SpicaError as error:
            if not str(error).strip():
                keep("an error without a word", data, traceback.format_exc())
        except (Exception, SystemExit) as error:
            keep(place(error), data, traceback.format_exc())
        end = resource.getrusage(resource.RUSAGE_SELF)
        used = end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime
        if used > SECONDS:
            keep("more than 5 s of CPU", data, f"{used:.1f} s")
        if end.ru_maxrss * 1024 > MEMORY > start.ru_maxrss * 1024:
            keep("more than 2 GiB of memory", data, f"{end.ru_maxrss >> 10} MiB")

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        made = mutated(target, data, random.Random(seed))
        return made if len(made) <= most else data

    warnings.simplefilter("ignore")
    for seed in target.seeds():
        one(seed.read_bytes())
        shutil.copy(seed, "seeds")
    atheris.Setup([sys.argv[0], *arguments], one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    os.environ.setdefault("KERAS_BACKEND", "jax")
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
