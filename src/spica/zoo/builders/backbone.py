"""MobileNetV1, and AkidaNet: MobileNetV1 with full convolutions where an NP runs them as cheaply as separable ones."""

from __future__ import annotations

import math

from spica.errors import SpicaError
from spica.layers import GlobalAverage
from spica.network import Network
from spica.zoo.builders.blocks import Stack

STEM_FILTERS = 32
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""Filters at full width and stride of each block (Howard et al., MobileNets, 2017, table 1)."""


def akidanet(
    alpha: float = 1.0, resolution: int = 224, classes: int = 1000, seed: int = 0, *, fused: bool = True
) -> Network:
    """Build AkidaNet: input convolution, three 3x3 convolutions, ten separable blocks, global average, classifier.

    Args:
        alpha: factor on every layer's filters.
        resolution: height and width of the samples ``(resolution, resolution, 3)``.
        classes: number of outputs.
        seed: of the random weights: He-normal kernels. Biases, which hold batch normalisation, are zero.
        fused: whether separable blocks are one layer without an activation between the two convolutions, as
            first-generation hardware has them; otherwise a depthwise and a pointwise layer, each rectified.

    Returns:
        A float network.

    Raises:
        SpicaError: for arguments that leave a layer empty.
    """
    return _build(f"akidanet_{alpha:g}_{resolution}", alpha, resolution, classes, seed, convolutions=3, fused=fused)


def mobilenet(
    alpha: float = 1.0, resolution: int = 224, classes: int = 1000, seed: int = 0, *, fused: bool = True
) -> Network:
    """Build MobileNetV1: input convolution, thirteen separable blocks, global average, classifier.

    Args, result and errors are those of ``akidanet``.
    """
    return _build(f"mobilenet_{alpha:g}_{resolution}", alpha, resolution, classes, seed, convolutions=0, fused=fused)


def _build(
    name: str, alpha: float, resolution: int, classes: int, seed: int, convolutions: int, fused: bool
) -> Network:
    """Build a stem, thirteen 3x3 blocks of which the first are full convolutions, global average, classifier."""
    if not (math.isfinite(alpha) and int(STEM_FILTERS * alpha) >= 1 and resolution >= 1 and classes >= 1):
        raise SpicaError(
            f"{name}: alpha must be at least {1 / STEM_FILTERS}, resolution and classes at least 1; "
            f"got alpha {alpha}, resolution {resolution} and {classes} classes"
        )
    net = Stack((resolution, resolution, 3), seed)
    net.conv("conv_0", int(STEM_FILTERS * alpha), stride=2)
    for i, (width, stride) in enumerate(BLOCKS, start=1):
        filters, pool = int(width * alpha), GlobalAverage() if i == len(BLOCKS) else None
        if i <= convolutions:
            net.conv(f"conv_{i}", filters, stride=stride, pool=pool)
        elif fused:
            net.separable(f"separable_{i}", filters, stride, pool)
        else:
            net.depthwise(f"depthwise_{i}", stride)
            net.conv(f"pointwise_{i}", filters, (1, 1), pool=pool)
    net.dense("classifier", classes, relu=False)
    return net.network(name if fused else f"{name}_unfused")
