"""The options of quantisation, and the integer formats that they give a network's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spica.errors import SpicaError
from spica.layers.weighted import weighted_layers
from spica.network import Layer, Network, TensorType
from spica.quantization.observers import METHODS
from spica.quantization.rules import has_output_stage

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
            for name, value in (values if isinstance(values, Mapping) else {"": values}).items():
                if value not in allowed:
                    where = f"{option}[{name!r}]" if name else option
                    raise SpicaError(f"{where}={value!r}: choose from {', '.join(map(str, allowed))} bits")
        if self.ranges not in METHODS:
            raise SpicaError(f"ranges={self.ranges!r}: choose {', '.join(map(repr, METHODS))}")

    def check_names(self, net: Network) -> None:
        """Check that the layers whose bits are given are in a network.

        Raises:
            SpicaError: naming the first that is not, and those that are.
        """
        for option, values in (("weights", self.weights), ("activations", self.activations)):
            for name in values if isinstance(values, Mapping) else ():
                if name not in net.types:
                    known = ", ".join(layer.name for layer in weighted_layers(net))
                    raise SpicaError(f"{option}: {net.name} has no layer {name!r} once prepared; it has {known}")

    def weight_bits(self, layer: Layer, source: str) -> int:
        """Return the bits of a layer's weights, given the name of the network's input."""
        if isinstance(self.weights, Mapping):
            return self.weights.get(layer.name, 8)
        return self.first_layer_weights if layer.inputs[0] == source else self.weights

    def formats(self, net: Network) -> dict[str, TensorType]:
        """Return the types, but for their steps, of the tensors that become integers of few bits, by name."""
        found = {}
        for layer in net:
            if has_output_stage(layer, net):
                bits = self.activations if isinstance(self.activations, int) else self.activations.get(layer.name, 8)
                rectified = getattr(layer, "activation", getattr(layer, "function", None)) is not None
                signed, bits = bits >= 8 or not rectified, bits if rectified else max(bits, LINEAR_BITS)
                found[layer.name] = TensorType(net.types[layer.name].shape, bits, signed)
        return found
