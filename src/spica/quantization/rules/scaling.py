"""Factors on tensors: layers that make them, and layers whose weights take them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.layers import Conv2D, Flatten, MaxPool2D, WeightedLayer
from spica.layers.weighted import kernel_channels
from spica.network import Layer, Network


def scale_tensor(layers: dict[str, Layer], name: str, gain: NDArray[np.float32], readers: Sequence[str]) -> None:
    """Replace the layer that writes a tensor, and its readers, by ones between which it is ``gain`` times as large."""
    layers[name] = scale_output(layers[name], gain)
    for reader in readers:
        layers[reader] = scale_input(layers[reader], np.float32(1) / gain)


def scale_output(layer: Any, gain: NDArray[np.float32]) -> Any:
    """Return a float layer with weights that gives ``gain`` times as much; positive, a scalar or one a filter."""
    *_, field = kernel_channels(layer)
    bias = None if layer.bias is None else (layer.bias * gain).astype(np.float32)
    activation = layer.activation
    if activation is not None and activation.max_value is not None:
        activation = replace(activation, max_value=activation.max_value * gain)
    return replace(layer, **{field: getattr(layer, field) * gain}, bias=bias, activation=activation)


def scale_input(layer: Any, factor: NDArray[np.float32]) -> Any:
    """Return a float layer with weights that gives for x what it gave for ``factor * x``; a scalar or one a channel."""
    field, channels = next(iter(kernel_channels(layer).items()))
    return replace(layer, **{field: getattr(layer, field) * (factor[channels] if factor.ndim else factor)})


def read_weights(layer: Any) -> NDArray[np.float32]:
    """Return the largest magnitude of the weights on each channel that a layer reads."""
    field, channels = next(iter(kernel_channels(layer).items()))
    magnitudes = np.abs(getattr(layer, field))
    found = np.zeros(channels.max() + 1, np.float32)
    np.maximum.at(found, np.broadcast_to(channels, magnitudes.shape), magnitudes)
    return found


def scaled_readers(net: Network, name: str, per_channel: bool) -> list[str] | None:
    """Return the layers whose weights can take back a factor on a tensor, or ``None`` if others read it as well.

    They read it directly or through layers that only move values.
    """
    if name in net.outputs:
        return None
    found = [readers_behind(reader, net, per_channel) for reader in net.consumers[name]]
    return None if None in found else [name for names in found for name in names or ()]


@singledispatch
def readers_behind(reader: Layer, net: Network, per_channel: bool) -> list[str] | None:
    """Return the layers that take back a factor on what ``reader`` reads, or ``None`` if it cannot be taken back."""
    return None


@readers_behind.register
def _(reader: WeightedLayer, net: Network, per_channel: bool) -> list[str] | None:
    return [reader.name]


@readers_behind.register
def _(reader: Conv2D, net: Network, per_channel: bool) -> list[str] | None:
    return [reader.name] if reader.padding_value is None else None


@readers_behind.register
def _(reader: MaxPool2D, net: Network, per_channel: bool) -> list[str] | None:
    return scaled_readers(net, reader.name, per_channel)


@readers_behind.register
def _(reader: Flatten, net: Network, per_channel: bool) -> list[str] | None:
    return None if per_channel else scaled_readers(net, reader.name, per_channel)  # channels move
