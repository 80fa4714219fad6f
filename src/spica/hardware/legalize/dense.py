"""Legalize dense layers and what computes the same: over pixels, before a table, as a window over a whole image."""

from __future__ import annotations

from dataclasses import replace

from spica.hardware.device.schema import Device
from spica.hardware.legalize.base import Changed, legalization
from spica.hardware.spec import OpType, specs
from spica.layers import Conv2D, Dense, Flatten, LookUp, Reshape
from spica.network import Network
from spica.network.edit import replace_layer


@legalization(Dense)
def project_by_convolution(net: Network, layer: Dense, device: Device) -> Changed:
    """Replace a dense layer over the pixels of an image by a 1x1 convolution."""
    spec = specs(net)[layer.name]
    if spec.op_type is not OpType.PROJECTION or len(spec.inputs[0].shape) != 3:
        return None
    made = replace_layer(net, layer.name, _over_pixels(layer))
    return made, f"{layer.name}: dense layer over pixels -> 1x1 convolution"


def _over_pixels(layer: Dense) -> Conv2D:
    return Conv2D(**vars(layer) | {"kernel": layer.kernel[None, None]})


@legalization(LookUp)
def convolve_before_table(net: Network, layer: LookUp, device: Device) -> Changed:
    """Replace the dense layer before a table by a 1x1 convolution over one pixel, which tables may follow."""
    before = net[layer.inputs[0]]
    if not isinstance(before, Dense) or len(net.consumers[before.name]) > 1:
        return None
    (x,) = net.input_types(before)
    pixel, table = (f"{name}/pixel" for name in (before.name, layer.name))
    if len(x.shape) != 1 or not x.per_tensor or pixel in net.types or table in net.types:
        return None
    made = replace_layer(net, layer.name, replace(layer, name=table), Flatten(name=layer.name, inputs=(table,)))
    image = Reshape(name=pixel, inputs=before.inputs, shape=(1, 1, x.channels))
    made = replace_layer(made, before.name, image, replace(_over_pixels(before), inputs=(pixel,)))
    return made, f"{before.name}: dense layer before a table -> 1x1 convolution over one pixel"


@legalization(Conv2D)
def cover_by_dense(net: Network, layer: Conv2D, device: Device) -> Changed:
    """Replace a convolution whose window is the whole image by a dense layer."""
    (x,) = net.input_types(layer)
    if layer.window != x.shape[:2] or layer.accumulator_shape(x)[:2] != (1, 1) or layer.pool is not None:
        return None
    if any(pair != (0, 0) for pair in layer.padding_for(*x.shape[:2])):
        return None
    flat, dense = f"{layer.name}/flatten", f"{layer.name}/dense"
    if not x.per_tensor or flat in net.types or dense in net.types:
        return None
    fields = ("weight_bits", "weight_scale", "bias", "activation", "requantize")
    kept = {name: getattr(layer, name) for name in fields}
    made = Dense(name=dense, inputs=(flat,), kernel=layer.kernel.reshape(-1, layer.filters), **kept)
    pixel = Reshape(name=layer.name, inputs=(dense,), shape=(1, 1, layer.filters))
    changed = replace_layer(net, layer.name, Flatten(name=flat, inputs=layer.inputs), made, pixel)
    return changed, f"{layer.name}: convolution whose window is the whole image -> dense layer"
