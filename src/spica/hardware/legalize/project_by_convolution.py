"""Project by convolution: a dense layer over every pixel of an image is a 1x1 convolution."""

from __future__ import annotations

from spica.hardware.checking import kind_of
from spica.hardware.device.schema import Device
from spica.hardware.legalize.base import legalization
from spica.layers import Conv2D, Dense
from spica.network import Network
from spica.network.edit import replace_layer
from spica.passes.base import Result


@legalization(Dense)
def project_by_convolution(net: Network, layer: Dense, device: Device) -> Result:
    """Replace a dense layer over pixels by a 1x1 convolution."""
    if kind_of(net, layer) != "projection" or len(net.types[layer.inputs[0]].shape) != 3:
        return Result(net)
    fields = vars(layer) | {"kernel": layer.kernel[None, None]}
    note = f"{layer.name}: dense layer over pixels -> 1x1 convolution"
    return Result(replace_layer(net, layer.name, Conv2D(**fields)), True, note)
