"""AkidaNet: MobileNetV1 with full convolutions where an NP runs them as cheaply as separable ones."""

from __future__ import annotations

from spica.network import Network
from spica.zoo.builders.backbone import build


def akidanet(
    alpha: float = 1.0, resolution: int = 224, classes: int = 1000, seed: int = 0, *, fused: bool = True
) -> Network:
    """Build AkidaNet: input convolution, three 3x3 convolutions, ten separable blocks, global average, classifier.

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
    return build(f"akidanet_{alpha:g}_{resolution}", alpha, resolution, classes, seed, convolutions=3, fused=fused)
