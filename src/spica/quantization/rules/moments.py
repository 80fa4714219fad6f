"""Second moments of what weights read, by which they are rounded."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from spica.layers import Conv2D, Dense, DepthwiseConv2D, MadNormalization, Temporal, WeightedLayer
from spica.layers.temporal import window_shape
from spica.layers.weighted import is_depthwise, padding_of
from spica.network import Layer, TensorType
from spica.network.rules import not_applicable, refuse
from spica.quantization.rules.listing import WITHOUT_WEIGHTS
from spica.semantics import primitives

MOST_INPUTS = 6144
"""Weights of a filter beyond which the moments would take too much memory; such layers are rounded plainly."""
MOST_POSITIONS = 8192
"""Window positions that the moments are taken over."""


@singledispatch
def second_moments(layer: Layer, x: NDArray[np.float32], streams: int = 1) -> NDArray[np.float64] | None:
    """Return mean products of what each pair of a filter's weights reads.

    Args:
        layer: a float or integer layer.
        x: its real input (N, ...).
        streams: how many streams of frames the first axis holds, one after the other.

    Returns:
        The moments, ``(d, d)`` for filters of d weights, or ``(C, d, d)`` for a depthwise layer; ``None`` to round its
        weights to the nearest, because the moments would take too much memory or nobody wrote how to find them.
    """
    refuse(second_moments, layer)


@second_moments.register
def _(layer: WeightedLayer, x: NDArray[np.float32], streams: int = 1) -> None:
    return None


@second_moments.register
def _(layer: Dense, x: NDArray[np.float32], streams: int = 1) -> NDArray[np.float64] | None:
    rows = x.reshape(-1, x.shape[-1])
    return _moments(layer, rows[_spread(len(rows))])


@second_moments.register
def _(layer: Conv2D | DepthwiseConv2D, x: NDArray[np.float32], streams: int = 1) -> NDArray[np.float64] | None:
    kh, kw, channels = layer.kernel.shape[:3]
    fill = getattr(layer, "padding_value", None)
    fill = np.zeros(channels, np.float32) if fill is None else np.asarray(fill, np.float32)
    padding = padding_of(layer, layer.kernel, x)
    patches = primitives.windows(np.asarray(x, np.float32), (kh, kw), layer.strides, padding, fill)
    grid = patches.shape[:3]
    rows = patches[np.unravel_index(_spread(int(np.prod(grid))), grid)]  # (P, C, kh, kw)
    if is_depthwise(layer):
        return _moments(layer, rows.reshape(len(rows), channels, kh * kw))
    return _moments(layer, rows.transpose(0, 2, 3, 1).reshape(len(rows), -1))  # in the order of the kernel's weights


@second_moments.register
def _(layer: Temporal, x: NDArray[np.float32], streams: int = 1) -> NDArray[np.float64] | None:
    frames, pixels, channels = window_shape(layer, TensorType(x.shape[1:]))
    rest = np.zeros((streams, frames - 1, pixels, channels), x.dtype)
    windows, _ = primitives.sliding_window(x, rest, frames)  # (N, T, P, C)
    rows = windows.swapaxes(1, 2).reshape(-1, frames, channels)
    rows = rows[_spread(len(rows))]
    return _moments(layer, rows.swapaxes(1, 2) if is_depthwise(layer) else rows.reshape(len(rows), -1))


not_applicable(second_moments, "has no weights to round", *WITHOUT_WEIGHTS)
not_applicable(second_moments, "is made of a layer normalisation when that is quantised", MadNormalization)


def _moments(layer: WeightedLayer, rows: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Return the mean products of ``rows``: ``(P, d)``, or ``(P, C, d)`` for a depthwise layer."""
    rows = rows.astype(np.float64)
    if is_depthwise(layer):
        return np.einsum("pci,pcj->cij", rows, rows) / len(rows)
    return None if rows.shape[1] > MOST_INPUTS else rows.T @ rows / len(rows)


def _spread(count: int) -> NDArray[np.int64]:
    """Return positions all over ``count``, no more than needed."""
    return np.linspace(0, count - 1, min(count, MOST_POSITIONS)).astype(np.int64)
