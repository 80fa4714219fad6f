"""The options of quantisation, and the integer formats that they give a network's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spica.errors import SpicaError
from spica.layers import MaxPool2D, Moves
from spica.layers.weighted import weighted_layers
from spica.network import Layer, Network, TensorType
from spica.quantization.observers import METHODS
from spica.quantization.rules import has_output_stage
from spica.util.arguments import check_choice

WEIGHT_BITS = (1, 2, 4, 8)
ACTIVATION_BITS = (1, 2, 4, 8)
LINEAR_BITS = 8
"""Width of activations that no rectifier makes positive; four signed bits would leave them three of magnitude."""

Bits = int | Mapping[str, int]


@dataclass(frozen=True)
class QuantizationConfig:
    """The options of ``spica.quantize``, which explains them.

    Raises:
        SpicaError: for bits or a way to choose ranges that there are not.
    """

    weights: Bits
    activations: Bits
    first_layer_weights: int
    per_channel_activations: bool
    ranges: str
    equalization: bool
    reconstruction: bool
    bias_correction: bool

    def __post_init__(self) -> None:
        for option, values, allowed in (
            ("weights", self.weights, WEIGHT_BITS),
            ("first_layer_weights", self.first_layer_weights, WEIGHT_BITS),
            ("activations", self.activations, ACTIVATION_BITS),
        ):
            if isinstance(values, Mapping) and option == "first_layer_weights":
                raise SpicaError(f"{option}={values!r:.40}: choose from {', '.join(map(str, allowed))} bits")
            if isinstance(values, np.integer):
                object.__setattr__(self, option, int(values))
            for name, value in (values if isinstance(values, Mapping) else {"": values}).items():
                if not isinstance(value, int | np.integer) or isinstance(value, bool) or value not in allowed:
                    where = f"{option}[{name!r}]" if name else option
                    raise SpicaError(f"{where}={value!r}: choose from {', '.join(map(str, allowed))} bits")
        for option in ("per_channel_activations", "equalization", "reconstruction", "bias_correction"):
            if not isinstance(getattr(self, option), bool):
                raise SpicaError(f"{option}={getattr(self, option)!r:.40}: choose True or False")
        check_choice("ranges", self.ranges, METHODS)

    def check_names(self, net: Network) -> None:
        """Check that the layers whose bits are given are in a network, and have what the bits are for.

        Raises:
            SpicaError: naming the first that is or has not, and those that do.
        """
        weighted = [layer.name for layer in weighted_layers(net)]
        stages = [layer.name for layer in net if has_output_stage(layer, net)]
        for option, values, known in (("weights", self.weights, weighted), ("activations", self.activations, stages)):
            for name in values.keys() - {"*"} if isinstance(values, Mapping) else ():
                if name not in net.types:
                    raise SpicaError(
                        f"{option}: {net.name} has no layer {name!r} once prepared; it has {_listed(known)}"
                    )
                if (_writer(net, name) if option == "activations" else name) not in known:
                    raise SpicaError(f"{option}: {name!r} has none to be quantised; choose from {_listed(known)}")

    def weight_bits(self, layer: Layer, source: str) -> int:
        """Return the bits of a layer's weights, given the name of the network's input."""
        if isinstance(self.weights, Mapping) and layer.name in self.weights:
            return int(self.weights[layer.name])
        if layer.inputs[0] == source:
            return int(self.first_layer_weights)
        return int(self.weights.get("*", 8) if isinstance(self.weights, Mapping) else self.weights)

    def formats(self, net: Network) -> dict[str, TensorType]:
        """Return the types, but for their steps, of the tensors that become integers of few bits, by name."""
        found, given = {}, self.activations if isinstance(self.activations, Mapping) else {"*": self.activations}
        named = {_writer(net, name): bits for name, bits in given.items() if name != "*"}
        for layer in net:
            if has_output_stage(layer, net):
                bits = int(named.get(layer.name, given.get("*", 8)))
                rectified = getattr(layer, "activation", getattr(layer, "function", None)) is not None
                signed, bits = bits >= 8 or not rectified, bits if rectified else max(bits, LINEAR_BITS)
                found[layer.name] = TensorType(net.types[layer.name].shape, bits, signed)
        return found


def _writer(net: Network, name: str) -> str:
    """Return the layer that computes what layers of the name, which may only move it, give."""
    while isinstance(net[name], Moves | MaxPool2D) and len(net[name].inputs) == 1:
        (name,) = net[name].inputs
    return name


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "nothing"
