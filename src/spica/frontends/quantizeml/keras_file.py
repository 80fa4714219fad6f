"""Read quantised Keras files of quantizeml (``.h5``, ``.keras``), with h5py and JSON alone."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import Counter
from os import PathLike
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.frontends.quantizeml.keras_rules import KERAS, KerasLayer, tensor
from spica.frontends.quantizeml.rules import Graph, refuse_damage
from spica.frontends.quantizeml.spellings import OUTPUT_VARIABLES, VARIABLES
from spica.network import Network

Variables = dict[str, dict[str, NDArray]]
"""Weights and ranges, by their layers' names and by their own in the file."""


def read_keras(path: str | PathLike[str] | BinaryIO) -> Network:
    """Read a Keras model that quantizeml quantised, each of the file's layers by itself.

    Raises:
        SpicaError: where the file is not such a model, or a layer has no exact counterpart; it is named.
    """
    model, variables = _load(path)
    with refuse_damage(str(path), "its list of layers"):
        return _network(str(path), model, variables)


def _network(path: str, model: dict, variables: Variables) -> Network:
    config = model["config"] if "layers" in model["config"] else {"layers": model["config"]}
    functional = model["class_name"] != "Sequential"
    graph = Graph(path)
    previous: tuple[str, ...] = ()
    for entry in config["layers"]:
        name, kind, settings = entry["config"]["name"], _class(entry), entry["config"]
        if functional:
            inputs = _inputs(graph, name, entry.get("inbound_nodes", []))
        elif not previous and kind != "InputLayer":  # a Sequential file may name its input in its first layer only
            inputs = (f"{name}_input",)
            KERAS.apply("InputLayer", graph, KerasLayer(inputs[0], (), settings, {}), "input")
        else:
            inputs = previous
        layer = KerasLayer(name, inputs, settings, variables.get(name, {}))
        KERAS.apply(kind, graph, layer, f"layer {kind}")
        previous = (graph.writer(tensor(name)),)
    last = config["layers"][-1]["config"]["name"], 0, 0
    ends = [tensor(name, index) for name, _, index in (config["output_layers"] if functional else [last])]
    return graph.network(ends, str(config.get("name", "model")))


def _class(entry: dict) -> str:
    """Return the class of a layer, without its package."""
    return entry["class_name"].rpartition(">")[2]


def _inputs(graph: Graph, name: str, nodes: Any) -> tuple[str, ...]:
    """Return the layers of ``graph`` that a layer of a functional model reads."""
    if len(nodes) > 1:
        raise SpicaError(f"{name}: is used {len(nodes)} times; Spica reads files in which each layer is used once")
    if not nodes:
        return ()
    node = nodes[0] if isinstance(nodes[0][0], list) else [nodes[0]]
    return tuple(graph.writer(tensor(source, index)) for source, _, index, *_ in node)


# -- the two forms of file -----------------------------------------------------------------------------------------


def _load(source: str | PathLike[str] | BinaryIO) -> tuple[dict, Variables]:
    """Return the model's configuration and its variables."""
    try:
        import h5py
    except ImportError:
        raise SpicaError("reading .h5 and .keras files needs h5py; run: pip install 'spica[quantizeml]'") from None
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                config = json.loads(archive.read("config.json"))
                with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
                    return config, _numbered_variables(config, file["layers"])
        with h5py.File(source, "r") as file:
            groups = file["model_weights"]
            variables = {
                name: {v.removesuffix(":0"): np.asarray(groups[name][v]) for v in _names(groups[name], "weight_names")}
                for name in _names(groups, "layer_names")
            }
            return json.loads(file.attrs["model_config"]), variables
    except FileNotFoundError:
        raise SpicaError(f"{source}: does not exist; check the path") from None
    except (OSError, KeyError, TypeError, ValueError, AttributeError, zipfile.BadZipFile) as error:
        raise SpicaError(f"{source}: is not a Keras .h5 or .keras model ({error}); save it with model.save") from None


def _numbered_variables(config: dict, groups: Any) -> Variables:
    """Return the variables of a ``.keras`` file, which names layers by class and number, and variables by number."""
    variables: Variables = {}
    seen: Counter[str] = Counter()
    for entry in config["config"]["layers"]:
        kind = _class(entry)
        snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"\W+|(?<=.)([A-Z][a-z]+)", r"_\1", kind)).lower()
        snake = re.sub(r"_+", "_", snake)
        group = groups.get(f"{snake}_{seen[snake]}" if seen[snake] else snake)
        seen[snake] += 1
        if group is None:
            continue
        found = variables.setdefault(entry["config"]["name"], {})
        for part, names in ((".", VARIABLES.get(kind, ("kernel", "bias"))), ("out_quantizer", OUTPUT_VARIABLES)):
            for index, variable in group[f"{part}/vars"].items() if f"{part}/vars" in group else ():
                found[names[int(index)]] = np.asarray(variable)
    return variables


def _names(group: Any, attribute: str) -> list[str]:
    """Return a list of names that Keras keeps in one attribute, or in several where it is long."""
    parts = [k for k in group.attrs if k.removeprefix(attribute).isdigit() or k == attribute]
    found = [name for part in sorted(parts, key=lambda k: (len(k), k)) for name in group.attrs[part]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]
