"""Writers of TensorFlow.js models: of the layers in a Keras ``.h5`` file, as its converter does it, and of graphs."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import h5py
import numpy as np


def save(folder, topology, weights, kind, shards=1, quantization=None, **more):
    """Write ``model.json`` and its weights, in so many files, quantised by name; return the path of the first."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    specs, data = [], b""
    for name, values in weights.items():
        values = np.asarray(values)
        spec = {"name": name, "shape": list(values.shape), "dtype": str(values.dtype)}
        how = (quantization or {}).get(name)
        if how == "float16":
            spec["quantization"] = {"dtype": how, "original_dtype": "float32"}
            values = values.astype(np.float16)
        elif how:
            least, most = float(values.min()), float(values.max())
            scale = (most - least) / np.iinfo(how).max or 1.0
            spec["quantization"] = {"dtype": how, "scale": scale, "min": least, "original_dtype": str(values.dtype)}
            values = np.rint((values - least) / scale).astype(how)
        specs.append(spec)
        data += values.tobytes()
    size = -(-len(data) // shards)
    names = [f"group1-shard{i + 1}of{shards}.bin" for i in range(shards)]
    for i, name in enumerate(names):
        (folder / name).write_bytes(data[i * size : (i + 1) * size])
    document = {"format": kind, "generatedBy": "a test", "modelTopology": topology}
    document |= {"weightsManifest": [{"paths": names, "weights": specs}], **more}
    (folder / "model.json").write_text(json.dumps(document))
    return folder / "model.json"


def layers_of_h5(path, folder, **options):
    """Write the model of a Keras ``.h5`` file as layers."""
    weights = {}
    with h5py.File(path) as file:
        config = json.loads(file.attrs["model_config"])
        for group in file["model_weights"].values():
            for name in group.attrs["weight_names"]:
                name = name.decode() if isinstance(name, bytes) else name
                weights[name.removesuffix(":0")] = group[name][()]
    topology = {"keras_version": "2.4.0", "backend": "tensorflow", "model_config": config}
    return save(folder, topology, weights, "layers-model", **options)


def text(value):
    """Return text as a graph has it."""
    return base64.b64encode(value.encode()).decode()


def attribute(value):
    """Return a value of Python as an attribute of a node."""
    if isinstance(value, bool):
        return {"b": value}
    if isinstance(value, int):
        return {"i": str(value)}
    if isinstance(value, float):
        return {"f": value}
    if isinstance(value, str):
        return {"type": value} if value.startswith("DT_") else {"s": text(value)}
    if isinstance(value, list):
        kind = "s" if value and isinstance(value[0], str) else "i"
        return {"list": {kind: [text(v) if kind == "s" else str(v) for v in value]} if value else {}}
    return {"shape": {"dim": [{"size": str(n)} for n in value]}}


def graph(nodes, shape, constants=()):
    """Return a graph of nodes ``(op, inputs, name, attributes)`` over named tensors; "x" goes in."""
    constants = dict(constants)
    made = [{"name": "x", "op": "Placeholder", "attr": {"dtype": attribute("DT_FLOAT"), "shape": attribute(shape)}}]
    for name, values in constants.items():
        kind = {"f": "DT_FLOAT", "i": "DT_INT32", "b": "DT_BOOL"}[np.asarray(values).dtype.kind]
        made.append({"name": name, "op": "Const", "attr": {"dtype": attribute(kind)}})
    for op, read, name, attributes in nodes:
        given = {key: attribute(value) for key, value in attributes.items()}
        made.append({"name": name, "op": op, "input": read.split(), "attr": {"T": attribute("DT_FLOAT"), **given}})
    return {"node": made, "library": {}, "versions": {"producer": 1}}
