"""Narrow weights: hold those that are small enough in fewer bits."""

from __future__ import annotations

from dataclasses import replace

from spica.hardware.checking import check
from spica.hardware.device.schema import Device
from spica.hardware.legalize.base import legalization
from spica.layers import WeightedLayer, weighted
from spica.network import Network
from spica.network.edit import replace_layer
from spica.passes.base import Result


@legalization(WeightedLayer)
def narrow_weights(net: Network, layer: WeightedLayer, device: Device) -> Result:
    """Hold weights in the fewest bits that hold all of them and that the device allows."""
    kernels = [getattr(layer, name) for name in ("kernel", "depthwise_kernel") if hasattr(layer, name)]
    for bits in (1, 2, 4):
        low, high = weighted.WEIGHT_RANGE[bits]
        fits = all(low <= k.min() and k.max() <= high and (bits > 1 or (k != 0).all()) for k in kernels)
        if bits < (layer.weight_bits or 0) and fits:
            changed = replace_layer(net, layer.name, replace(layer, weight_bits=bits))
            if not any("weight bits" in f.reason for f in check(changed, device) if f.layer == layer.name):
                note = f"{layer.name}: weights held in {bits} bits instead of {layer.weight_bits}; all fit"
                return Result(changed, True, note)
    return Result(net)
