"""Fuse pooling into the layer before it: hardware pools the accumulator before it becomes events.

Max pooling may cross a rectifier and an output stage, as both keep the order of values. An average must see the
accumulator itself, with all channels on one exponent, which a depthwise layer does not promise. Hardware has no pooling
in layers over time.
"""

from dataclasses import replace

from spica.layers import GlobalAverage, GlobalAveragePooling2D, MaxPool2D, Temporal, WeightedLayer
from spica.layers.weighted import is_depthwise
from spica.network import Layer, Network
from spica.passes.merge import merge_pass


@merge_pass
def fuse_pooling(net: Network, before: Layer, after: Layer) -> Layer | None:
    """Fuse each pooling layer into the layer with weights that it reads, where hardware can pool there."""
    if not isinstance(before, WeightedLayer) or isinstance(before, Temporal) or before.pool is not None:
        return None
    if isinstance(after, MaxPool2D):
        return replace(before, pool=after.pool)
    if isinstance(after, GlobalAveragePooling2D) and before.requantize is None and not is_depthwise(before):
        return replace(before, pool=GlobalAverage(), requantize=after.requantize)
    return None
