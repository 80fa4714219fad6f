"""Explicit zero padding: folded into the convolution or pooling behind it, which pads at no cost, or else gathered."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from spica.errors import SpicaError
from spica.layers import Activation, Flatten, Gather, MaxPool2D, Reshape, ZeroPad
from spica.layers.weighted import WeightedLayer, WindowedLayer
from spica.network import Layer, Network
from spica.passes.base import Pass, Result
from spica.passes.merge import merge_pass
from spica.semantics.primitives import Padding


@merge_pass
def fold_padding(net: Network, before: Layer, after: Layer) -> Layer | None:
    """Fold each ``ZeroPad`` into the layer that slides a window over its output.

    Maxima of values that are never negative may take zeros for what lies outside, which never wins there.
    """
    if isinstance(before, ZeroPad) and isinstance(after, MaxPool2D):
        pool = after.pool
        if isinstance(pool.padding, tuple) or pool.padding == "same" or not _is_rectified(net, before.inputs[0]):
            return None
        if any(amount >= k for k, pair in zip(pool.size, before.padding) for amount in pair):
            return None
        return replace(after, inputs=before.inputs, pool=replace(pool, padding=before.padding))
    if not isinstance(before, ZeroPad) or not isinstance(after, WindowedLayer) or after.padding == "same":
        return None
    if getattr(after, "padding_value", None) is not None:
        return None  # it pads with something else than zeros
    own = ((0, 0), (0, 0)) if isinstance(after.padding, str) else after.padding
    (top, bottom), (left, right) = before.padding
    padding = ((top + own[0][0], bottom + own[0][1]), (left + own[1][0], right + own[1][1]))
    return replace(after, inputs=before.inputs, padding=padding)


def _is_rectified(net: Network, name: str) -> bool:
    """Return whether no value of a tensor is negative."""
    layer = net[name]
    if isinstance(layer, MaxPool2D | Flatten | Reshape):
        return _is_rectified(net, layer.inputs[0])
    return isinstance(layer, Activation) or (isinstance(layer, WeightedLayer) and layer.activation is not None)


def no_zero_pad(net: Network) -> None:
    """Check that no ``ZeroPad`` is left.

    Raises:
        SpicaError: naming the layer.
    """
    for layer in net:
        if isinstance(layer, ZeroPad):
            raise SpicaError(f"{layer.name}: a ZeroPad is left, which no engine has")


@partial(Pass, ensures=(no_zero_pad,))
def padding_to_gather(net: Network) -> Result:
    """Replace each ``ZeroPad`` that no neighbour could take in by a ``Gather`` of pixels and zeros."""
    lowered = {
        layer.name: _gather(layer, net.types[layer.inputs[0]].shape) for layer in net if isinstance(layer, ZeroPad)
    }
    return Result(net.with_layers(lowered.get(x.name, x) for x in net), True) if lowered else Result(net)


def _gather(layer: ZeroPad, shape: tuple[int, ...]) -> Gather:
    padding: Padding = layer.padding
    positions = np.pad(np.arange(np.prod(shape)).reshape(shape), (*padding, (0, 0)), constant_values=-1)
    return Gather(name=layer.name, inputs=layer.inputs, positions=positions.reshape(-1), shape=positions.shape)
