"""TensorFlow.js models of both formats to float networks, with JSON and numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

from spica.errors import SpicaError
from spica.frontends.keras.model import from_config
from spica.frontends.tfjs.file import read_json, read_weights
from spica.frontends.tfjs.graph import from_graph
from spica.network import Network
from spica.util.files import refuse_damage


def from_tfjs(path: str | PathLike[str], outputs: Sequence[str] | None = None) -> Network:
    """Take a TensorFlow.js model as a float network.

    Args:
        path: a ``model.json``, of layers or of a graph, with the files of its weights in the same folder or below.
        outputs: names of nodes at which the network of a graph is to end; the model's own outputs by default.

    Returns:
        A float ``Network`` that computes what the model computes.

    Raises:
        SpicaError: where a file is missing or damaged, or naming the first operation that cannot be taken and what
            would work instead.
    """
    document = read_json(path)
    topology = document["modelTopology"]
    weights = read_weights(path, document)
    if "node" in topology:
        with refuse_damage(str(path), "its graph cannot be read; the file is damaged"):
            return from_graph(document, weights, str(path), outputs)
    if outputs is not None:
        raise SpicaError(f"{path}: is a model of layers, whose outputs are its own; leave outputs out")
    config: Any = topology.get("model_config", topology)
    return from_config(config, weights, str(path))
