"""Lower a scale that no neighbour could take in to a depthwise convolution of one pixel, which hardware has."""

from functools import partial

import numpy as np

from spica.errors import SpicaError
from spica.layers import DepthwiseConv2D, Scale
from spica.network import Network
from spica.passes.base import Pass, Result


def scales_of_images(net: Network) -> list[Scale]:
    """Return the layers that scale an image."""
    return [layer for layer in net if isinstance(layer, Scale) and len(net.types[layer.name].shape) == 3]


def no_scale_of_an_image(net: Network) -> None:
    """Check that no ``Scale`` of an image is left.

    Raises:
        SpicaError: naming the layer.
    """
    for layer in scales_of_images(net):
        raise SpicaError(f"{layer.name}: a Scale of an image is left, which no device has")


@partial(Pass, ensures=(no_scale_of_an_image,))
def scale_to_depthwise(net: Network) -> Result:
    """Replace each ``Scale`` of an image by a depthwise 1x1 convolution."""
    lowered = {
        s.name: DepthwiseConv2D(
            name=s.name, inputs=s.inputs, kernel=s.scale[None, None].astype(np.float32), bias=s.offset
        )
        for s in scales_of_images(net)
    }
    return Result(net.with_layers(lowered.get(x.name, x) for x in net), True) if lowered else Result(net)
