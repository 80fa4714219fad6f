"""Legalize moves of channels: a convolution of one pixel with weights of one and zero puts them where they belong."""

from __future__ import annotations

import numpy as np

from spica.hardware.device.schema import Device
from spica.hardware.legalize.base import Changed, legalization
from spica.hardware.legalize.pooling import selecting
from spica.layers import Gather
from spica.network import Network
from spica.network.edit import replace_layer


@legalization(Gather)
def select_by_convolution(net: Network, layer: Gather, device: Device) -> Changed:
    """Replace a shuffle or a part of the channels of every pixel by a 1x1 convolution."""
    x = net.input_types(layer)[0]
    if len(x.shape) != 3 or layer.shape[:2] != x.shape[:2] or layer.positions.min() < 0:
        return None
    channels = layer.positions.reshape(layer.shape) - x.channels * np.arange(x.shape[0] * x.shape[1]).reshape(
        *x.shape[:2], 1
    )
    chosen = channels[0, 0]
    if (channels != chosen).any() or chosen.min() < 0 or chosen.max() >= x.channels:
        return None
    convolution = selecting(layer.name, layer.inputs[0], x, device, chosen)
    if convolution is None:
        return None
    return replace_layer(net, layer.name, convolution), f"{layer.name}: its channels are moved by a 1x1 convolution"
