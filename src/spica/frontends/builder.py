"""Collects the layers of a network while an importer walks its source, each with a name of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from spica.network import Layer, TensorType
from spica.network.layer import infer


class Builder:
    """Layers so far, in order, and the type of each one's output by name."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.types: dict[str, TensorType] = {}

    def add(self, records: Sequence[Layer]) -> str:
        """Add a chain of records, made unique in name; the name of the last."""
        renamed: dict[str, str] = {}
        for layer in records:
            name = next(n for n in _candidates(layer.name) if n not in self.types)
            made = replace(layer, name=name, inputs=tuple(renamed.get(i, i) for i in layer.inputs))
            self.layers.append(made)
            self.types[name] = infer(made, [self.types[i] for i in made.inputs])
            renamed[layer.name] = name
        return self.layers[-1].name


def _candidates(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}_{i}" for i in range(2, 1 << 30))
