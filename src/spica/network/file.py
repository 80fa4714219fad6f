"""The ``.spica`` file: a safetensors file whose header holds the network as JSON.

Loading executes nothing in it. The header carries a schema version and a SHA-256 digest of the whole file
(taken with the digest's own characters set to zero), so a damaged file is refused, never misread.
"""

from __future__ import annotations

import hashlib
import json
import re
from os import PathLike
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from spica.errors import SpicaError
from spica.network.graph import Network
from spica.network.schema import decode, encode
from spica.util.files import write_atomically

SCHEMA = 1
_BLANK = "0" * 64
_DIGEST = re.compile(rb'"sha256":"([0-9a-f]{64})"')


def save(net: Network, path: str | PathLike[str]) -> None:
    """Write a network to a ``.spica`` file: whole, or not at all.

    Raises:
        SpicaError: where the folder does not exist or cannot be written.
    """
    header, tensors = _encoded(net)
    metadata = {"format": "spica", "schema": str(SCHEMA), "sha256": _BLANK, "network": header}
    data = save_tensors(tensors, metadata)
    found = hashlib.sha256(data).hexdigest()
    write_atomically(path, data.replace(f'"sha256":"{_BLANK}"'.encode(), f'"sha256":"{found}"'.encode(), 1))


def digest(net: Network) -> bytes:
    """Return the SHA-256 digest (32 bytes) of a network's layers and arrays, the same wherever it was made."""
    header, tensors = _encoded(net)
    found = hashlib.sha256(header.encode())
    for name in sorted(tensors):
        found.update(np.ascontiguousarray(tensors[name]).tobytes())
    return found.digest()


def _encoded(net: Network) -> tuple[str, dict[str, np.ndarray]]:
    """Return a network as JSON, and the tensors that this names."""
    tensors: dict[str, np.ndarray] = {}
    layers = [encode(layer, layer.name, tensors) for layer in net.layers]
    header = {"name": net.name, "outputs": list(net.outputs), "layers": layers}
    return json.dumps(header, separators=(",", ":")), tensors


def load(path: str | PathLike[str]) -> Network:
    """Read a network from a ``.spica`` file.

    Raises:
        SpicaError: where the file is missing, damaged, not a ``.spica`` file, or of a newer schema.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise SpicaError(f"{path}: cannot be read ({error.strerror}); check the path") from None
    except TypeError:
        raise SpicaError(f"{path!r:.60} is not a path; give the name of a .spica file") from None
    damaged = SpicaError(
        f"{path}: not a whole .spica file (damaged, truncated or of another kind); save the network again"
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
        if metadata["format"] != "spica":
            raise damaged
        if schema > SCHEMA:
            raise SpicaError(f"{path}: schema {schema} is newer than this Spica reads ({SCHEMA}); upgrade spica")
        header = json.loads(metadata["network"])
        tensors = load_tensors(data)
        layers, outputs = decode(header["layers"], tensors), header["outputs"]
        if not isinstance(layers, tuple):
            raise TypeError(f"layers are {layers!r:.60}, but must be a list")
        if not (isinstance(outputs, list) and all(isinstance(o, str) for o in outputs)):
            raise damaged
        return Network(layers, tuple(outputs), str(header["name"]))
    except SpicaError:
        raise
    except (SafetensorError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise SpicaError(f"{path}: its header is not that of a network ({error})") from None
