"""Lower a scale that no neighbour could take in to a depthwise convolution of one pixel, which hardware has."""

from dataclasses import replace
from typing import TypeGuard

import numpy as np

from spica.errors import SpicaError
from spica.layers import DepthwiseConv2D, Scale
from spica.network import Layer, Network
from spica.passes.base import Result, graph_pass


def no_scale_of_an_image(net: Network) -> None:
    """Check that no ``Scale`` of an image is left, which no device has.

    Raises:
        SpicaError: naming the layer.
    """
    for layer in net:
        if _is_scale_of_an_image(layer, net):
            raise SpicaError(f"{layer.name}: a Scale of an image is left, which no device has")


def _is_scale_of_an_image(layer: Layer, net: Network) -> TypeGuard[Scale]:
    return isinstance(layer, Scale) and len(net.types[layer.name].shape) == 3


@graph_pass(ensures=(no_scale_of_an_image,))
def scale_to_depthwise(net: Network) -> Result:
    """Replace each ``Scale`` of an image by a depthwise 1x1 convolution."""

    def lowered(layer: Layer) -> Layer:
        if _is_scale_of_an_image(layer, net):
            kernel = layer.scale[None, None].astype(np.float32)
            return DepthwiseConv2D(name=layer.name, inputs=layer.inputs, kernel=kernel, bias=layer.offset)
        return layer

    layers = tuple(map(lowered, net))
    return Result(net) if layers == net.layers else Result(replace(net, layers=layers), modified=True)
