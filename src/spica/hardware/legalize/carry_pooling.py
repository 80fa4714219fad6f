"""Carry pooling: fuse a pooling layer of its own into a convolution that changes nothing else."""

from __future__ import annotations

from dataclasses import replace

from spica.hardware.device.schema import Device
from spica.hardware.legalize.base import legalization
from spica.hardware.legalize.identity import identity
from spica.layers import GlobalAverage, GlobalAveragePooling2D, MaxPool2D
from spica.network import Network
from spica.network.edit import replace_layer
from spica.passes.base import Result


@legalization(MaxPool2D, GlobalAveragePooling2D)
def carry_pooling(net: Network, layer: MaxPool2D | GlobalAveragePooling2D, device: Device) -> Result:
    """Replace a pooling layer by an identity convolution that pools."""
    carrier = identity(layer.name, layer.inputs[0], net.types[layer.inputs[0]], device)
    if carrier is None:
        return Result(net)
    if isinstance(layer, MaxPool2D):
        carrier = replace(carrier, pool=layer.pool)
    else:
        carrier = replace(carrier, pool=GlobalAverage(), requantize=layer.requantize)
    note = f"{layer.name}: fused into an identity convolution that carries it"
    return Result(replace_layer(net, layer.name, carrier), True, note)
