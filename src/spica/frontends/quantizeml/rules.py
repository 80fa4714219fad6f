"""Shared by both readers of quantizeml's files: the graph that they add Spica's layers to, and refusals of damage."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

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


def finite(where: str, name: str, values: NDArray) -> NDArray:
    """Return the numbers of a file, which must all be finite."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise SpicaError(f"{where}: {name} holds NaN or infinity; check the training, and save the model again")
    return values


def input_layer(name: str, shape: tuple[int, ...], dtype: np.dtype) -> Input:
    """Return the layer of a model's input, whose samples have ``shape`` and ``dtype``."""
    if not shape or not all(shape):
        raise SpicaError(f"{name}: input shape {shape} has unknown sizes; save the model with fixed ones")
    bits = 8 * dtype.itemsize if dtype.kind in "iu" else None
    return Input(name=name, shape=shape, bits=bits, signed=dtype.kind == "i")
