"""Follow pooling: put a convolution after a layer that pools, where the device pools in what comes next."""

from __future__ import annotations

from spica.hardware.device.schema import Device
from spica.hardware.legalize.base import legalization
from spica.hardware.legalize.identity import identity
from spica.layers import LookUp, MaxPool, WeightedLayer
from spica.network import Network
from spica.network.edit import insert_after
from spica.passes.base import Result


@legalization(WeightedLayer)
def follow_pooling(net: Network, layer: WeightedLayer, device: Device) -> Result:
    """Insert an identity convolution after a layer that pools, unless a table reads it."""
    if not isinstance(layer.pool, MaxPool) or any(isinstance(r, LookUp) for r in net.consumers[layer.name]):
        return Result(net)
    name = f"{layer.name}/identity"
    convolution = identity(name, layer.name, net.types[layer.name], device)
    if convolution is None or name in net.types:
        return Result(net)
    note = f"{name}: inserted after {layer.name}, which pools"
    return Result(insert_after(net, layer.name, convolution), True, note)
