"""Scaling layers so that their ranges fill power-of-two grids.

Activations have power-of-two steps, so a range just above a power of two wastes almost half of its integers. A
rectifier commutes with positive factors: multiplying a layer's output and dividing its readers' weights by the same
factor changes nothing in the float network and everything in how well its integers are used.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spica.layers import DEPTHWISE, BufferTempConv, Conv2D, Dense, Flatten, MaxPool2D, SeparableConv2D, WeightedLayer
from spica.network import Layer, Network


def align_ranges(net: Network, steps: dict[str, NDArray[np.float64]]) -> tuple[Network, dict[str, NDArray]]:
    """Scale layers so that each wanted step becomes a power of two.

    Args:
        net: a float network after the rewriting passes.
        steps: wanted step of each tensor to be quantised; scalar or one a channel.

    Returns:
        An equal network, and its steps: exact powers of two, whether their layer could be scaled or not.
    """
    layers = {layer.name: layer for layer in net}
    aligned: dict[str, NDArray] = {}
    for name, step in steps.items():
        step = np.where(step > 0, step, 2.0**-7)
        power = 2.0 ** np.rint(np.log2(step))
        readers = weighted_readers(net, name, scalar=step.ndim == 0)
        if readers is not None and isinstance(layers[name], WeightedLayer):
            gain = np.asarray(power / step, np.float32)
            layers[name] = scale_output(layers[name], gain)
            for reader in readers:
                layers[reader] = scale_input(layers[reader], np.float32(1) / gain)
        aligned[name] = power
    return Network(tuple(layers.values()), net.outputs, net.name), aligned


def weighted_readers(net: Network, name: str, scalar: bool) -> list[str] | None:
    """The neural layers that read a tensor, directly or through layers that only move values; none if others do.

    A factor for each channel is lost where channels move (``Flatten``); one for the whole tensor is not.
    """
    if name in net.outputs:
        return None
    found: list[str] = []
    for reader in net.consumers[name]:
        if isinstance(reader, WeightedLayer) and getattr(reader, "padding_value", None) is None:
            found.append(reader.name)
        elif isinstance(reader, MaxPool2D) or (isinstance(reader, Flatten) and scalar):
            behind = weighted_readers(net, reader.name, scalar)
            if behind is None:
                return None
            found += behind
        else:
            return None
    return found


def scale_output(layer: Layer, gain: NDArray[np.float32]) -> Layer:
    assert isinstance(layer, WeightedLayer)
    bias = None if layer.bias is None else (layer.bias * gain).astype(np.float32)
    activation = layer.activation
    if activation is not None and activation.max_value is not None:
        activation = replace(activation, max_value=activation.max_value * gain)
    return replace(layer, kernel=layer.kernel * gain, bias=bias, activation=activation)  # type: ignore[call-arg, attr-defined]


def scale_input(layer: Layer, factor: NDArray[np.float32]) -> Layer:
    if isinstance(layer, SeparableConv2D):
        return replace(layer, depthwise_kernel=layer.depthwise_kernel * factor)
    if isinstance(layer, DEPTHWISE):
        return replace(layer, kernel=layer.kernel * factor)
    assert isinstance(layer, Conv2D | Dense | BufferTempConv)
    return replace(layer, kernel=layer.kernel * (factor[:, None] if factor.ndim else factor))
