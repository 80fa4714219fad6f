"""The body that AkidaNet and MobileNetV1 share; they differ in how many blocks are full convolutions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import Conv2D, Dense, DepthwiseConv2D, GlobalAverage, Input, ReLU, SeparableConv2D
from spica.network import Layer, Network

STEM_FILTERS = 32
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))
"""Filters at full width and stride of each block (Howard et al., MobileNets, 2017, table 1)."""


def build(name: str, alpha: float, resolution: int, classes: int, seed: int, convolutions: int, fused: bool) -> Network:
    """A stem, thirteen 3x3 blocks of which the first ``convolutions`` are full, global average, classifier.

    Batch normalisation is folded: layers have biases, all zero. Kernels are He-normal.

    Args:
        name: the network's name.
        alpha: factor of every layer's filters.
        resolution: height and width of the samples, 3 channels.
        classes: outputs.
        seed: of the random weights.
        convolutions: how many blocks are full convolutions; the rest are separable.
        fused: whether a separable block is one layer, or a depthwise and a pointwise one, each rectified.

    Raises:
        SpicaError: for a width, resolution or number of classes that leaves a layer empty.
    """
    if not (math.isfinite(alpha) and int(STEM_FILTERS * alpha) >= 1 and resolution >= 1 and classes >= 1):
        raise SpicaError(
            f"{name}: alpha {alpha}, resolution {resolution} and {classes} classes make no "
            f"network; alpha must be at least {1 / STEM_FILTERS}, the others at least 1"
        )
    generator = np.random.default_rng(seed)
    name = name if fused else f"{name}_unfused"

    def kernel(*shape: int, fan_in: int) -> NDArray[np.float32]:
        return generator.standard_normal(shape, np.float32) * np.float32(math.sqrt(2 / fan_in))

    def zeros(size: int) -> NDArray[np.float32]:
        return np.zeros(size, np.float32)

    channels = int(STEM_FILTERS * alpha)
    layers: list[Layer] = [
        Input(name="input", shape=(resolution, resolution, 3)),
        Conv2D(
            name="conv_0",
            inputs=("input",),
            kernel=kernel(3, 3, 3, channels, fan_in=27),
            bias=zeros(channels),
            strides=(2, 2),
            activation=ReLU(),
        ),
    ]
    for i, (width, stride) in enumerate(BLOCKS, start=1):
        filters = int(width * alpha)
        common: dict[str, Any] = {
            "inputs": (layers[-1].name,),
            "strides": (stride, stride),
            "bias": zeros(filters),
            "activation": ReLU(),
            "pool": GlobalAverage() if i == len(BLOCKS) else None,
        }
        if i <= convolutions:
            layers.append(
                Conv2D(name=f"conv_{i}", **common, kernel=kernel(3, 3, channels, filters, fan_in=9 * channels))
            )
        elif not fused:
            depthwise = DepthwiseConv2D(
                name=f"depthwise_{i}",
                inputs=(layers[-1].name,),
                kernel=kernel(3, 3, channels, fan_in=9),
                bias=zeros(channels),
                strides=(stride, stride),
                activation=ReLU(),
            )
            pointwise = common | {"inputs": (depthwise.name,), "strides": (1, 1)}
            weights = kernel(1, 1, channels, filters, fan_in=channels)
            layers += [depthwise, Conv2D(name=f"pointwise_{i}", **pointwise, kernel=weights)]
        else:
            layers.append(
                SeparableConv2D(
                    name=f"separable_{i}",
                    **common,
                    depthwise_kernel=kernel(3, 3, channels, fan_in=9),
                    kernel=kernel(channels, filters, fan_in=channels),
                )
            )
        channels = filters
    layers.append(
        Dense(
            name="classifier",
            inputs=(layers[-1].name,),
            bias=zeros(classes),
            kernel=kernel(channels, classes, fan_in=channels),
        )
    )
    return Network(tuple(layers), ("classifier",), name)
