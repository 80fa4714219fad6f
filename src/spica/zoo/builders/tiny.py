"""The reference networks of the MLPerf Tiny benchmark that MobileNetV1 leaves over.

Source: Banbury et al., MLPerf Tiny Benchmark, 2021, and its reference implementations. Batch normalisation is folded:
layers have biases, all zero. Kernels are He-normal.
"""

from __future__ import annotations

from spica.layers import Add, GlobalAverage, GlobalAveragePooling2D, ReLU
from spica.network import Network
from spica.zoo.builders.blocks import Stack


def ds_cnn(filters: int = 64, blocks: int = 4, classes: int = 12, seed: int = 0) -> Network:
    """Build the keyword spotter: a 10x4 convolution and depthwise-separable blocks on spectra of shape (49, 10, 1)."""
    net = Stack((49, 10, 1), seed)
    net.conv("conv_0", filters, (10, 4), stride=2)
    for i in range(1, blocks + 1):
        net.depthwise(f"depthwise_{i}")
        net.conv(f"pointwise_{i}", filters, (1, 1), pool=GlobalAverage() if i == blocks else None)
    net.dense("classifier", classes, relu=False)
    return net.network("ds_cnn")


def resnet8(classes: int = 10, seed: int = 0) -> Network:
    """Build the image classifier: three residual stacks on images of shape (32, 32, 3)."""
    net = Stack((32, 32, 3), seed)
    net.conv("conv_0", 16)
    for i, (filters, stride) in enumerate(((16, 1), (32, 2), (64, 2)), start=1):
        source = net.last
        net.conv(f"conv_{i}a", filters, stride=stride)
        net.conv(f"conv_{i}b", filters, relu=False)
        if stride > 1:
            net.conv(f"shortcut_{i}", filters, (1, 1), stride, source=source, relu=False)
            source = net.last
        net.add(Add(name=f"add_{i}", inputs=(f"conv_{i}b", source), activation=ReLU()))
    net.add(GlobalAveragePooling2D(name="average", inputs=(net.last,)))
    net.dense("classifier", classes, relu=False)
    return net.network("resnet8")


def autoencoder(size: int = 640, hidden: int = 128, code: int = 8, seed: int = 0) -> Network:
    """Build the anomaly detector: ten fully connected layers that reconstruct spectra of shape (640,)."""
    net = Stack((size,), seed)
    for i, units in enumerate((*[hidden] * 4, code, *[hidden] * 4)):
        net.dense(f"dense_{i}", units)
    net.dense("output", size, relu=False)
    return net.network("autoencoder")
