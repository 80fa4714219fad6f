"""The options of quantization, and the integer formats that they give a network's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers.weighted import weighted_layers
from spica.network import Layer, Network, TensorType
from spica.quantization.observers import METHODS
from spica.quantization.rules import has_output_stage, is_rectified

WEIGHT_BITS = (1, 2, 4, 8)
ACTIVATION_BITS = (1, 2, 4, 8)
LINEAR_BITS = 8
"""Width of activations that no rectifier makes positive; four signed bits would leave them three of magnitude."""

Bits = int | Mapping[str, int]


@dataclass(frozen=True)
class Format:
    """Width and sign of a tensor between layers."""

    bits: int
    signed: bool

    @property
    def largest(self) -> int:
        """The largest integer."""
        return (1 << (self.bits - self.signed)) - 1

    def tensor_type(self, shape: tuple[int, ...], step: NDArray) -> TensorType:
        """Return the type of a tensor of ``shape`` on a grid of ``step``, powers of two, one or one a channel."""
        return TensorType(shape, self.bits, self.signed, -np.log2(step).astype(np.int64))


@dataclass(frozen=True, kw_only=True)
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

    def formats(self, net: Network) -> dict[str, Format]:
        """Return the format of every tensor that an output stage brings to the bits of activations, by name."""
        return {layer.name: self._format(layer) for layer in net if has_output_stage(layer, net)}

    def _format(self, layer: Layer) -> Format:
        bits = self.activations if isinstance(self.activations, int) else self.activations.get(layer.name, 8)
        return Format(bits, bits >= 8) if is_rectified(layer) else Format(max(bits, LINEAR_BITS), True)
