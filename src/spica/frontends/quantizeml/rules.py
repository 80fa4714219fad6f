"""Rules by which a file's layers become Spica's, whatever kind of file they come from.

A reader hands each of its file's layers to a ``RuleBook``, which finds the rule by the file's name for what the layer
does. The rule adds Spica's layers to a ``Graph``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spica.errors import SpicaError
from spica.layers import Input
from spica.network import Layer, Network, TensorType
from spica.network.layer import infer


@dataclass
class Graph:
    """The layers made so far, the types of their outputs, and the layers that write the file's tensors."""

    source: str  # the file's name, for errors
    layers: list[Layer] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)
    writers: dict[str, str] = field(default_factory=dict)

    def add(self, layer: Layer, tensor: str | None = None) -> TensorType:
        """Append a layer, which writes the file's ``tensor`` if one is given, and return its type."""
        self.types[layer.name] = self.infer(layer)
        self.layers.append(layer)
        if tensor is not None:
            self.writers[tensor] = layer.name
        return self.types[layer.name]

    def infer(self, layer: Layer) -> TensorType:
        """Return the type that the output of ``layer`` would have; its inputs must be in the graph."""
        return infer(layer, [self.types[name] for name in layer.inputs])

    def writer(self, tensor: str) -> str:
        """Return the name of the layer that writes one of the file's tensors."""
        try:
            return self.writers[tensor]
        except KeyError:
            raise SpicaError(f"{self.source}: {tensor!r} is read before it is written; the file is damaged") from None

    def network(self, outputs: list[str], name: str) -> Network:
        """Return the network whose outputs are the given tensors of the file."""
        return Network(tuple(self.layers), tuple(self.writer(tensor) for tensor in outputs), name)


Rule = Callable[[Any, Any], None]
"""Adds to a graph what a file's layer becomes: ``rule(graph, layer)``."""


class RuleBook(dict[str, Rule]):
    """The rules for one kind of file, by the names that it has for its layers' operations."""

    def reads(self, *operations: str) -> Callable[[Rule], Rule]:
        """Return a decorator that enters a rule under ``operations``."""

        def enter(rule: Rule) -> Rule:
            self.update(dict.fromkeys(operations, rule))
            return rule

        return enter

    def apply(self, operation: str, graph: Graph, layer: Any, what: str) -> None:
        """Add to ``graph`` what a file's ``layer``, in words ``what``, becomes by the rule for ``operation``.

        Raises:
            SpicaError: naming the layer, where there is no such rule, or the layer lacks what the rule needs.
        """
        if operation not in self:
            known = ", ".join(sorted(self))
            raise SpicaError(f"{layer.name}: {what} has no exact counterpart; Spica reads {known}")
        with refuse_damage(layer.name, what):
            self[operation](graph, layer)


@contextmanager
def refuse_damage(where: str, what: str) -> Iterator[None]:
    """Turn errors in reading a part of a file, in words ``what``, into a ``SpicaError`` that says ``where``."""
    try:
        yield
    except SpicaError:
        raise
    except KeyError as error:
        raise SpicaError(f"{where}: the file lacks its {error}; it is damaged") from error
    except (TypeError, ValueError, IndexError, AttributeError, ArithmeticError) as error:
        raise SpicaError(f"{where}: {what} cannot be read ({error}); the file is damaged") from error


def input_layer(name: str, shape: tuple[int, ...], dtype: np.dtype) -> Input:
    """Return the layer of a model's input, whose samples have ``shape`` and ``dtype``."""
    if not shape or not all(shape):
        raise SpicaError(f"{name}: input shape {shape} has unknown sizes; save the model with fixed ones")
    bits = 8 * dtype.itemsize if dtype.kind in "iu" else None
    return Input(name=name, shape=shape, bits=bits, signed=dtype.kind == "i")
