"""Mutators that know the structure of a file: what they change lies deep inside, where byte flips never reach.

Each takes the bytes of a valid file and a ``random.Random``, and returns those of a changed one.
"""

from __future__ import annotations

import base64
import copy
import io
import json
import math
import random
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pyfive
import tomli_w
from google.protobuf.message import Message
from safetensors.numpy import load as load_tensors

from spica.network.file import write_file

Mutator = Callable[[bytes, random.Random], bytes]

INTEGERS = [0, 1, 2, 3, 5, 8, 27, 31, 32, 62, 63, 64, 65, 255, 256, 1000, 2**15, 2**31 - 1, 2**31, 2**32, 2**63, 2**64]
OTHERS: list[Any] = [
    None, True, False, 0.5, -0.0, 1e-320, 1e300, math.nan, math.inf, -math.inf, "", "input", "same", "\x00", "\x1b[2J",
    "\ud800", "$x$", "a" * 5000, [], {}, [1, 1], [[1, 2], [3, 4]], "1", "NaN", [None], {"type": "Conv2D"},
]  # fmt: skip


def a_value(r: random.Random) -> Any:
    """Return a value that readers may not have thought of."""
    if r.random() < 0.5:
        return r.choice(INTEGERS) * r.choice([1, 1, -1])
    return copy.deepcopy(r.choice(OTHERS))


def changed(value: Any, r: random.Random) -> Any:
    """Return a value near another, or one of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int) and r.random() < 0.6:
        return value + r.choice([-2, -1, 1, 2, value, -2 * value])
    if isinstance(value, float) and r.random() < 0.6:
        return value * r.choice([-1, 0, 1e-40, 1e40, 1.0000001])
    return a_value(r)


def places(tree: Any) -> list[tuple[Any, Any]]:
    """List every place of a tree of dicts and lists, as its container and key."""
    found, stack = [], [tree]
    while stack:
        node = stack.pop()
        keys = node.keys() if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        for key in list(keys):
            found.append((node, key))
            stack.append(node[key])
    return found


def mutate_tree(tree: Any, r: random.Random) -> Any:
    """Change one to three places of a tree of dicts and lists."""
    tree = copy.deepcopy(tree)
    for _ in range(r.choice([1, 1, 1, 2, 3])):
        spots = places(tree)
        if not spots:
            return a_value(r)
        node, key = r.choice(spots)
        way = r.random()
        if way < 0.55:
            node[key] = changed(node[key], r)
        elif way < 0.65:
            del node[key]
        elif way < 0.8:  # what stands elsewhere in the tree
            other, place = r.choice(spots)
            node[key] = copy.deepcopy(other[place])
        elif way < 0.88 and isinstance(node, list):
            node.insert(key, copy.deepcopy(node[key]))
        elif way < 0.94 and isinstance(node, dict):
            node[str(r.choice([key, "extra", "name", ""])) + r.choice(["", "s"])] = node.pop(key)
        else:
            depth = r.choice([1, 2, 3000])
            inner = node[key]
            for _ in range(depth):
                inner = [inner]
            node[key] = inner
    return tree


def dumped(tree: Any) -> str:
    """Return JSON, or that of a flat value where a tree is too deep for the writer."""
    try:
        return json.dumps(tree)
    except RecursionError:
        return "[" * 50_000 + "]" * 50_000


def mutate_array(a: np.ndarray, r: random.Random) -> np.ndarray:
    """Change an element, the shape or the type of an array."""
    way, a = r.random(), np.array(a)
    if way < 0.5 and a.size and a.dtype.kind in "iuf":
        limit = np.finfo(a.dtype) if a.dtype.kind == "f" else np.iinfo(a.dtype)
        edges = [limit.min, limit.max, 0, 1] + ([np.nan, np.inf, -np.inf, 1e-40] if a.dtype.kind == "f" else [])
        flat = a.reshape(-1)
        if r.random() < 0.2:
            flat[:] = r.choice(edges)
        else:
            flat[r.randrange(a.size)] = r.choice(edges)
        return a
    if way < 0.75:
        shapes = [(a.size,), (1, *a.shape), (*a.shape, 1), a.shape[::-1]]
        reshaped = a.reshape(r.choice(shapes))
        return reshaped if r.random() < 0.5 else reshaped[: r.choice([0, 1])] if reshaped.ndim else reshaped
    kinds = [
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "float16",
        "float32",
        "float64",
        "?",
    ]
    with np.errstate(all="ignore"):
        return a.astype(r.choice(kinds))


def mutate_spica(data: bytes, r: random.Random) -> bytes:
    """Change the records or the tensors of a ``.spica`` file, and make its digest anew."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])["__metadata__"]
    (what,) = header.keys() - {"format", "schema", "sha256"}
    tree, tensors = json.loads(header[what]), load_tensors(data)
    if tensors and r.random() < 0.35:
        name = r.choice(sorted(tensors))
        way = r.random()
        if way < 0.85:
            tensors[name] = mutate_array(tensors[name], r)
        elif way < 0.93:
            del tensors[name]
        else:
            tensors[name] = np.array(tensors[r.choice(sorted(tensors))])
    else:
        tree = mutate_tree(tree, r)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant"
        write_file(path, header["format"], what, dumped(tree), tensors)
        return path.read_bytes()


def mutate_h5(data: bytes, r: random.Random) -> bytes:
    """Change an attribute, the JSON in one, or a data set of an HDF5 file, and write it anew.

    It is read without HDF5's own library, which what was mutated before can make loop for ever.
    """
    source = pyfive.File(io.BytesIO(data))
    nodes: list[Any] = [source]
    source.visititems(lambda _, node: nodes.append(node))
    attributes = {(node.name, key): node.attrs[key] for node in nodes for key in node.attrs}
    sets = {node.name: node[()] for node in nodes if isinstance(node, pyfive.Dataset)}
    documents = [at for at, value in attributes.items() if isinstance(value, str | bytes) and value[:1] in ("{", b"{")]
    way = r.random()
    if documents and way < 0.55:
        at = r.choice(documents)
        attributes[at] = dumped(mutate_tree(json.loads(attributes[at]), r)).encode()
    elif sets and way < 0.9:
        name = r.choice(sorted(sets))
        value = sets.pop(name)
        if r.random() < 0.85:
            sets[name] = mutate_array(np.asarray(value), r)
    elif attributes:
        at = r.choice(sorted(attributes))
        del attributes[at]
        if r.random() < 0.7:
            attributes[at] = r.choice([0, -1, 1.5, "", "x", b"\xff", [1, 2], [b"a", b"b"], "9" * 9])
    held = io.BytesIO()
    with h5py.File(held, "w") as file:
        for node in nodes:
            if node.name in sets:
                file.create_dataset(node.name, data=sets[node.name])
            elif isinstance(node, pyfive.Group):
                file.require_group(node.name)
        for (name, key), value in attributes.items():
            if name in file:
                file[name].attrs[key] = value
    return held.getvalue()


def mutate_keras(data: bytes, r: random.Random) -> bytes:
    """Change the configuration, the weights or the list of members of a ``.keras`` file."""
    members = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = r.choice(sorted(members))
    if r.random() < 0.04:
        del members[name]
    elif name.endswith(".json"):
        members[name] = dumped(mutate_tree(json.loads(members[name]), r)).encode()
    else:
        members[name] = mutate_h5(members[name], r)
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return held.getvalue()


def messages(message: Message) -> list[Message]:
    """List a protobuf message and all within it."""
    found, stack = [], [message]
    while stack:
        found.append(stack.pop())
        for field, value in found[-1].ListFields():
            if field.message_type is not None:
                stack.extend(value if field.is_repeated else [value])
    return found


def mutate_onnx(data: bytes, r: random.Random) -> bytes:
    """Change fields of the messages of an ONNX file."""
    model = onnx.load_model_from_string(data)
    for _ in range(r.choice([1, 1, 2])):
        message = r.choice(messages(model))
        if not (fields := message.ListFields()):
            continue
        field, value = r.choice(fields)
        if r.random() < 0.15:
            message.ClearField(field.name)
        elif field.message_type is not None:
            if field.is_repeated:
                if r.random() < 0.5:
                    del value[r.randrange(len(value))]
                else:
                    value.add().CopyFrom(r.choice(list(value)))
        else:
            old = r.choice(list(value)) if field.is_repeated else value
            new = mutate_scalar(old, r)
            try:
                if field.is_repeated:
                    value[r.randrange(len(value))] = new
                else:
                    setattr(message, field.name, new)
            except (TypeError, ValueError):
                pass  # no value that this field can hold
    return model.SerializeToString()


def mutate_scalar(old: Any, r: random.Random) -> Any:
    """Return another value of the type of a protobuf scalar."""
    if isinstance(old, bytes):
        keep = np.frombuffer(old, np.uint8)
        return old[: len(old) // 2] if r.random() < 0.3 else mutate_array(keep, r).tobytes()
    if isinstance(old, str):
        return r.choice(["", "x", old + "_", "Conv", "Relu", "QuantizedConv2D", "\x00", "axis"])
    if isinstance(old, float):
        return r.choice([math.nan, math.inf, 0.0, -old, 1e38, 1e-40])
    return r.choice([*INTEGERS, old + 1, old - 1, -old])


def mutate_bundle(data: bytes, r: random.Random) -> bytes:
    """Change the ``model.json`` of a bundle, as a tree or as text, or one of the files beside it; see ``targets``."""
    bundle = json.loads(data)
    names, way = sorted(bundle["files"]), r.random()
    if way < 0.75 or not names:
        bundle["model"] = dumped(mutate_tree(json.loads(bundle["model"]), r))
    elif way < 0.85:
        bundle["model"] = mutate_bytes(bundle["model"].encode(), r).decode(errors="replace")
    else:
        name = r.choice(names)
        bundle["files"][name] = base64.b64encode(mutate_bytes(base64.b64decode(bundle["files"][name]), r)).decode()
    return json.dumps(bundle).encode()


def mutate_toml(data: bytes, r: random.Random) -> bytes:
    """Change the values of a TOML file."""
    tree = mutate_tree(tomllib.loads(data.decode()), r)
    try:
        return tomli_w.dumps(tree).encode(errors="surrogatepass")
    except (TypeError, AttributeError, RecursionError):  # nothing that TOML can say
        return mutate_bytes(data, r)


def mutate_bytes(data: bytes, r: random.Random) -> bytes:
    """Change, drop or repeat bytes anywhere."""
    if not data:
        return bytes([r.randrange(256)])
    at, size = r.randrange(len(data)), r.choice([1, 1, 2, 8, 64])
    way = r.random()
    if way < 0.6:
        return data[:at] + r.randbytes(size) + data[at + size :]
    if way < 0.8:
        return data[:at] + data[at + size :]
    return data[:at] if way < 0.9 else data[:at] + data[at : at + size] * 2 + data[at + size :]
