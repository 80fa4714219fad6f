"""A network with a learning layer whose features are edges."""

from __future__ import annotations

import numpy as np

import spica
from spica.layers import Conv2D, Flatten, Input, ReLU, Requantize


def edge_network():
    """Images of 28 x 28, edges of four directions as spikes, a learning layer without a class that it knows well."""
    edges = np.zeros((3, 3, 1, 4), np.int8)
    edges[:, 0, 0, 0], edges[:, 2, 0, 0] = -1, 1
    edges[:, 0, 0, 1], edges[:, 2, 0, 1] = 1, -1
    edges[0, :, 0, 2], edges[2, :, 0, 2] = -1, 1
    edges[0, :, 0, 3], edges[2, :, 0, 3] = 1, -1
    stage = Requantize(multiplier=np.full(4, 1), shift=np.full(4, 9), bits=1, signed=False, frac_bits=np.array(0))
    layers = (
        Input(name="image", shape=(28, 28, 1), bits=8),
        Conv2D(name="edges", inputs=("image",), kernel=edges, weight_bits=4, weight_scale=np.ones(4, np.float32),
               strides=(2, 2), activation=ReLU(), requantize=stage),
        Flatten(name="flat", inputs=("edges",)),
    )  # fmt: skip
    return spica.learn(spica.Network(layers, ("flat",), "edges"), 1, weights_per_neuron=60, rule="prototype").network
