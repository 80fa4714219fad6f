"""Legalize pooling: a convolution that changes nothing carries it, or follows it, where only a convolution may."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spica.hardware.device.schema import Device
from spica.hardware.legalize.base import Changed, legalization
from spica.hardware.spec import OpType
from spica.layers import Conv2D, GlobalAverage, GlobalAveragePooling2D, LookUp, MaxPool, MaxPool2D, Requantize
from spica.layers.weighted import WeightedLayer, input_shift
from spica.network import Network, TensorType
from spica.network.edit import insert_after, replace_layer
from spica.network.layer import infer
from spica.semantics.primitives import same_padding


def _identity(name: str, source: str, x: TensorType, device: Device) -> Conv2D | None:
    """Return a 1x1 convolution that gives what it reads; see ``selecting``."""
    return selecting(name, source, x, device, np.arange(x.channels))


def selecting(name: str, source: str, x: TensorType, device: Device, chosen: NDArray[np.int64]) -> Conv2D | None:
    """Return a 1x1 convolution that gives the chosen channels, in the narrowest weights that the device's rules allow.

    It reads the tensor ``source`` of type ``x``; None unless that is an image of fixed-point integers.
    """
    exponent = np.log2(x.scale)
    if len(x.shape) != 3 or x.bits is None or (exponent != np.rint(exponent)).any():
        return None
    fractions = np.asarray(x.frac_bits - exponent.astype(np.int64))
    rules = [
        rule.bounds for rule in device.rules if rule.op_type is OpType.CONVOLUTION and "weight_bits" in rule.bounds
    ]
    allowed = [bits for bounds in rules for bits in bounds["weight_bits"].allowed or () if bits > 1]
    unit = np.ones((), np.int64)
    shift, frac_bits = (values[chosen] if values.ndim else values for values in (input_shift(x), fractions))
    return Conv2D(
        name=name,
        inputs=(source,),
        kernel=np.ascontiguousarray(np.eye(x.channels, dtype=np.int8)[None, None, :, chosen]),
        weight_bits=min(allowed, default=8),
        weight_scale=np.ones((), np.float32),
        requantize=Requantize(multiplier=unit, shift=shift, bits=x.bits, signed=x.signed, frac_bits=frac_bits),
    )


@legalization(MaxPool2D, GlobalAveragePooling2D)
def carry_pooling(net: Network, layer: MaxPool2D | GlobalAveragePooling2D, device: Device) -> Changed:
    """Replace a pooling layer by an identity convolution that pools."""
    (source,) = layer.inputs
    carrier = _identity(layer.name, source, net.types[source], device)
    if carrier is None:
        return None
    if isinstance(layer, MaxPool2D):
        carrier = replace(carrier, pool=_squared(layer.pool, _pooled_size(net, layer)))
    else:
        carrier = replace(carrier, pool=GlobalAverage(), requantize=layer.requantize)
    changed = replace_layer(net, layer.name, carrier)
    return changed, f"{layer.name}: fused into an identity convolution that carries it"


@legalization(WeightedLayer)
def follow_pooling(net: Network, layer: WeightedLayer, device: Device) -> Changed:
    """Insert an identity convolution after a layer that pools, unless a table reads it."""
    if not isinstance(layer.pool, MaxPool) or any(isinstance(r, LookUp) for r in net.consumers[layer.name]):
        return None
    name = f"{layer.name}/identity"
    convolution = _identity(name, layer.name, net.types[layer.name], device)
    if convolution is None or name in net.types:
        return None
    return insert_after(net, layer.name, convolution), f"{name}: inserted after {layer.name}, which pools"


@legalization(MaxPool2D, WeightedLayer)
def pool_in_two(net: Network, layer: MaxPool2D | WeightedLayer, device: Device) -> Changed:
    """Pool windows of 3x3 that move by two in two steps: of 2x2 that move by one, then of 2x2 that move by two."""
    pool, name = layer.pool, f"{layer.name}/by_one"
    if not isinstance(pool, MaxPool) or (pool.size, pool.strides) != ((3, 3), (2, 2)) or name in net.types:
        return None
    starts_inside = all(same_padding(n, 3, 2)[0] == 0 for n in _pooled_size(net, layer))
    if pool.padding != "valid" and not (pool.padding == "same" and starts_inside):
        return None
    if any(isinstance(reader, LookUp) for reader in net.consumers[layer.name]):
        return None
    (x,) = net.input_types(layer)
    first = _identity(name, layer.inputs[0], x, device) if isinstance(layer, MaxPool2D) else replace(layer, name=name)
    if first is None:
        return None
    first = replace(first, pool=replace(pool, size=(2, 2), strides=(1, 1)))
    second = _identity(layer.name, name, infer(first, [x]), device)
    if second is None:
        return None
    second = replace(second, pool=replace(pool, size=(2, 2)))
    return replace_layer(net, layer.name, first, second), f"{layer.name}: pooling of 3x3 -> twice 2x2"


@legalization(MaxPool2D, WeightedLayer)
def square_pooling(net: Network, layer: MaxPool2D | WeightedLayer, device: Device) -> Changed:
    """Pool signals, images of one row or column, by square windows, which reach over the border across them."""
    pool = layer.pool
    if not isinstance(pool, MaxPool) or (square := _squared(pool, _pooled_size(net, layer))) is pool:
        return None
    sizes = " -> ".join(f"{height}x{width}" for height, width in (pool.size, square.size))
    return replace_layer(net, layer.name, replace(layer, pool=square)), f"{layer.name}: pooling of {sizes}"


def _squared(pool: MaxPool, size: tuple[int, ...]) -> MaxPool:
    """Return the pooling with square windows that do the same to images of one row or column, else as it is."""
    length, short = max(pool.size), min(pool.size)
    fits = all(n == 1 if k == 1 else n % k == 0 for n, k in zip(size, pool.size))
    if pool.size != pool.strides or short != 1 or length == 1 or not fits:
        return pool
    return replace(pool, size=(length, length), strides=(length, length), padding="same")


def _pooled_size(net: Network, layer: MaxPool2D | WeightedLayer) -> tuple[int, ...]:
    """Return height and width of what a layer pools."""
    (x,) = net.input_types(layer)
    return (x.shape if isinstance(layer, MaxPool2D) else layer.accumulator_shape(x))[:2]


@legalization(LookUp)
def pool_after_table(net: Network, layer: LookUp, device: Device) -> Changed:
    """Move max pooling from before a table that never falls into an identity convolution behind it."""
    before, epilogue = net[layer.inputs[0]], layer.requantize
    if (np.diff(layer.table) < 0).any() or epilogue is None or epilogue.multiplier.min() < 0:
        return None
    if not isinstance(before, WeightedLayer) or not isinstance(before.pool, MaxPool):
        return None
    if len(net.consumers[before.name]) > 1:
        return None
    table = replace(layer, name=f"{layer.name}/table")
    unpooled = replace_layer(net, before.name, replace(before, pool=None))
    carrier = _identity(layer.name, table.name, unpooled.types[layer.name], device)
    if carrier is None:
        return None
    changed = replace_layer(unpooled, layer.name, table, replace(carrier, pool=before.pool))
    return changed, f"{layer.name}: max pooling moved from before its table to after it, which never falls"
