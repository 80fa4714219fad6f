"""Fuse a rectifier into the layer before it: hardware applies it to the accumulator, at no cost."""

from dataclasses import replace

from spica.layers import Activation, Add, GlobalAverage, WeightedLayer
from spica.network import Layer, Network
from spica.passes.merge import merge_pass


@merge_pass
def fuse_activation(net: Network, before: Layer, after: Layer) -> Layer | None:
    """Fuse each ``Activation`` into the layer with weights, or the ``Add``, that it reads."""
    if not isinstance(after, Activation) or not isinstance(before, WeightedLayer | Add):
        return None
    if before.activation is not None or before.requantize is not None:
        return None  # its values are rectified, or its integers rounded, already
    if isinstance(before, WeightedLayer) and isinstance(before.pool, GlobalAverage):
        return None  # a fused average comes after the activation, this one before
    return replace(before, activation=after.function, requantize=after.requantize)
