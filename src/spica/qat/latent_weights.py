"""What rounding took from the weights of a quantised network, found again in the float network that it was made from.

Quantisation scales a layer's output by a factor for each filter, and its readers' weights by the inverse. The factors
are found layer by layer, by least squares between both networks' weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spica.layers import (
    DEPTHWISE,
    Activation,
    Concatenate,
    Flatten,
    GlobalAveragePooling2D,
    MaxPool2D,
    SeparableConv2D,
    WeightedLayer,
)
from spica.network import Layer, Network

LARGEST_FRACTION = 0.49
"""Weights stay on their side of the rounding edge, so that they round to the integers that quantisation chose."""


def fractions(net: Network, quantized: Network) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Kernels of ``net`` in units of the integers of ``quantized``, by layer and field.

    Args:
        net: the float network that ``quantized`` was made from, after the rewriting passes.
        quantized: its integer form; layers that ``net`` has not are left out.
    """
    gains: dict[str, NDArray] = {}
    found = {}
    for layer in quantized:
        gain = _read_gain(layer, gains, quantized)
        if isinstance(layer, WeightedLayer) and (twin := _twin(net, layer)) is not None:
            found[layer.name], gain = _fit(twin, layer, gain)
        gains[layer.name] = gain
    return found


def _twin(net: Network, layer: WeightedLayer) -> WeightedLayer | None:
    twin = next((r for r in net if r.name == layer.name), None)
    if type(twin) is not type(layer) or twin.kernel.shape != layer.kernel.shape:  # type: ignore[attr-defined]
        return None
    return twin


def _read_gain(layer: Layer, gains: dict[str, NDArray], net: Network) -> NDArray:
    """Factor of every channel that ``layer`` reads or, where it has no weights, gives."""
    read = [gains[name] for name in layer.inputs]
    if isinstance(layer, Concatenate):
        return np.concatenate([np.broadcast_to(g, net.types[n].channels) for g, n in zip(read, layer.inputs)])
    if isinstance(layer, WeightedLayer | MaxPool2D | Activation | GlobalAveragePooling2D):
        return read[0]
    if isinstance(layer, Flatten) and read[0].ndim:
        return np.tile(read[0], net.types[layer.name].channels // len(read[0]))
    return np.ones(())


def _fit(twin: WeightedLayer, layer: WeightedLayer, gain: NDArray) -> tuple[dict[str, NDArray[np.float32]], NDArray]:
    """A layer's kernels in units of its integers, and the factor of each of its filters."""
    found, factor = {}, np.ones(())
    scale = np.asarray(layer.weight_scale, np.float64)
    if isinstance(layer, SeparableConv2D) and isinstance(twin, SeparableConv2D):
        kernel, fit = _units(twin.depthwise_kernel / gain, layer.depthwise_kernel, per_filter=False)
        found["depthwise_kernel"], factor, gain = kernel, fit, np.ones(())
    kernel = twin.kernel  # type: ignore[attr-defined]
    kernel = kernel / (gain if isinstance(twin, DEPTHWISE) or gain.ndim == 0 else gain[:, None])
    found["kernel"], fit = _units(kernel, layer.kernel, per_filter=True)  # type: ignore[attr-defined]
    return found, fit * factor * scale


def _units(kernel: NDArray, integers: NDArray[np.int8], per_filter: bool) -> tuple[NDArray[np.float32], NDArray]:
    """``kernel`` times the factor that brings it nearest to ``integers``, kept within rounding, and the factor."""
    axes = tuple(range(kernel.ndim - 1)) if per_filter else None
    energy = (kernel.astype(np.float64) ** 2).sum(axis=axes)
    factor = (kernel * integers).sum(axis=axes) / np.where(energy > 0, energy, 1)
    factor = np.where(factor > 0, factor, 1)
    near = np.clip(kernel * factor, integers - LARGEST_FRACTION, integers + LARGEST_FRACTION)
    return near.astype(np.float32), factor
