"""MobileNetV1, with separable blocks fused or as published."""

from __future__ import annotations

from spica.network import Network
from spica.zoo.builders.backbone import build


def mobilenet(
    alpha: float = 1.0, resolution: int = 224, classes: int = 1000, seed: int = 0, *, fused: bool = True
) -> Network:
    """Build MobileNetV1: input convolution, thirteen separable blocks, global average, classifier.

    A fused block's depthwise and pointwise convolutions are one layer, with no activation between them.

    Args:
        alpha: factor on every layer's filters.
        resolution: height and width of the samples ``(resolution, resolution, 3)``.
        classes: number of outputs.
        seed: of the random weights.
        fused: whether separable blocks are one layer, as first-generation hardware has them; otherwise a depthwise and
            a pointwise layer, each with its own rectifier and output stage.

    Returns:
        A float network.

    Raises:
        SpicaError: for arguments that leave a layer empty.
    """
    return build(f"mobilenet_{alpha:g}_{resolution}", alpha, resolution, classes, seed, convolutions=0, fused=fused)
