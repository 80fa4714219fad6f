"""A float network with one of each layer that quantises, and samples for it."""

from __future__ import annotations

import numpy as np

import spica
from spica.layers import Add, Conv2D, Dense, DepthwiseConv2D, GlobalAverage, Input, MaxPool, ReLU, SeparableConv2D


def float_network(seed=0, filters=16):
    """One of each layer, with weights of unequal size from filter to filter."""
    random = np.random.default_rng(seed)

    def kernel(*shape):
        sizes = random.uniform(0.3, 2, shape[-1])
        return (random.normal(size=shape) * sizes / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

    def bias(n):
        return random.normal(0, 0.1, n).astype(np.float32)

    six = np.array(6, np.float32)
    layers = (
        Input(name="image", shape=(12, 12, 2)),
        Conv2D(
            name="first",
            inputs=("image",),
            kernel=kernel(3, 3, 2, filters),
            bias=bias(filters),
            activation=ReLU(),
        ),
        DepthwiseConv2D(
            name="depthwise", inputs=("first",), kernel=kernel(3, 3, filters), activation=ReLU(max_value=six)
        ),
        Conv2D(name="point", inputs=("depthwise",), kernel=kernel(1, 1, filters, filters), bias=bias(filters)),
        Add(name="skip", inputs=("first", "point"), activation=ReLU()),
        SeparableConv2D(
            name="separable",
            inputs=("skip",),
            depthwise_kernel=kernel(3, 3, filters),
            kernel=kernel(filters, filters),
            bias=bias(filters),
            activation=ReLU(),
            pool=MaxPool(),
        ),
        Conv2D(
            name="averaged",
            inputs=("separable",),
            kernel=kernel(3, 3, filters, filters),
            activation=ReLU(),
            pool=GlobalAverage(),
        ),
        Dense(name="dense", inputs=("averaged",), kernel=kernel(filters, 5), bias=bias(5)),
    )
    return spica.Network(layers, ("dense",))


SAMPLES = np.random.default_rng(3).integers(0, 256, (64, 12, 12, 2), dtype=np.uint8)
