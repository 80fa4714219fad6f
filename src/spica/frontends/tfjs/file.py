"""Files of TensorFlow.js: a ``model.json``, and files of weights beside it that its manifest lists."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import isfinite, prod
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.util.files import check_readable, check_unpacked, read_bytes, refuse_damage

MOST_JSON = 32 << 20
"""Bytes of the largest ``model.json``, whose weights lie outside: text takes up to 40 times as much in memory."""

MOST_ENTRIES, MOST_AXES, LONGEST_NAME = 1 << 16, 8, 1000
"""Files and weights of a manifest, axes of weights and characters of their names, at most."""

STORED = {"float32": "<f4", "int32": "<i4", "bool": "|u1"}
"""How weights of a type lie in files."""

QUANTIZED = {"uint8": "|u1", "uint16": "<u2", "float16": "<f2"}
"""How quantised weights lie in files."""

DAMAGED = "its list of weights cannot be read; the file is damaged"


def read_json(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a ``model.json``.

    Raises:
        SpicaError: where it is too large, is not JSON, or describes no model.
    """
    size = check_readable(path).stat().st_size
    if size > MOST_JSON:
        raise SpicaError(f"{path}: has {size:,} bytes, but a model.json of TensorFlow.js has at most {MOST_JSON:,}")
    with refuse_damage(str(path), "is not a model.json of TensorFlow.js"):
        document = json.loads(read_bytes(path))
        if not isinstance(document, dict) or not isinstance(document.get("modelTopology"), dict):
            raise ValueError("it has no modelTopology; export the whole model, not its weights alone")
        return document


def read_weights(path: str | PathLike[str], document: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Read the weights of a model by name: float32, int32 or bool; those that are quantised as real numbers.

    Raises:
        SpicaError: where a file of them is missing, lies outside the model's folder, or has another size than its
            weights.
    """
    found: dict[str, NDArray[Any]] = {}
    with refuse_damage(str(path), DAMAGED):
        manifest = document["weightsManifest"]
        if (entries := sum(len(group["paths"]) + len(group["weights"]) for group in manifest)) > MOST_ENTRIES:
            raise SpicaError(f"{path}: lists {entries:,} weights and files of them; {MOST_ENTRIES:,} are the most")
        groups = [(_files(Path(path), group["paths"]), group["weights"]) for group in manifest]
        files = [file for held, _ in groups for file in held]
        states = [file.stat() for file in files]
        if len({(state.st_dev, state.st_ino) for state in states}) < len(states):
            raise SpicaError(f"{path}: lists a file of weights twice; the file is damaged")
        claimed = sum(_size(spec)[1] for _, specs in groups for spec in specs)
        check_unpacked(str(path), claimed, sum(state.st_blocks for state in states) * 512)  # a sparse file has few
        for held, specs in groups:
            for name, values in _group(Path(path), held, specs):
                if name in found:
                    raise SpicaError(f"{path}: lists the weights {name!r:.60} twice; the file is damaged")
                found[name] = values
    return found


def _files(path: Path, names: Any) -> list[Path]:
    """Return the files of a group, which must lie in the folder of the model."""
    folder, found = path.parent.resolve(), []
    for name in names:
        if not isinstance(name, str) or not name or "\0" in name:
            raise SpicaError(f"{path}: {name!r:.60} is not the name of a file of weights; the file is damaged")
        target = (folder / name).resolve()
        if folder not in target.parents:
            raise SpicaError(f"{path}: weights lie in {name!r:.200}, outside the folder of the model")
        if not target.is_file():
            raise SpicaError(f"{path}: weights lie in {name!r:.200}, which is missing; put it beside the model")
        found.append(target)
    return found


def _group(path: Path, files: list[Path], specs: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the weights of a group, whose files follow each other."""
    wanted, given = sum(_size(spec)[0] for spec in specs), sum(file.stat().st_size for file in files)
    if wanted != given:
        names = ", ".join(file.name for file in files)
        raise SpicaError(f"{path}: its weights have {wanted:,} bytes, but {names:.200} {given:,}; it is not whole")
    data, start = b"".join(map(read_bytes, files)), 0
    for spec in specs:
        size, name = _size(spec)[0], spec["name"]
        values = np.frombuffer(data[start : start + size], _stored(spec)).reshape(spec["shape"])
        start += size
        yield name, _decoded(values, spec, f"{path}: weights {name!r:.60}")


def _size(spec: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many bytes weights have in their file, and in memory."""
    name, shape = spec["name"], spec["shape"]
    known = isinstance(shape, list) and len(shape) <= MOST_AXES and all(type(n) is int and n >= 0 for n in shape)
    if not isinstance(name, str) or len(name) > LONGEST_NAME or not known:
        raise SpicaError(f"the weights {name!r:.60} have no name or shape; the file is damaged")
    held = np.dtype(_stored(spec)).itemsize
    return prod(shape) * held, prod(shape) * np.dtype(STORED[spec["dtype"]]).itemsize


def _stored(spec: Mapping[str, Any]) -> str:
    """Return the type, as numpy has it, that weights have in their file."""
    kind, packed = spec["dtype"], (spec.get("quantization") or {}).get("dtype")
    if kind not in STORED or packed not in (None, *QUANTIZED):
        what = kind if packed is None else f"{kind} quantised to {packed}"
        raise SpicaError(f"weights {spec['name']!r:.60}: the type {what:.60} is not supported; use float32 or int32")
    return STORED[kind] if packed is None else QUANTIZED[packed]


def _decoded(values: NDArray[Any], spec: Mapping[str, Any], at: str) -> NDArray[Any]:
    """Return weights as TensorFlow.js has them: products and sums of doubles, rounded once."""
    kind = spec["dtype"]
    if not (packed := spec.get("quantization")):
        return values.astype(bool) if kind == "bool" else values
    if packed["dtype"] == "float16":
        if kind != "float32":
            raise SpicaError(f"{at}: {kind} cannot be quantised to float16; the file is damaged")
        return values.astype(np.float32)
    scale, least = float(packed["scale"]), float(packed["min"])
    if kind == "bool" or not (isfinite(scale) and isfinite(least)):
        raise SpicaError(f"{at}: cannot be quantised to {packed['dtype']} with scale {scale}; the file is damaged")
    real = values * scale + least
    return real.astype(np.float32) if kind == "float32" else np.floor(real + 0.5).astype(np.int32)
