"""GPTQ: round weights so that a layer's sums change least, rather than each weight.

Rounding one weight of a filter adds an error to its sums that the weights not yet rounded can take back, as far as
their inputs go along with its own. How far is in the second moments of the inputs (Frantar and Alistarh, Optimal
Brain Compression, 2022; Frantar et al., GPTQ, 2023).
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from spica.layers import WITHOUT_WEIGHTS, Conv2D, Dense, DepthwiseConv2D, Temporal, WeightedLayer
from spica.layers.temporal import window_shape
from spica.layers.weighted import is_depthwise
from spica.network import Layer, TensorType
from spica.network.rules import not_applicable, refuse
from spica.semantics import primitives

DAMPING = 0.01
"""Share of the mean second moment that is added to each, so that rarely used inputs do not run away."""
MOST_INPUTS = 6144
"""Weights of a filter beyond which the moments would take too much memory; such layers are rounded plainly."""
MOST_POSITIONS = 8192
"""Window positions that the moments are taken over."""


@singledispatch
def second_moments(layer: Layer, x: NDArray[np.float32], streams: int = 1) -> NDArray[np.float64] | None:
    """Return mean products of what each pair of a filter's weights reads.

    Args:
        layer: the layer, with weights.
        x: its real input ``(N, ...)``; of a layer over time, the frames of one stream after the other.
        streams: how many these are.

    Returns:
        The moments, ``(d, d)`` for filters of d weights, or ``(C, d, d)`` for a depthwise layer; ``None`` to round to
        the nearest, where they would take too much memory or no rule tells how to find them.
    """
    refuse(second_moments, layer)


not_applicable(second_moments, "has no weights to round", *WITHOUT_WEIGHTS)


@second_moments.register
def _(layer: WeightedLayer, x: NDArray[np.float32], streams: int = 1) -> None:
    return None


@second_moments.register
def _(layer: Dense, x: NDArray[np.float32], streams: int = 1) -> NDArray[np.float64] | None:
    rows = x.reshape(-1, x.shape[-1])
    return _moments(layer, rows[_spread(len(rows))])


@second_moments.register
def _(layer: Conv2D | DepthwiseConv2D, x: NDArray[np.float32], streams: int = 1) -> NDArray[np.float64] | None:
    patches = layer.patches(x)
    grid = patches.shape[:3]
    rows = patches[np.unravel_index(_spread(int(np.prod(grid))), grid)]  # (P, C, kh, kw)
    if is_depthwise(layer):
        return _moments(layer, rows.reshape(*rows.shape[:2], -1))
    return _moments(layer, rows.transpose(0, 2, 3, 1).reshape(len(rows), -1))  # in the order of the kernel's weights


@second_moments.register
def _(layer: Temporal, x: NDArray[np.float32], streams: int = 1) -> NDArray[np.float64] | None:
    frames, pixels, channels = window_shape(layer, TensorType(x.shape[1:]))
    rest = np.zeros((streams, frames - 1, pixels, channels), x.dtype)
    windows, _ = primitives.sliding_window(x, rest, frames)  # (N, T, P, C)
    rows = windows.swapaxes(1, 2).reshape(-1, frames, channels)
    rows = rows[_spread(len(rows))]
    return _moments(layer, rows.swapaxes(1, 2) if is_depthwise(layer) else rows.reshape(len(rows), -1))


def _moments(layer: WeightedLayer, rows: NDArray[np.float32]) -> NDArray[np.float64] | None:
    """Return the mean products of ``rows``: ``(P, d)``, or ``(P, C, d)`` for a depthwise layer."""
    rows = rows.astype(np.float64)
    if is_depthwise(layer):
        return np.einsum("pci,pcj->cij", rows, rows) / len(rows)
    return None if rows.shape[1] > MOST_INPUTS else rows.T @ rows / len(rows)


def _spread(count: int) -> NDArray[np.int64]:
    """Return positions all over ``count``, no more than needed."""
    return np.linspace(0, count - 1, min(count, MOST_POSITIONS)).astype(np.int64)


def round_weights(kernel: NDArray, scale: NDArray, high: int, moments: NDArray[np.float64]) -> NDArray[np.int8]:
    """Round ``kernel / scale`` to integers from ``-high`` to ``high`` (-1 and 1, without zero, for ``high`` 0).

    Args:
        kernel: real weights ``(..., F)``; one filter's weights are all but the last axis.
        scale: real value of one step, one a filter or scalar.
        high: the largest integer.
        moments: as ``second_moments`` gives them: one matrix for all filters, or one for each.
    """
    wanted = (kernel / scale).reshape(-1, kernel.shape[-1]).astype(np.float64)
    upper = _inverse_factor(moments)
    rounded = np.zeros_like(wanted)
    for i in range(len(wanted)):
        row = wanted[i]
        rounded[i] = np.where(row >= 0, 1, -1) if high == 0 else np.clip(np.rint(row), -high, high)
        error = (row - rounded[i]) / upper[..., i, i]
        if i + 1 < len(wanted):
            rest = upper[..., i, i + 1 :]
            wanted[i + 1 :] -= np.outer(rest, error) if rest.ndim == 1 else (rest * error[:, None]).T
    return rounded.reshape(kernel.shape).astype(np.int8)


def _inverse_factor(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper Cholesky factor of the inverse moments."""
    size = moments.shape[-1]
    mean = np.trace(moments, axis1=-2, axis2=-1)[..., None, None] / size
    damped = moments + np.maximum(DAMPING * mean, 1e-9) * np.eye(size)
    return np.linalg.cholesky(np.linalg.inv(damped)).swapaxes(-1, -2)
