"""Random float networks as front ends make them: scales, paddings, rectifiers and pooling as layers of their own."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from spica.layers import (
    Activation,
    Add,
    BufferTempConv,
    Conv2D,
    ConvTranspose2D,
    Dense,
    DepthwiseBufferTempConv,
    DepthwiseConv2D,
    Flatten,
    GlobalAveragePooling2D,
    Input,
    MaxPool,
    MaxPool2D,
    ReLU,
    Scale,
    SeparableConv2D,
    Softmax,
    TokenEmbedding,
    ZeroPad,
)
from spica.network import Layer, Network

LAYERS = ["scale", "pad", "relu", "pool", "conv", "depthwise", "separable", "transposed", "temporal", "per channel"]


@st.composite
def unfused_networks(draw) -> tuple[Network, np.ndarray]:
    """A chain over images, with a skip connection at times, that ends in an image, a classifier or tokens; a batch."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def values(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    shape = (draw(st.integers(5, 8)), draw(st.integers(5, 8)), draw(st.integers(1, 3)))
    layers: list[Layer] = [Input(name="input", shape=shape)]

    def factors(size: int) -> np.ndarray:
        return (random.choice([-1, 1], size) * random.uniform(0.3, 2, size)).astype(np.float32)

    def add(cls: type, **fields) -> None:
        layers.append(cls(name=f"{cls.__name__.lower()}_{len(layers)}", inputs=(layers[-1].name,), **fields))

    for kind in draw(st.lists(st.sampled_from(LAYERS), min_size=1, max_size=6)):
        height, width, channels = Network(tuple(layers), (layers[-1].name,)).types[layers[-1].name].shape
        bias = values(4) if draw(st.booleans()) else None
        padding = draw(st.sampled_from(["same", "valid", ((1, 0), (0, 1))])) if min(height, width) >= 3 else "same"
        if kind == "scale":
            offset = values(channels) if draw(st.booleans()) else np.zeros(channels, np.float32)
            add(Scale, scale=factors(channels), offset=offset)
        elif kind == "pad":
            add(ZeroPad, padding=draw(st.sampled_from([((1, 1), (1, 1)), ((0, 1), (2, 0))])))
        elif kind == "relu":
            add(Activation, function=ReLU(max_value=draw(st.sampled_from([None, np.array(1.5, np.float32)]))))
        elif kind == "pool":
            add(MaxPool2D, pool=MaxPool(padding="same"))
        elif kind == "conv":
            fill = values(channels) if padding != "valid" and draw(st.booleans()) else None
            add(Conv2D, kernel=values(3, 3, channels, 4), bias=bias, padding=padding, padding_value=fill)
        elif kind == "depthwise":
            add(DepthwiseConv2D, kernel=values(3, 3, channels), padding=padding)
        elif kind == "separable":
            kernel, pointwise = values(3, 3, channels), values(channels, 4)
            add(SeparableConv2D, depthwise_kernel=kernel, kernel=pointwise, bias=bias, padding=padding)
        elif kind == "transposed":
            add(ConvTranspose2D, kernel=values(2, 2, channels, 4), bias=bias, strides=(1, 1))
        elif kind == "temporal":
            add(BufferTempConv, kernel=values(3, channels, 4), bias=bias)
        else:
            add(DepthwiseBufferTempConv, kernel=values(3, channels))
        if draw(st.integers(0, 5)) == 0:
            source = layers[-1].name
            layers.append(Add(name=f"add_{len(layers)}", inputs=(source, source)))
    end = draw(st.sampled_from(["image", "classifier", "average", "tokens"]))
    if end == "tokens":
        layers = [Input(name="input", shape=(5, 3))]
        class_token = draw(st.booleans())
        add(TokenEmbedding, class_token=class_token, constants=values(5 + class_token, 3))
        add(TokenEmbedding, class_token=False, constants=values(5 + class_token, 3))
    elif end != "image":
        add(Flatten) if end == "classifier" else add(GlobalAveragePooling2D)
        size = Network(tuple(layers), (layers[-1].name,)).types[layers[-1].name].channels
        if draw(st.booleans()):
            add(Scale, scale=factors(size), offset=values(size))
        add(Dense, kernel=values(size, 3), bias=values(3))
        if draw(st.booleans()):
            add(Softmax)
    net = Network(tuple(layers), (layers[-1].name,))
    return net, values(4, *net.types["input"].shape)
