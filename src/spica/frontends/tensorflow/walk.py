"""Following a graph of TensorFlow: one node after the other becomes a constant, a view, or part of an operation."""

from __future__ import annotations

from typing import Any

import numpy as np

from spica.errors import SpicaError
from spica.frontends.batch import own_sizes
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.patterns import Part
from spica.frontends.registry import Operations
from spica.frontends.tensorflow.dilation import POINTWISE, Phases, within
from spica.frontends.tensorflow.folding import MOST_FOLDED, folded
from spica.frontends.tensorflow.node import Node
from spica.frontends.tensorflow.operations import TAKES_PARTS
from spica.frontends.view import BATCH, View
from spica.layers import Input
from spica.network.types import check_size


class Walk(GraphBuilder):
    """Follows a graph.

    Attributes:
        operations: readers of operations by the names that the source has for them.
        batch: samples that the model was made for.
    """

    def __init__(self, operations: Operations) -> None:
        super().__init__()
        self.operations, self.batch, self._folded = operations, BATCH, 0

    def source(self, name: str, shape: tuple[int, ...]) -> View:
        """Return an input of the network, of a shape with its batch axis, which says for how many samples it is."""
        if len(shape) < 2 or len(shape) > 4:
            raise SpicaError(f"{name}: an input of shape {shape} is no image, tokens or vector with a batch axis")
        if min(shape) < 1:
            raise SpicaError(f"{name}: an input of shape {shape} has unknown sizes; convert it with fixed ones")
        check_size(shape, name)
        refuse(name, bool(self.layers) and shape[0] != self.batch, "another batch size", "use that of the other input")
        self.batch = shape[0]
        return self.make(Input, name, shape=shape[1:])

    def output(self, found: Any, name: str) -> View:
        """Return an output of the network."""
        if isinstance(found, Part):
            found = found.completed(self, name)
        if not isinstance(found, View):
            raise SpicaError(f"{name}: an output that does not depend on the input cannot be taken")
        return self.whole(found, name)

    def outputs_of(self, node: Node, name: str) -> list[Any]:
        """Return what a node makes, given the name that TensorFlow has for its operation."""
        if name in ("Shape", "Size") and isinstance(node.inputs[0], View):
            sizes = own_sizes(node.inputs[0], self.batch)
            made: Any = np.array(sizes if name == "Shape" else np.prod(sizes), np.int32)
        elif not any(isinstance(value, View | Part) for value in node.inputs):
            made = self._computed(node, name)
        else:
            made = self._followed(node, name)
        found = made if isinstance(made, list) else [made]
        for value in found:
            if isinstance(value, View) and not value.has_every_sample():
                raise SpicaError(f"{node.at}: {node.kind} takes samples of the batch apart; leave the batch axis whole")
        return found

    def _computed(self, node: Node, name: str) -> Any:
        made = folded(node, name)
        self._folded += sum(part.nbytes for part in (made if isinstance(made, list) else [made]))
        if self._folded > MOST_FOLDED:
            raise SpicaError(f"{node.at}: the constants that are computed have more than {MOST_FOLDED:,} bytes")
        return made

    def _followed(self, node: Node, name: str) -> Any:
        read, (first, *others) = self.operations.find(node.kind, node.at), node.inputs
        if isinstance(first, Phases) and name in POINTWISE and not any(isinstance(v, View | Part) for v in others):
            return within(first, lambda x: read(self, node, x, *others))
        inputs = node.inputs
        if name not in TAKES_PARTS:
            inputs = [value.completed(self, node.at) if isinstance(value, Part) else value for value in inputs]
        return read(self, node, *inputs)
