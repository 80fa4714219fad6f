"""TensorFlow.js models of a graph to float networks: the graph in JSON, its constants in the files of weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.frontends.tensorflow.walk import Walk
from spica.frontends.tfjs.node import Node, value_of
from spica.frontends.tfjs.operations import OPERATIONS
from spica.network import Network

MOST_NODES, MOST_INPUTS = 1 << 14, 1 << 16
"""Nodes of the largest graph, and what they may read in all."""

NO_OUTPUTS = ("Const", "NoOp", "Placeholder")
"""Operations that are no outputs of a graph though nothing reads them."""

Place = tuple[str, int]
"""A node's name, and which of its outputs is meant."""


def from_graph(
    document: Mapping[str, Any], weights: Mapping[str, NDArray[Any]], where: str, outputs: Sequence[str] | None = None
) -> Network:
    """Take a graph as a float network.

    Args:
        document: the content of a ``model.json``.
        weights: its constants by name.
        where: the file, for errors.
        outputs: names of nodes at which the network is to end; those of the file by default.

    Raises:
        SpicaError: naming the first operation that cannot be taken.
    """
    return _Walk(document["modelTopology"]["node"], weights, where).followed(document, outputs)


class _Walk(Walk):
    """Follows a graph.

    Attributes:
        nodes: the nodes of the file by name.
        values: what each node makes, by its name.
    """

    def __init__(self, nodes: Sequence[Mapping[str, Any]], weights: Mapping[str, NDArray[Any]], where: str) -> None:
        super().__init__(OPERATIONS)
        self.weights, self.where = weights, where
        if len(nodes) > MOST_NODES:
            raise SpicaError(f"{where}: its graph has {len(nodes):,} nodes, but {MOST_NODES:,} are the most")
        if sum(len(node.get("input", [])) for node in nodes) > MOST_INPUTS:
            raise SpicaError(f"{where}: its nodes read more than {MOST_INPUTS:,} tensors in all")
        self.nodes = {str(node["name"]): node for node in nodes}
        if len(self.nodes) < len(nodes):
            raise SpicaError(f"{where}: two nodes of its graph have the same name; the file is damaged")
        self.values: dict[str, list[Any]] = {}

    def followed(self, document: Mapping[str, Any], chosen: Sequence[str] | None) -> Network:
        """Return the network of the graph, which ends at the nodes that are chosen."""
        signature = document.get("signature") or {}
        names = chosen or [entry["name"] for entry in (signature.get("outputs") or {}).values()]
        outputs = list(map(_place, names or self._ends()))
        wanted = [_place(entry["name"])[0] for entry in (signature.get("inputs") or {}).values()]
        sources = [name for name, node in self.nodes.items() if node["op"] == "Placeholder"]
        for name in sorted(sources, key=lambda name: wanted.index(name) if name in wanted else len(wanted)):
            self.values[name] = [self._placeholder(name)]
        if not sources or not outputs:
            raise SpicaError(f"{self.where}: its graph has no {'outputs' if sources else 'input'}; a network needs one")
        for name, _ in outputs:
            self._follow(name)
        return self.network([self.output(self._value(place), place[0]) for place in outputs], "model")

    def _ends(self) -> list[str]:
        """Return the nodes that no other reads."""
        read = {name for node in self.nodes.values() for name, _ in self._inputs(node)}
        return [name for name, node in self.nodes.items() if name not in read and node["op"] not in NO_OUTPUTS]

    def _placeholder(self, name: str) -> Any:
        options = self.nodes[name].get("attr", {})
        shape, kind = value_of(options["shape"]) if "shape" in options else None, value_of(options["dtype"])
        if shape is None or kind in ("DT_STRING", "DT_BOOL", "DT_RESOURCE", "DT_VARIANT"):
            raise SpicaError(f"{name}: an input of type {kind} and shape {shape} is no tensor of known size")
        return self.source(_spelled(name), (max(shape[0], 1), *shape[1:]) if shape else ())

    def _inputs(self, node: Mapping[str, Any]) -> list[Place]:
        """Return what a node reads; other nodes that only come before it do not matter."""
        return [_place(text) for text in node.get("input", []) if not text.startswith("^")]

    def _follow(self, name: str) -> None:
        """Do a node, after what it reads, without recursion: a file may have any depth."""
        waiting, open_ = [name], set[str]()
        while waiting:
            name = waiting[-1]
            if name in self.values:
                waiting.pop()
                continue
            if name not in self.nodes:
                raise SpicaError(f"{self.where}: reads {name!r:.60}, which nothing makes; the file is damaged")
            missing = [other for other, _ in self._inputs(self.nodes[name]) if other not in self.values]
            if not missing:
                self.values[name] = self._made(name, self.nodes[name])
            elif name in open_:
                raise SpicaError(f"{name}: reads what depends on it; loops are not supported")
            open_.add(name)
            waiting += missing

    def _made(self, name: str, given: Mapping[str, Any]) -> list[Any]:
        """Return what a node makes of what it reads."""
        kind = str(given["op"])
        if kind == "Const":
            if name not in self.weights:
                raise SpicaError(f"{name}: a constant whose values are not among the weights; the file is damaged")
            return [self.weights[name]]
        inputs = [self._value(place) for place in self._inputs(given)]
        node = Node(kind, _spelled(name), inputs, self.batch, given.get("attr", {}))
        made = self.outputs_of(node, kind)
        node.check_options()
        return made

    def _value(self, place: Place) -> Any:
        name, number = place
        if number >= len(self.values[name]):
            raise SpicaError(f"{name}: has no output {number}; the file is damaged or of another operation")
        return self.values[name][number]


def _place(text: str) -> Place:
    name, _, number = text.partition(":")
    return name, int(number or 0)


def _spelled(name: str) -> str:
    return name.strip("/").replace(".", "/") or "node"
