"""Files of Keras 2 and 3, ``.keras`` and ``.h5``: their layers and weights, with an HDF5 reader and JSON alone."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.frontends.keras.stand_ins import MODELS, Layer, Model, is_operation, name_of
from spica.util.files import check_readable, open_archive, refuse_damage
from spica.util.hdf5 import open_hdf5
from spica.util.keras_backend import load_keras

Weights = dict[str, NDArray[Any]]
"""Weights of a layer by their names, with those of a layer inside it before: "query/kernel"."""

VARIABLES = {
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "GroupNormalization": ("gamma", "beta"),
    "LayerNormalization": ("gamma", "beta"),
    "Normalization": ("mean", "variance", "count"),
    "PReLU": ("alpha",),
    "cell": ("kernel", "recurrent_kernel", "bias"),
    "SeparableConv1D": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "SeparableConv2D": ("depthwise_kernel", "pointwise_kernel", "bias"),
}
"""Weights of layers in the order in which ``.keras`` files number them; others have a kernel and a bias."""


MOST_LAYERS = 1 << 14

UNREADABLE = "its list of layers cannot be read; the file is damaged"


def is_path(model: Any) -> bool:
    """Return whether a model is given as a file's path."""
    return isinstance(model, str | PathLike)


def read_model(path: str | PathLike[str], overlooked: Collection[str]) -> Model | None:
    """Read a ``.keras`` or ``.h5`` file of Keras 2 or 3.

    Returns:
        The model; ``None`` where it has layers of ``spica.keras``, or of the classes ``overlooked``, and Keras itself
        must load it.

    Raises:
        SpicaError: where it is not such a file, is damaged, or has layers with code of their own.
    """
    with _opened(path) as (config, weights), refuse_damage(str(path), UNREADABLE):
        return make_model(config, weights, str(path), overlooked)


def make_model(
    config: Any, weights: Callable[[], dict[str, Any]], where: str, overlooked: Collection[str]
) -> Model | None:
    """Make a model of its configuration and a function that reads its weights by layer; see ``read_model``."""
    entries = list(_entries(config))
    if len(entries) > MOST_LAYERS:
        raise SpicaError(f"{where}: has {len(entries):,} layers, but {MOST_LAYERS:,} are the most")
    if any(_needs_keras(entry, overlooked) for entry in entries):
        return None
    if config["class_name"] not in MODELS:
        raise SpicaError(
            f"{where}: a model of the class {config['class_name']} has code of its own; write it as a functional one"
        )
    if _is_quantized(config):
        raise SpicaError(f"{where}: is a model that quantizeml quantised; read it with spica.from_quantizeml")
    return Model(config, weights(), where)


@contextlib.contextmanager
def _opened(path: str | PathLike[str]) -> Iterator[tuple[Any, Callable[[], dict[str, Any]]]]:
    """Give a file's configuration, and a function that reads its weights by layer while it is open."""
    with contextlib.ExitStack() as opened:
        file = opened.enter_context(open(check_readable(path), "rb"))
        opened.enter_context(refuse_damage(str(path), "is not a Keras .h5 or .keras model; save it with model.save"))
        if zipfile.is_zipfile(file):
            archive = opened.enter_context(open_archive(str(path), file))
            config, packed = json.loads(archive.read("config.json")), file.seek(0, os.SEEK_END)
            weights = archive.read("model.weights.h5")
            yield config, lambda: _numbered(config, open_hdf5(str(path), weights, packed))
            return
        file.seek(0)
        held = opened.enter_context(open_hdf5(str(path), file.read()))
        if "model_config" not in held.attrs:
            raise SpicaError(f"{path}: holds weights alone; save the whole model with model.save")
        config = json.loads(held.attrs["model_config"])
        groups = held["model_weights"]
        yield config, lambda: _by_layer(config, {name: _named(groups, name) for name in groups})


def is_quantized(path: str | PathLike[str]) -> bool:
    """Return whether quantizeml quantised a model of a file."""
    with _opened(path) as (config, _), refuse_damage(str(path), UNREADABLE):
        return _is_quantized(config)


def _is_quantized(config: Any) -> bool:
    kinds = [entry["class_name"].rpartition(">")[2] for entry in _entries(config)]
    return any(kind.startswith("Quantized") or kind == "InputQuantizer" for kind in kinds)


def _needs_keras(entry: Mapping[str, Any], overlooked: Collection[str]) -> bool:
    return (
        str(entry.get("registered_name") or entry["class_name"]).startswith("spica>")
        or entry["class_name"] in overlooked
        or (entry["class_name"] == "Conv1D" and entry["config"].get("padding") == "causal")
    )


def _listed(config: Any) -> list[Any]:
    """Return the entries of the layers of a model, of which old ones are the configuration itself."""
    return config["config"]["layers"] if isinstance(config["config"], dict) else config["config"]


def _entries(config: Any) -> Iterator[Any]:
    """Yield the entries of all layers of a model, and of models inside it."""
    for entry in _listed(config):
        yield from _entries(entry) if entry["class_name"] in MODELS else [entry]


def load_live(path: str | PathLike[str]) -> Any:
    """Load a file with Keras itself.

    Raises:
        SpicaError: where Keras is missing, or cannot load it.
    """
    keras = load_keras()
    importlib.import_module("spica.keras")  # registers its layers with Keras
    try:
        return keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its many deserialisers raise
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise SpicaError(f"{path}: Keras cannot load it ({said:.200})") from None


# -- weights -----------------------------------------------------------------------------------------------------------


def _named(groups: Any, name: str) -> dict[str, NDArray[Any]]:
    """Return the weights of a group of an ``.h5`` file by their paths, without ":0"."""
    group, found = groups[name], {}
    parts = [key for key in group.attrs if key.removeprefix("weight_names").isdigit() or key == "weight_names"]
    for key in sorted(parts, key=lambda part: (len(part), part)):
        for weight in group.attrs[key]:
            path = weight.decode() if isinstance(weight, bytes) else str(weight)
            found[path.removesuffix(":0")] = np.asarray(group[path][()])
    return found


def by_path(config: Any, held: Weights) -> dict[str, Any]:
    """Return weights whose paths name their layers, "conv2d/kernel", by layer of a model.

    Those of a model inside it may lack its name.
    """
    groups: dict[str, Weights] = {name_of(entry): {} for entry in _listed(config)}
    for path, content in held.items():
        for name in groups.keys() & path.split("/"):
            groups[name][path] = content
    inside = {name_of(entry) for entry in _listed(config) if entry["class_name"] in MODELS}
    return _by_layer(config, {name: own or held if name in inside else own for name, own in groups.items()})


def _by_layer(config: Any, groups: Mapping[str, Weights]) -> dict[str, Any]:
    """Return weights by layer of a model, and by layer of models inside it."""
    made: dict[str, Any] = {}
    for entry in _listed(config):
        name = name_of(entry)
        held = groups.get(name, {})
        made[name] = by_path(entry, held) if entry["class_name"] in MODELS else _nested(name, held)
    return made


def _nested(name: str, held: Weights) -> dict[str, Any]:
    """Return a layer's weights by their own names; those of layers inside it as such layers."""
    made: dict[str, Any] = {}
    for path, content in held.items():
        parts = path.split("/")
        own = parts[len(parts) - parts[::-1].index(name) :] if name in parts[:-1] else parts[-1:]
        if len(own) > 1:
            made.setdefault(own[0], {})[own[-1]] = content
        else:
            made[own[0]] = content
    return {key: Layer({}, value) if isinstance(value, dict) else value for key, value in made.items()}


def _numbered(config: Any, group: Any, shared: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return weights by layer of a ``.keras`` file, which names layers by class and number, and weights by number.

    A layer that several models share has them once, where it comes first: ``shared`` holds those so far.
    """
    made: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    shared = {} if shared is None else shared
    for entry in config["config"]["layers"]:
        kind, name = entry["class_name"].rpartition(">")[2], name_of(entry)
        if is_operation(entry):
            continue
        words = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"\W+|(?<=.)([A-Z][a-z]+)", r"_\1", kind)).lower()
        snake = re.sub(r"_+", "_", words)
        path = f"layers/{snake}_{seen[snake]}" if seen[snake] else f"layers/{snake}"
        seen[snake] += 1
        if path not in group:
            made[name] = shared.get(name, {})
        elif kind in MODELS:
            made[name] = _numbered(entry, group[path], shared)
        else:
            made[name] = _of_group(kind, entry["config"], group[path])
        shared[name] = made[name]
    return made


def _of_group(kind: str, settings: Mapping[str, Any], group: Any) -> dict[str, Any]:
    names = list(VARIABLES.get(kind, ("kernel", "bias")))
    if kind in ("BatchNormalization", "GroupNormalization", "LayerNormalization"):
        dropped = {"gamma": not settings.get("scale", True), "beta": not settings.get("center", True)}
        names = [name for name in names if not dropped.get(name, False)]
    made: dict[str, Any] = {}
    for number, variable in group["vars"].items() if "vars" in group else ():
        if int(number) < len(names):
            made[names[int(number)]] = np.asarray(variable[()])
    for inner in group:
        if (inner == "cell" or inner.endswith("_dense")) and "vars" in group[inner]:
            made[inner] = Layer({}, _of_group(inner, {}, group[inner]))
    return made
