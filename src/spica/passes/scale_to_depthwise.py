"""Turn a scale that no neighbour could take in into a depthwise convolution of one pixel: hardware has that."""

import numpy as np

from spica.layers import DepthwiseConv2D, Scale
from spica.network import Layer, Network


def scale_to_depthwise(net: Network) -> Network:
    def replaced(layer: Layer) -> Layer:
        if not isinstance(layer, Scale) or len(net.types[layer.name].shape) != 3:
            return layer
        kernel = layer.scale[None, None].astype(np.float32)
        return DepthwiseConv2D(name=layer.name, inputs=layer.inputs, kernel=kernel, bias=layer.offset)

    return Network(tuple(map(replaced, net)), net.outputs, net.name)
