"""Equalisation: give every channel of a tensor the range of the others, at the cost of the weights that read it.

Channels of one tensor share a step, so a channel of small values has few integers. A factor on each channel, taken
back by the weights of the next layer, changes nothing in the float network (Nagel et al., Data-Free Quantization
Through Weight Equalization and Bias Correction, 2019). What a channel gains, the weights that read it lose, so dense
readers get half of the way (Xiao et al., SmoothQuant, 2023); a depthwise layer, whose every channel has a step of its
own, all of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.layers.weighted import is_depthwise, kernel_channels
from spica.network import Network
from spica.network.rules import applies
from spica.quantization.rules.scaling import read_weights, scale_tensor, scaled_readers

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
        readers = scaled_readers(net, name, per_channel=True)
        layer = layers[name]
        if not readers or not applies(kernel_channels, layer) or not channels.max() > 0:
            continue
        if layer.activation is not None and layer.activation.max_value is not None:
            continue  # a rectifier has one bound for all channels
        share = 1.0 if all(is_depthwise(layers[r]) for r in readers) else 0.5
        weights = np.max([read_weights(layers[r]) for r in readers], axis=0)
        gain = _gain(channels, weights, share)
        scale_tensor(layers, name, gain, readers)
        gains[name] = gain
    return net.with_layers(layers.values()), gains


def _gain(reach: NDArray, weights: NDArray, share: float) -> NDArray[np.float32]:
    """Return factors that bring ranges (and, for a share below 1, weights) together; the widest channel stays so."""
    reach, weights = (np.maximum(values, 1e-3 * values.max()) for values in (reach, weights))
    gain = reach**-share * weights ** (1 - share)
    gain *= reach.max() / (reach * gain).max()
    return np.clip(gain, 1 / LARGEST_GAIN, LARGEST_GAIN).astype(np.float32)
