"""The reference networks of the MLPerf Tiny benchmark that MobileNetV1 leaves over.

Source: Banbury et al., MLPerf Tiny Benchmark, 2021, and its reference implementations. Batch normalisation is folded:
layers have biases, all zero. Kernels are He-normal.
"""

from __future__ import annotations

from spica.layers import Add, GlobalAverage, GlobalAveragePooling2D, Input, ReLU
from spica.network import Layer, Network
from spica.zoo.builders.blocks import HeNormal, conv, dense, depthwise


def ds_cnn(filters: int = 64, blocks: int = 4, classes: int = 12, seed: int = 0) -> Network:
    """Build the keyword spotter: a 10x4 convolution and depthwise-separable blocks on spectra of shape (49, 10, 1)."""
    kernel = HeNormal(seed)
    layers: list[Layer] = [
        Input(name="input", shape=(49, 10, 1)),
        conv("conv_0", "input", kernel(10, 4, 1, filters, fan_in=40), (2, 2)),
    ]
    for i in range(1, blocks + 1):
        layers.append(depthwise(f"depthwise_{i}", layers[-1].name, kernel(3, 3, filters, fan_in=9)))
        pool, weights = GlobalAverage() if i == blocks else None, kernel(1, 1, filters, filters, fan_in=filters)
        layers.append(conv(f"pointwise_{i}", layers[-1].name, weights, pool=pool))
    layers.append(dense("classifier", layers[-1].name, kernel(filters, classes, fan_in=filters), relu=False))
    return Network(tuple(layers), ("classifier",), "ds_cnn")


def resnet8(classes: int = 10, seed: int = 0) -> Network:
    """Build the image classifier: three residual stacks on images of shape (32, 32, 3)."""
    kernel = HeNormal(seed)
    layers: list[Layer] = [
        Input(name="input", shape=(32, 32, 3)),
        conv("conv_0", "input", kernel(3, 3, 3, 16, fan_in=27)),
    ]
    channels = 16
    for i, (filters, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        source = layers[-1].name
        strides = (stride, stride)
        first = conv(f"conv_{i}a", source, kernel(3, 3, channels, filters, fan_in=9 * channels), strides)
        second = conv(f"conv_{i}b", first.name, kernel(3, 3, filters, filters, fan_in=9 * filters), relu=False)
        layers += [first, second]
        if stride > 1:
            weights = kernel(1, 1, channels, filters, fan_in=channels)
            layers.append(conv(f"shortcut_{i}", source, weights, strides, relu=False))
            source = layers[-1].name
        layers.append(Add(name=f"add_{i}", inputs=(second.name, source), activation=ReLU()))
        channels = filters
    layers.append(GlobalAveragePooling2D(name="average", inputs=(layers[-1].name,)))
    layers.append(dense("classifier", "average", kernel(channels, classes, fan_in=channels), relu=False))
    return Network(tuple(layers), ("classifier",), "resnet8")


def autoencoder(size: int = 640, hidden: int = 128, code: int = 8, seed: int = 0) -> Network:
    """Build the anomaly detector: ten fully connected layers that reconstruct spectra of shape (640,)."""
    kernel = HeNormal(seed)
    layers: list[Layer] = [Input(name="input", shape=(size,))]
    inputs = size
    for i, outputs in enumerate((*[hidden] * 4, code, *[hidden] * 4)):
        layers.append(dense(f"dense_{i}", layers[-1].name, kernel(inputs, outputs, fan_in=inputs)))
        inputs = outputs
    layers.append(dense("output", layers[-1].name, kernel(inputs, size, fan_in=inputs), relu=False))
    return Network(tuple(layers), ("output",), "autoencoder")
