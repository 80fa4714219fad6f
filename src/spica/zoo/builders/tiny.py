"""The reference networks of the MLPerf Tiny benchmark that MobileNetV1 leaves over.

Source: Banbury et al., MLPerf Tiny Benchmark, 2021, and its reference implementations. Batch normalisation is folded:
layers have biases, all zero. Kernels are He-normal.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from spica.layers import Add, Conv2D, Dense, DepthwiseConv2D, GlobalAverage, GlobalAveragePooling2D, Input, ReLU
from spica.network import Layer, Network


def ds_cnn(filters: int = 64, blocks: int = 4, classes: int = 12, seed: int = 0) -> Network:
    """Keyword spotting: a 10x4 convolution and depthwise-separable blocks on spectra of shape (49, 10, 1)."""
    kernel = _HeNormal(seed)
    layers: list[Layer] = [
        Input(name="input", shape=(49, 10, 1)),
        _conv("conv_0", "input", kernel(10, 4, 1, filters, fan_in=40), (2, 2)),
    ]
    for i in range(1, blocks + 1):
        depthwise = DepthwiseConv2D(
            name=f"depthwise_{i}",
            inputs=(layers[-1].name,),
            kernel=kernel(3, 3, filters, fan_in=9),
            bias=np.zeros(filters, np.float32),
            activation=ReLU(),
        )
        pool = GlobalAverage() if i == blocks else None
        pointwise = _conv(f"pointwise_{i}", depthwise.name, kernel(1, 1, filters, filters, fan_in=filters), pool=pool)
        layers += [depthwise, pointwise]
    layers.append(_dense("classifier", layers[-1].name, kernel(filters, classes, fan_in=filters), relu=False))
    return Network(tuple(layers), ("classifier",), "ds_cnn")


def resnet8(classes: int = 10, seed: int = 0) -> Network:
    """Image classification: three residual stacks on images of shape (32, 32, 3)."""
    kernel = _HeNormal(seed)
    layers: list[Layer] = [
        Input(name="input", shape=(32, 32, 3)),
        _conv("conv_0", "input", kernel(3, 3, 3, 16, fan_in=27)),
    ]
    channels = 16
    for i, (filters, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        source = layers[-1].name
        strides = (stride, stride)
        first = _conv(f"conv_{i}a", source, kernel(3, 3, channels, filters, fan_in=9 * channels), strides)
        second = _conv(f"conv_{i}b", first.name, kernel(3, 3, filters, filters, fan_in=9 * filters), relu=False)
        layers += [first, second]
        if stride > 1:
            weights = kernel(1, 1, channels, filters, fan_in=channels)
            layers.append(_conv(f"shortcut_{i}", source, weights, strides, relu=False))
            source = layers[-1].name
        layers.append(Add(name=f"add_{i}", inputs=(second.name, source), activation=ReLU()))
        channels = filters
    layers.append(GlobalAveragePooling2D(name="average", inputs=(layers[-1].name,)))
    layers.append(_dense("classifier", "average", kernel(channels, classes, fan_in=channels), relu=False))
    return Network(tuple(layers), ("classifier",), "resnet8")


def autoencoder(size: int = 640, hidden: int = 128, code: int = 8, seed: int = 0) -> Network:
    """Anomaly detection: ten fully connected layers that reconstruct spectra of shape (640,)."""
    kernel = _HeNormal(seed)
    layers: list[Layer] = [Input(name="input", shape=(size,))]
    inputs = size
    for i, outputs in enumerate((*[hidden] * 4, code, *[hidden] * 4)):
        layers.append(_dense(f"dense_{i}", layers[-1].name, kernel(inputs, outputs, fan_in=inputs)))
        inputs = outputs
    layers.append(_dense("output", layers[-1].name, kernel(inputs, size, fan_in=inputs), relu=False))
    return Network(tuple(layers), ("output",), "autoencoder")


class _HeNormal:
    """Seeded random kernels."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def __call__(self, *shape: int, fan_in: int) -> NDArray[np.float32]:
        return self._generator.standard_normal(shape, np.float32) * np.float32(math.sqrt(2 / fan_in))


def _conv(
    name: str,
    source: str,
    kernel: NDArray[np.float32],
    strides: tuple[int, int] = (1, 1),
    *,
    relu: bool = True,
    pool: GlobalAverage | None = None,
) -> Conv2D:
    return Conv2D(
        name=name,
        inputs=(source,),
        kernel=kernel,
        bias=np.zeros(kernel.shape[-1], np.float32),
        strides=strides,
        activation=ReLU() if relu else None,
        pool=pool,
    )


def _dense(name: str, source: str, kernel: NDArray[np.float32], *, relu: bool = True) -> Dense:
    bias = np.zeros(kernel.shape[-1], np.float32)
    return Dense(name=name, inputs=(source,), kernel=kernel, bias=bias, activation=ReLU() if relu else None)
