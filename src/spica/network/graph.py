"""The network: layers in order, each named, each reading tensors that earlier layers wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.errors import SpicaError
from spica.network.classification import accuracy, classes, count_classes
from spica.network.layer import Layer, check_together, infer, macs, state_types
from spica.network.schema import check_arrays, check_fields, check_text
from spica.network.types import TensorType, check_type
from spica.util.cached import cached_property
from spica.util.renamed import renamed

_checked: WeakSet[Layer] = WeakSet()
"""Layers whose fields were checked, in whatever network: they never change."""


@dataclass(frozen=True, eq=False)
class Network:
    """A float or an integer network: layers in topological order and the names of its outputs.

    A network is immutable: passes and edits return new ones. Every tensor has the name of the layer that writes it.
    Construction checks the whole graph, so a network that exists is well formed.

    Attributes:
        layers: in topological order, with unique names.
        outputs: names of the layers whose tensors leave the network.
        name: what messages and files call it.

    Raises:
        SpicaError: on a duplicate name, an unknown input, or a layer that does not fit its inputs.
    """

    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]
    name: str = "network"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise SpicaError(f"a network's name is text, not {self.name!r:.60}")
        check_text(self.name, "a network's name")
        for field in ("layers", "outputs"):
            if isinstance(getattr(self, field), str) or not isinstance(getattr(self, field), Iterable):
                raise SpicaError(f"{self.name}: {field} is {getattr(self, field)!r:.60}, but must be a tuple of them")
        object.__setattr__(self, "layers", tuple(self.layers))
        object.__setattr__(self, "outputs", tuple(self.outputs))
        if not self.layers:
            raise SpicaError(f"{self.name}: a network needs at least one layer")
        if not self.outputs:
            raise SpicaError(f"{self.name}: a network needs at least one output")
        if missing := [o for o in self.outputs if o not in self.types]:
            raise SpicaError(f"{self.name}: output {missing[0]!r} is not the name of a layer")

    @cached_property
    def types(self) -> dict[str, TensorType]:
        """The type of every tensor, by name."""
        types: dict[str, TensorType] = {}
        for layer in self.layers:
            if not isinstance(layer, Layer):
                raise SpicaError(f"{self.name}: {layer!r:.60} is not a layer record")
            if layer not in _checked:
                check_fields(layer, f"{layer.name!s:.80}")
                check_together(layer)
            if layer.name in types:
                raise SpicaError(f"{layer.name}: two layers have this name; names must be unique")
            if missing := [i for i in layer.inputs if i not in types]:
                raise SpicaError(f"{layer.name}: its input {missing[0]!r} is not written by any earlier layer")
            inputs = [types[i] for i in layer.inputs]
            if inputs:
                check_arrays(layer, layer.name, getattr(layer, "filters", inputs[0].channels), inputs[0].is_float)
            types[layer.name] = kind = infer(layer, inputs)
            check_type(kind, layer.name)
            _checked.add(layer)
        return types

    @cached_property
    def inputs(self) -> tuple[Layer, ...]:
        """The layers that read nothing: the network's inputs."""
        return tuple(layer for layer in self.layers if not layer.inputs)

    @cached_property
    def consumers(self) -> dict[str, tuple[Layer, ...]]:
        """The layers that read each tensor, by the tensor's name."""
        found: dict[str, list[Layer]] = {layer.name: [] for layer in self.layers}
        for reader in self.layers:
            for name in dict.fromkeys(reader.inputs):
                found[name].append(reader)
        return {name: tuple(readers) for name, readers in found.items()}

    @property
    def is_integer(self) -> bool:
        """True for a network that computes on integers, as a quantised one does."""
        return any(not kind.is_float for kind in self.types.values())

    @cached_property
    def stateful_layers(self) -> tuple[Layer, ...]:
        """The layers that keep a state from frame to frame."""
        return tuple(layer for layer in self.layers if state_types(layer, self.input_types(layer)))

    remembering = renamed("stateful_layers")

    def __getitem__(self, name: str) -> Layer:
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise SpicaError(f"{self.name} has no layer {name!r}; it has {', '.join(r.name for r in self.layers)}")

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def with_layers(self, layers: Iterable[Layer], outputs: Iterable[str] | None = None) -> Network:
        """Return a network of this name with other layers; its outputs are the same unless given."""
        return replace(self, layers=tuple(layers), outputs=self.outputs if outputs is None else tuple(outputs))

    def input_types(self, layer: Layer) -> list[TensorType]:
        """Return the types of the tensors that a layer reads."""
        return [self.types[i] for i in layer.inputs]

    def macs(self, layer: Layer) -> int:
        """Return the multiply-accumulates that one sample costs one of this network's layers."""
        return macs(layer, self.input_types(layer))

    # -- running ---------------------------------------------------------------------------------------------

    def run(self, x: ArrayLike | Sequence[ArrayLike], **options: Any):
        """Run a batch and return the values of every tensor; see ``spica.engine.run`` for options and result."""
        return _engine()[0](self, x, **options)

    def stream(self, **options: Any):
        """Open a stream, which takes frames as they come; see ``spica.engine.Stream`` for options."""
        return _engine()[1](self, **options)

    def forward(self, x: ArrayLike | Sequence[ArrayLike], **options: Any) -> NDArray | list[NDArray]:
        """Run a batch and return the outputs as real numbers (float32).

        Args:
            x: array ``(N, H, W, C)`` or ``(N, C)`` of the input's integer type (any float for a float network);
                a list of arrays where the network has several inputs. A stateful network takes its frames in
                order, or clips ``(S, T, ...)``.
            options: ``engine="native" | "reference"``, ``threads``, ``batch_size``.

        Returns:
            An array ``(N, ...)``, or a list of them where there are several outputs.
        """
        result = self.run(x, **options)
        floats = [self.types[o].to_float(result.tensors[o]) for o in self.outputs]
        return floats[0] if len(floats) == 1 else floats

    def predict(self, x: ArrayLike, **options: Any) -> NDArray[np.int64]:
        """Return the class of every sample (int64); see ``spica.network.classification.classes``.

        It is the index of the largest output, and of one output alone whether it is above 0. A map has a class at each
        pixel; a clip ``(T, ...)`` has one class: outputs of its frames are averaged.
        """
        return classes(self.name, self.types[self.outputs[0]], self.forward(x, **options))

    def evaluate(self, x: ArrayLike, labels: ArrayLike, **options: Any) -> float:
        """Return the fraction of samples whose predicted class is the label, 0 to 1.

        Raises:
            SpicaError: for labels that are not the index of a class each.
        """
        return accuracy(self.predict(x, **options), labels, count_classes(self.types[self.outputs[0]]))

    # -- looking and keeping ---------------------------------------------------------------------------------

    def save(self, path: str | PathLike[str]) -> None:
        """Write the network to a ``.spica`` file, atomically."""
        from spica.network.file import save

        save(self, path)

    def summary(self) -> str:
        """Return a table of the layers: type, output, weights and multiply-accumulates."""
        from spica.network.summary import summary

        return summary(self)

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        kind = "integer" if self.is_integer else "float"
        return f"<Network {self.name!r}: {kind}, {len(self.layers)} layers, outputs {', '.join(self.outputs)}>"


def check_network(net: Any, fix: str = "spica.from_keras makes one of a model") -> None:
    """Check that ``net`` is a ``Network``; ``fix`` says how to get one."""
    if not isinstance(net, Network):
        raise SpicaError(f"expected a Network, got {type(net).__name__}; {fix}")


Engine = tuple[Callable[..., Any], Callable[..., Any]]
_engines: list[Engine] = []


def set_engine(run: Callable[..., Any], stream: Callable[..., Any]) -> None:
    """Set what runs networks. The engine calls this, so that this package need not import it."""
    _engines[:] = [(run, stream)]


def _engine() -> Engine:
    if not _engines:
        raise SpicaError("no engine is loaded; import spica (not only spica.network) before running a network")
    return _engines[0]
