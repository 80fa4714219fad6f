"""Which outputs are brought to the bits of activations, and which of them are never negative."""

from __future__ import annotations

from functools import singledispatch

from spica.layers import (
    Activation,
    Add,
    Attention,
    DiagonalRecurrence,
    GlobalAveragePooling2D,
    LayerNormalization,
    Reshape,
    TokenEmbedding,
    WeightedLayer,
)
from spica.network import Layer, Network


@singledispatch
def has_output_stage(layer: Layer, net: Network) -> bool:
    """Return whether the output of a layer is brought to the bits of activations; accumulators leave otherwise."""
    return False


@has_output_stage.register
def _(layer: WeightedLayer, net: Network) -> bool:
    return not all(takes_accumulators(reader, net) for reader in net.consumers[layer.name])


@has_output_stage.register
def _(layer: Add | Activation | GlobalAveragePooling2D, net: Network) -> bool:
    return bool(net.consumers[layer.name])


@has_output_stage.register
def _(layer: TokenEmbedding | LayerNormalization | Attention, net: Network) -> bool:
    return True


@singledispatch
def takes_accumulators(reader: Layer, net: Network) -> bool:
    """Return whether a layer reads accumulators as they are."""
    return False


@takes_accumulators.register
def _(reader: DiagonalRecurrence, net: Network) -> bool:
    return True


@takes_accumulators.register
def _(reader: Reshape, net: Network) -> bool:
    return all(takes_accumulators(other, net) for other in net.consumers[reader.name])


@singledispatch
def is_rectified(layer: Layer) -> bool:
    """Return whether the output of a layer is never negative."""
    return getattr(layer, "activation", None) is not None


@is_rectified.register
def _(layer: Activation) -> bool:
    return True
