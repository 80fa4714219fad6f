"""The ``.spica`` file: a safetensors file whose header holds the network as JSON.

Nothing in it is executed on load. Its header carries a schema version and a SHA-256 digest of the whole file
(taken with the digest's own characters set to zero), so a damaged file is refused, never misread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from spica.errors import SpicaError
from spica.network.graph import Network
from spica.network.layer import RECORDS, Layer
from spica.util.files import write_atomically

SCHEMA = 1
_BLANK = "0" * 64
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')


def save(net: Network, path: str | PathLike[str]) -> None:
    """Write ``net`` to ``path``: whole and checked, or not at all.

    Raises:
        SpicaError: where the folder does not exist or cannot be written.
    """
    write_file(path, "spica", "network", *_parts(net))


def digest(net: Network) -> bytes:
    """Return the SHA-256 of everything that a network is, the same wherever it was made or loaded."""
    return digest_parts(*_parts(net))


def load(path: str | PathLike[str]) -> Network:
    """Read a network from a ``.spica`` file.

    Raises:
        SpicaError: where the file is missing, damaged, not a ``.spica`` file, or of a newer schema.
    """

    def build(header: Any, tensors: dict[str, np.ndarray]) -> Network:
        layers = tuple(decode(item, Layer, tensors) for item in header["layers"])
        return Network(layers, decode(header["outputs"], tuple[str, ...], tensors), str(header["name"]))

    return read_file(path, "spica", "network", build)


def _parts(net: Network) -> tuple[str, dict[str, np.ndarray]]:
    """A network as JSON, and the tensors that this names."""
    tensors: dict[str, np.ndarray] = {}
    layers = [encode(layer, layer.name, tensors) for layer in net.layers]
    header = {"name": net.name, "outputs": list(net.outputs), "layers": layers}
    return json.dumps(header, separators=(",", ":")), tensors


# -- files of records in general ---------------------------------------------------------------------------------


def write_file(path: str | PathLike[str], kind: str, what: str, header: str, tensors: dict[str, np.ndarray]) -> None:
    """Write JSON and the tensors that it names to a file of format ``kind``, under ``what``, with its digest."""
    metadata = {"format": kind, "schema": str(SCHEMA), "sha256": _BLANK, what: header}
    data = save_tensors(tensors, metadata)
    found = hashlib.sha256(data).hexdigest()
    write_atomically(path, data.replace(f'"sha256":"{_BLANK}"'.encode(), f'"sha256":"{found}"'.encode(), 1))


def digest_parts(header: str, tensors: dict[str, np.ndarray]) -> bytes:
    """Return the SHA-256 of JSON and the tensors that it names."""
    found = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        found.update(np.ascontiguousarray(tensors[name]).tobytes())
    return found.digest()


T = TypeVar("T")


def read_file(path: str | PathLike[str], kind: str, what: str, build: Callable[[Any, dict[str, np.ndarray]], T]) -> T:
    """Read what ``write_file`` wrote, and return what ``build`` makes of its JSON and tensors.

    Raises:
        SpicaError: where the file is missing, damaged, of another format or a newer schema.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise SpicaError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except TypeError:
        raise SpicaError(f"{path!r:.60} is not a path; give the name of a .{kind} file") from None
    damaged = SpicaError(
        f"{path}: not a whole .{kind} file (damaged, truncated or of another kind); save the {what} again"
    )
    found = _DIGEST.search(data)
    if found is None:
        raise damaged
    blanked = data[: found.start(1)] + _BLANK.encode() + data[found.end(1) :]
    if hashlib.sha256(blanked).hexdigest().encode() != found.group(1):
        raise damaged
    try:
        (length,) = np.frombuffer(data[:8], "<u8")
        metadata = json.loads(data[8 : 8 + int(length)])["__metadata__"]
        schema = int(metadata["schema"])
        if metadata["format"] != kind:
            raise damaged
        if schema > SCHEMA:
            raise SpicaError(f"{path}: schema {schema} is newer than this Spica reads ({SCHEMA}); upgrade spica")
        return build(json.loads(metadata[what]), load_tensors(data))
    except SpicaError:
        raise
    except (SafetensorError, KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        raise SpicaError(f"{path}: its header is not that of a {what} ({error})") from None


def encode(value: Any, where: str, tensors: dict[str, np.ndarray], records: Mapping[str, type[Any]] = RECORDS) -> Any:
    """Return a record or plain value as JSON; its arrays go to ``tensors`` under their path.

    Args:
        value: the value.
        where: its path.
        tensors: arrays by their paths, taken up.
        records: classes of records that may occur, by name; those of networks by default.
    """
    if isinstance(value, np.ndarray | np.generic):
        tensors[where] = np.asarray(value, order="C")
        return {"tensor": where}
    if records.get(type(value).__name__) is type(value):
        body = {f.name: encode(getattr(value, f.name), f"{where}/{f.name}", tensors, records) for f in fields(value)}
        return {"record": type(value).__name__, **body}
    if isinstance(value, tuple):
        return [encode(v, f"{where}/{i}", tensors, records) for i, v in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise SpicaError(f"{where}: a {type(value).__name__} cannot be saved")


def decode(item: Any, expected: Any, tensors: dict[str, np.ndarray], records: Mapping[str, type[Any]] = RECORDS) -> Any:
    """Return what ``encode`` was given, holding every field to its declared type.

    Raises:
        TypeError: where one is of another.
    """
    origin, args = typing.get_origin(expected), typing.get_args(expected)
    if origin in (typing.Union, types.UnionType):
        for option in args:
            with contextlib.suppress(TypeError):
                return decode(item, option, tensors, records)
        raise TypeError(f"{item!r:.60} is not {expected}")
    if origin is np.ndarray:
        if not (isinstance(item, dict) and set(item) == {"tensor"}):
            raise TypeError(f"{item!r:.60} is not a tensor")
        return tensors[item["tensor"]]
    if origin is tuple:
        if not isinstance(item, list):
            raise TypeError(f"{item!r:.60} is not a list")
        inner = args[:1] * len(item) if len(args) == 2 and args[1] is Ellipsis else args
        if len(inner) != len(item):
            raise TypeError(f"{item!r:.60} has {len(item)} entries, not {len(inner)}")
        return tuple(decode(v, t, tensors, records) for v, t in zip(item, inner))
    if expected is type(None):
        if item is not None:
            raise TypeError(f"{item!r:.60} is not null")
        return None
    if expected is float and type(item) in (int, float):
        return float(item)
    if expected in (bool, int, str):
        if type(item) is not expected:
            raise TypeError(f"{item!r:.60} is not {expected.__name__}")
        return item
    return _decode_record(item, expected, tensors, records)


def _decode_record(item: Any, expected: Any, tensors: dict[str, np.ndarray], records: Mapping[str, type[Any]]) -> Any:
    if not (isinstance(item, dict) and isinstance(expected, type)):
        raise TypeError(f"{item!r:.60} is not a record")
    cls: Any = records.get(item.get("record", ""))
    if cls is None or not issubclass(cls, expected):
        raise TypeError(f"unknown layer {item.get('record')!r:.60}")
    hints = typing.get_type_hints(cls)
    names = {f.name for f in fields(cls)}
    if extra := set(item) - names - {"record"}:
        raise TypeError(f"{cls.__name__} has no field {sorted(extra)[0]!r:.60}")
    missing = {f.name for f in fields(cls) if f.default is MISSING and f.default_factory is MISSING} - set(item)
    if missing:
        raise TypeError(f"{cls.__name__} lacks {sorted(missing)[0]!r}")
    return cls(**{name: decode(item[name], hints[name], tensors, records) for name in names & set(item)})
