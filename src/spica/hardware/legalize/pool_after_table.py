"""Pool after a table: max pooling before a table that never falls can as well come behind it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spica.hardware.device.schema import Device
from spica.hardware.legalize.base import legalization
from spica.hardware.legalize.identity import identity
from spica.layers import LookUp, MaxPool, WeightedLayer
from spica.network import Network
from spica.network.edit import replace_layer
from spica.passes.base import Result


@legalization(LookUp)
def pool_after_table(net: Network, layer: LookUp, device: Device) -> Result:
    """Move max pooling from before a table that never falls into an identity convolution behind it."""
    before, epilogue = net[layer.inputs[0]], layer.requantize
    if (np.diff(layer.table) < 0).any() or epilogue is None or epilogue.multiplier.min() < 0:
        return Result(net)
    if not isinstance(before, WeightedLayer) or not isinstance(before.pool, MaxPool):
        return Result(net)
    if len(net.consumers[before.name]) > 1:
        return Result(net)
    table = replace(layer, name=f"{layer.name}/table")
    unpooled = replace_layer(net, before.name, replace(before, pool=None))
    carrier = identity(layer.name, table.name, unpooled.types[layer.name], device)
    if carrier is None:
        return Result(net)
    changed = replace_layer(unpooled, layer.name, table, replace(carrier, pool=before.pool))
    note = f"{layer.name}: max pooling moved from before its table to after it, which never falls"
    return Result(changed, True, note)
