"""Factors on tensors that change nothing in the float network and much in how well its integers are used.

A layer's output is multiplied by a factor, and its readers' weights take it back. A rectifier commutes with it.

Equalisation gives every channel of a tensor the range of the others. Channels of one tensor share a step, so a channel
of small values has few integers (Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction,
2019). What a channel gains, the weights that read it lose, so dense readers get half of the way (Xiao et al.,
SmoothQuant, 2023); a depthwise layer, whose every channel has a step of its own, all of it.

Scale alignment fills power-of-two grids: activations have power-of-two steps, so a range just above a power of two
wastes almost half of its integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.layers import Conv2D, Flatten, MaxPool2D, WeightedLayer
from spica.layers.weighted import is_depthwise, kernel_channels
from spica.network import Layer, Network
from spica.network.rules import applies

LARGEST_GAIN = 8.0


def equalize(net: Network, reach: dict[str, NDArray[np.float64]]) -> tuple[Network, dict[str, NDArray[np.float32]]]:
    """Scale channels towards equal ranges wherever weights can take the factor back.

    Args:
        net: a float network after the passes.
        reach: largest magnitude worth keeping of each channel, for the tensors that become integers.

    Returns:
        An equal network, and the factor of each channel of the tensors that were scaled.
    """
    layers: dict[str, Any] = {layer.name: layer for layer in net}
    gains: dict[str, NDArray[np.float32]] = {}
    for name, channels in reach.items():
        readers = readers_of(net, name, per_channel=True)
        layer = layers[name]
        if not readers or not applies(kernel_channels, layer) or not channels.max() > 0:
            continue
        if layer.activation is not None and layer.activation.max_value is not None:
            continue  # a rectifier has one bound for all channels
        share = 1.0 if all(is_depthwise(layers[r]) for r in readers) else 0.5
        weights = np.max([read_weights(layers[r]) for r in readers], axis=0)
        if not weights.max() > 0:
            continue  # nothing that it gives is read
        gains[name] = _gain(channels, weights, share)
        _scale_tensor(layers, name, gains[name], readers)
    return net.with_layers(layers.values()), gains


def _gain(reach: NDArray, weights: NDArray, share: float) -> NDArray[np.float32]:
    """Return factors that bring ranges (and, for a share below 1, weights) together; the widest channel stays so."""
    reach, weights = (np.maximum(values, 1e-3 * values.max()) for values in (reach, weights))
    gain = reach**-share * weights ** (1 - share)
    gain *= reach.max() / (reach * gain).max()
    return np.clip(gain, 1 / LARGEST_GAIN, LARGEST_GAIN).astype(np.float32)


def align_scales(net: Network, steps: dict[str, NDArray[np.float64]]) -> tuple[Network, dict[str, NDArray]]:
    """Scale layers so that each wanted step becomes a power of two.

    Args:
        net: a float network after the passes.
        steps: wanted step of each tensor that becomes integers; scalar or one a channel.

    Returns:
        An equal network, and its steps: exact powers of two, whether their layer could be scaled or not.
    """
    layers = {layer.name: layer for layer in net}
    aligned: dict[str, NDArray] = {}
    for name, step in steps.items():
        step = np.where(step > 0, step, 2.0**-7)
        aligned[name] = 2.0 ** np.rint(np.log2(step))
        readers = readers_of(net, name, per_channel=step.ndim > 0)
        if readers is not None and applies(kernel_channels, layers[name]):
            _scale_tensor(layers, name, np.asarray(aligned[name] / step, np.float32), readers)
    return net.with_layers(layers.values()), aligned


def _scale_tensor(layers: dict[str, Layer], name: str, gain: NDArray[np.float32], readers: Sequence[str]) -> None:
    """Replace the layer that writes a tensor, and its readers, by ones between which it is ``gain`` times as large."""
    layers[name] = scale_output(layers[name], gain)
    for reader in readers:
        layers[reader] = scale_input(layers[reader], np.float32(1) / gain)


# -- rules by layer ------------------------------------------------------------------------------------------


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


def readers_of(net: Network, name: str, per_channel: bool) -> list[str] | None:
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
    return readers_of(net, reader.name, per_channel)


@readers_behind.register
def _(reader: Flatten, net: Network, per_channel: bool) -> list[str] | None:
    return None if per_channel else readers_of(net, reader.name, per_channel)  # channels move
