"""The ``.spica`` file: a safetensors file whose header holds the network as JSON.

Nothing in it is executed on load. Its header carries a schema version and a SHA-256 digest of the whole file
(taken with the digest's own characters set to zero), so a damaged file is refused, never misread.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from spica.errors import SpicaError
from spica.network.graph import Network
from spica.network.schema import decode, encode
from spica.util.files import read_bytes, refuse_damage, write_atomically

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
        layers, outputs = decode(header["layers"], tensors), decode(header["outputs"], tensors)
        if not isinstance(layers, tuple):
            raise TypeError(f"layers are {layers!r:.60}, but must be a list")
        if not (isinstance(outputs, tuple) and all(isinstance(output, str) for output in outputs)):
            raise TypeError(f"outputs are {outputs!r:.60}, but must be a list of names")
        return Network(layers, outputs, str(header["name"]))

    return read_file(path, "spica", "network", build)


def _parts(net: Network) -> tuple[str, dict[str, np.ndarray]]:
    """Return a network as JSON, and the tensors that this names."""
    tensors: dict[str, np.ndarray] = {}
    layers = [encode(layer, layer.name, tensors) for layer in net.layers]
    header = {"name": net.name, "outputs": list(net.outputs), "layers": layers}
    return json.dumps(header, separators=(",", ":")), tensors


_OTHER_FORMATS = {
    b"PK": "a ZIP archive, such as a .keras model",
    b"\x89HDF": "an HDF5 file, such as a Keras .h5 model",
    b"\x93NUMPY": "an array of numpy",
    b"TFL3": "a TFLite model",
    b"\x89PNG": "a picture",
}
_DAMAGED = "not a whole .{kind} file (damaged, truncated or of another kind); save the {what} again"


def _other_format(path: Path, data: bytes) -> str | None:
    """Return what a file is that some other tool wrote, and what makes a network of it."""
    kind = next((words for start, words in _OTHER_FORMATS.items() if data[:8].find(start) in (0, 4)), None)
    if path.suffix == ".onnx":
        kind = "an ONNX model"
    return kind and (
        f"is {kind}, not a .spica file; spica quantize, spica.from_keras and spica.from_quantizeml make networks"
    )


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
    data = read_bytes(path)
    damaged = SpicaError(f"{path}: {_other_format(Path(path), data) or _DAMAGED.format(kind=kind, what=what)}")
    found = _DIGEST.search(data)
    if found is None:
        raise damaged
    blanked = data[: found.start(1)] + _BLANK.encode() + data[found.end(1) :]
    if hashlib.sha256(blanked).hexdigest().encode() != found.group(1):
        raise damaged
    with refuse_damage(str(path), f"its header is not that of a {what}"):
        (length,) = np.frombuffer(data[:8], "<u8")
        metadata = json.loads(data[8 : 8 + int(length)])["__metadata__"]
        schema = int(metadata["schema"])
        if metadata["format"] != kind:
            raise damaged
        if schema > SCHEMA:
            raise SpicaError(f"{path}: schema {schema} is newer than this Spica reads ({SCHEMA}); upgrade spica")
        return build(json.loads(metadata[what]), load_tensors(data))
