"""Programs in files: safetensors with the program as JSON in the header, like a ``.spica`` file, and no code in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from spica.network.file import digest_parts, read_file, write_file
from spica.network.schema import check_fields, decode, encode
from spica.program.checks import check
from spica.program.ir import RECORDS, Program

FORMAT, WHAT = "spica-program", "program"


def save_programs(programs: Sequence[Program], path: str | PathLike[str]) -> None:
    """Write programs to a file, such as those of a network's segments in their order; whole, or not at all.

    Raises:
        SpicaError: where the folder does not exist or cannot be written.
    """
    write_file(path, FORMAT, WHAT, *_parts(programs))


def load_programs(path: str | PathLike[str]) -> list[Program]:
    """Read what ``save_programs`` wrote, and check it.

    Raises:
        SpicaError: where the file is missing, damaged, of another format or a newer schema, or a program breaks a rule.
    """

    def build(header: Any, tensors: dict[str, np.ndarray]) -> list[Program]:
        programs = decode(header, tensors, RECORDS)
        if not (isinstance(programs, tuple) and all(isinstance(program, Program) for program in programs)):
            raise TypeError(f"{programs!r:.60} is not a list of programs")
        for program in programs:
            check_fields(program, str(path), RECORDS)
            check(program)
        return list(programs)

    return read_file(path, FORMAT, WHAT, build)


def digest(program: Program) -> str:
    """Return the SHA-256 of everything that a program is, in hexadecimal."""
    return digest_parts(*_parts([program])).hex()


def _parts(programs: Sequence[Program]) -> tuple[str, dict[str, np.ndarray]]:
    """Programs as JSON, and the tensors that this names."""
    tensors: dict[str, np.ndarray] = {}
    header = encode(tuple(programs), WHAT, tensors, RECORDS)
    return json.dumps(header, separators=(",", ":")), tensors
