"""Fuse a rectifier into the layer before it: hardware applies it to the accumulator, at no cost."""

from dataclasses import replace

from spica.layers import Activation, Add, GlobalAverage, WeightedLayer
from spica.network import Layer, Network
from spica.passes.base import Result, graph_pass
from spica.passes.merge import merge_pairs


@graph_pass()
def fuse_activation(net: Network) -> Result:
    """Fuse each ``Activation`` into the layer with weights, or the ``Add``, that it reads."""
    return merge_pairs(net, _merge)


def _merge(before: Layer, after: Layer) -> Layer | None:
    if (
        not isinstance(after, Activation)
        or not isinstance(before, WeightedLayer | Add)
        or before.activation is not None
    ):
        return None
    if isinstance(before, WeightedLayer) and isinstance(before.pool, GlobalAverage):
        return None  # a fused average comes after the activation, this one before
    if before.requantize is not None:
        return None  # its integers are already rounded
    return replace(before, activation=after.function, requantize=after.requantize)
