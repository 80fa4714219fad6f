"""Shared by both readers of quantizeml's files: the graph that they add Spica's layers to, and refusals of damage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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
        if tensor not in self.writers:
            raise SpicaError(f"{self.source}: {tensor!r} is read before it is written; the file is damaged")
        return self.writers[tensor]

    def network(self, outputs: list[str], name: str) -> Network:
        """Return the network whose outputs are the given tensors of the file."""
        return Network(tuple(self.layers), tuple(self.writer(tensor) for tensor in outputs), name)


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
