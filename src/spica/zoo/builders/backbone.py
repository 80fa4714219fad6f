"""The body that AkidaNet and MobileNetV1 share; they differ in how many blocks are full convolutions."""

from __future__ import annotations

import math

from spica.errors import SpicaError
from spica.layers import GlobalAverage, Input
from spica.network import Layer, Network
from spica.zoo.builders.blocks import HeNormal, conv, dense, depthwise, separable

STEM_FILTERS = 32
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""Filters at full width and stride of each block (Howard et al., MobileNets, 2017, table 1)."""


def build(name: str, alpha: float, resolution: int, classes: int, seed: int, convolutions: int, fused: bool) -> Network:
    """Build a stem, thirteen 3x3 blocks of which the first are full convolutions, global average, classifier.

    Batch normalisation is folded: layers have biases, all zero. Kernels are He-normal.

    Args:
        name: of the network; "_unfused" is added where it is.
        alpha: factor on every layer's filters.
        resolution: height and width of the samples, 3 channels.
        classes: number of outputs.
        seed: of the random weights.
        convolutions: how many blocks are full convolutions; the rest are separable.
        fused: whether a separable block is one layer, or a depthwise and a pointwise one, each rectified.

    Returns:
        A float network.

    Raises:
        SpicaError: for a width, resolution or number of classes that leaves a layer empty.
    """
    if not (math.isfinite(alpha) and int(STEM_FILTERS * alpha) >= 1 and resolution >= 1 and classes >= 1):
        raise SpicaError(
            f"{name}: alpha must be at least {1 / STEM_FILTERS}, resolution and classes at least 1; "
            f"got alpha {alpha}, resolution {resolution} and {classes} classes"
        )
    kernel, channels = HeNormal(seed), int(STEM_FILTERS * alpha)
    layers: list[Layer] = [
        Input(name="input", shape=(resolution, resolution, 3)),
        conv("conv_0", "input", kernel(3, 3, 3, channels, fan_in=27), (2, 2)),
    ]
    for i, (width, stride) in enumerate(BLOCKS, start=1):
        filters, source, strides = int(width * alpha), layers[-1].name, (stride, stride)
        pool = GlobalAverage() if i == len(BLOCKS) else None
        if i <= convolutions:
            weights = kernel(3, 3, channels, filters, fan_in=9 * channels)
            layers.append(conv(f"conv_{i}", source, weights, strides, pool=pool))
        elif fused:
            pair = kernel(3, 3, channels, fan_in=9), kernel(channels, filters, fan_in=channels)
            layers.append(separable(f"separable_{i}", source, pair, strides, pool))
        else:
            layers.append(depthwise(f"depthwise_{i}", source, kernel(3, 3, channels, fan_in=9), strides))
            weights = kernel(1, 1, channels, filters, fan_in=channels)
            layers.append(conv(f"pointwise_{i}", layers[-1].name, weights, pool=pool))
        channels = filters
    layers.append(dense("classifier", layers[-1].name, kernel(channels, classes, fan_in=channels), relu=False))
    return Network(tuple(layers), ("classifier",), name if fused else f"{name}_unfused")
