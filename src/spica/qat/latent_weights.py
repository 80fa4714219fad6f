"""Latent weights: what rounding took from the weights of a quantised network, found again in its float network.

Quantisation scales a layer's output by a factor for each filter, and its readers' weights by the inverse. The factors
are found layer by layer, by least squares between the weights of both networks.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.layers import Activation, Concatenate, Flatten, GlobalAveragePooling2D, MaxPool2D, WeightedLayer
from spica.layers.weighted import kernel_channels
from spica.network import Layer, Network
from spica.network.rules import applies

LARGEST_FRACTION = 0.49
"""Weights stay on their side of the rounding edge, so that they round to the integers that quantisation chose."""

LatentWeights = dict[str, NDArray[np.float32]]
"""Kernels of a layer in units of its integers, before rounding, by field."""


def find_latent_weights(net: Network, quantized: Network) -> dict[str, LatentWeights]:
    """Return the kernels of ``net``, after the passes, in units of the integers of ``quantized``, by layer.

    Layers that only one of them has are left out.
    """
    references: dict[str, Any] = {layer.name: layer for layer in net}
    gains: dict[str, NDArray] = {}
    found = {}
    layer: Any
    for layer in quantized:
        gain = read_gain(layer, [gains[name] for name in layer.inputs], quantized)
        reference: Any = references.get(layer.name)
        same = applies(kernel_channels, layer) and type(reference) is type(layer)
        if same and reference.kernel.shape == layer.kernel.shape:  # those of unrelated networks may differ
            found[layer.name], gain = latent_weights(layer, reference, gain)
        gains[layer.name] = gain
    return found


def latent_weights(layer: Any, reference: Any, gain: NDArray) -> tuple[LatentWeights, NDArray]:
    """Return an integer layer's kernels before rounding, and the factor of each filter over the float ``reference``.

    ``gain`` is the factor of each channel that it reads, or of all.
    """
    found, factor = {}, np.ones(())
    for field, channels in kernel_channels(layer).items():
        kernel = getattr(reference, field) / (gain[channels] if gain.ndim else gain)
        found[field], fit = _in_units_of(kernel, getattr(layer, field), per_filter=field == "kernel")
        factor, gain = fit * factor, np.ones(())
    return found, factor * np.asarray(layer.weight_scale, np.float64)


@singledispatch
def read_gain(layer: Layer, read: list[NDArray], net: Network) -> NDArray:
    """Return the factor of each channel, or of all, that an integer layer reads or, where it has no weights, gives.

    ``read`` are the factors of its inputs.
    """
    return np.ones(())


@read_gain.register
def _(layer: WeightedLayer | MaxPool2D | Activation | GlobalAveragePooling2D, read: list, net: Network) -> NDArray:
    return read[0]


@read_gain.register
def _(layer: Concatenate, read: list[NDArray], net: Network) -> NDArray:
    return np.concatenate([np.broadcast_to(g, net.types[n].channels) for g, n in zip(read, layer.inputs)])


@read_gain.register
def _(layer: Flatten, read: list[NDArray], net: Network) -> NDArray:
    return np.tile(read[0], net.types[layer.name].channels // len(read[0])) if read[0].ndim else np.ones(())


def _in_units_of(kernel: NDArray, integers: NDArray[np.int8], per_filter: bool) -> tuple[NDArray[np.float32], NDArray]:
    """Return ``kernel`` times the factor that brings it nearest to ``integers``, within rounding, and the factor."""
    axes = tuple(range(kernel.ndim - 1)) if per_filter else None
    energy = (kernel.astype(np.float64) ** 2).sum(axis=axes)
    factor = (kernel * integers).sum(axis=axes) / np.where(energy > 0, energy, 1)
    factor = np.where(factor > 0, factor, 1)
    near = np.clip(kernel * factor, integers - LARGEST_FRACTION, integers + LARGEST_FRACTION)
    return near.astype(np.float32), factor
