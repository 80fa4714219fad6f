"""GPTQ: round weights so that a layer's sums change least, rather than each weight.

Rounding one weight of a filter adds an error to its sums that the weights not yet rounded can take back, as far as
their inputs go along with its own. How far is in the second moments of the inputs (Frantar and Alistarh, Optimal
Brain Compression, 2022; Frantar et al., GPTQ, 2023). Wide filters are rounded a block of weights at a time, so that
time grows with the number of weights.
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
BLOCK = 1024
"""Weights of a filter that make up for each other's errors; their moments take the square of this in memory."""
MOST_POSITIONS = 8192
"""Window positions that the moments are taken over."""


@singledispatch
def filter_inputs(layer: Layer, x: NDArray[np.float32], streams: int = 1) -> NDArray[np.float32] | None:
    """Return what the weights of each filter read, at positions spread over the samples.

    Args:
        layer: the layer, with weights.
        x: its real input ``(N, ...)``; of a layer over time, the frames of one stream after the other.
        streams: how many these are.

    Returns:
        ``(P, d)`` for filters of d weights, or ``(P, C, d)`` for a depthwise layer; ``None`` where no rule tells how
        to find them, to round to the nearest.
    """
    refuse(filter_inputs, layer)


not_applicable(filter_inputs, "has no weights to round", *WITHOUT_WEIGHTS)


@filter_inputs.register
def _(layer: WeightedLayer, x: NDArray[np.float32], streams: int = 1) -> None:
    return None


@filter_inputs.register
def _(layer: Dense, x: NDArray[np.float32], streams: int = 1) -> NDArray[np.float32]:
    rows = x.reshape(-1, x.shape[-1])
    return rows[_spread(len(rows))]


@filter_inputs.register
def _(layer: Conv2D | DepthwiseConv2D, x: NDArray[np.float32], streams: int = 1) -> NDArray[np.float32]:
    patches = layer.patches(x)
    grid = patches.shape[:3]
    rows = patches[np.unravel_index(_spread(int(np.prod(grid))), grid)]  # (P, C, kh, kw)
    if is_depthwise(layer):
        return rows.reshape(*rows.shape[:2], -1)
    return rows.transpose(0, 2, 3, 1).reshape(len(rows), -1)  # in the order of the kernel's weights


@filter_inputs.register
def _(layer: Temporal, x: NDArray[np.float32], streams: int = 1) -> NDArray[np.float32]:
    frames, pixels, channels = window_shape(layer, TensorType(x.shape[1:]))
    rest = np.zeros((streams, frames - 1, pixels, channels), x.dtype)
    windows, _ = primitives.sliding_window(x, rest, frames)  # (N, T, P, C)
    rows = windows.swapaxes(1, 2).reshape(-1, frames, channels)
    rows = rows[_spread(len(rows))]
    return rows.swapaxes(1, 2) if is_depthwise(layer) else rows.reshape(len(rows), -1)


def _spread(count: int) -> NDArray[np.int64]:
    """Return positions all over ``count``, no more than needed."""
    return np.linspace(0, count - 1, min(count, MOST_POSITIONS)).astype(np.int64)


def round_weights(kernel: NDArray, scale: NDArray, high: int, inputs: NDArray[np.float32]) -> NDArray[np.int8]:
    """Round ``kernel / scale`` to integers from ``-high`` to ``high`` (-1 and 1, without zero, for ``high`` 0).

    Args:
        kernel: real weights ``(..., F)``; one filter's weights are all but the last axis.
        scale: real value of one step, one a filter or scalar.
        high: the largest integer.
        inputs: what they read, as ``filter_inputs`` gives it: ``(P, d)`` for all filters, or ``(P, F, d)``.
    """
    wanted = (kernel / scale).reshape(-1, kernel.shape[-1]).astype(np.float32)
    blocks = np.array_split(np.arange(len(wanted)), -(-len(wanted) // BLOCK))
    rounded = [_round_block(wanted[b], high, _second_moments(inputs[..., b[0] : b[-1] + 1])) for b in blocks]
    return np.concatenate(rounded).reshape(kernel.shape).astype(np.int8)


def _round_block(wanted: NDArray[np.float32], high: int, moments: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round weights ``(d, F)`` in steps, one after the other; those that are left make up for the error of each."""
    upper = _inverse_factor(moments).astype(np.float32)
    rounded = np.empty_like(wanted)
    for i, row in enumerate(wanted):
        rounded[i] = np.where(row >= 0, 1, -1) if high == 0 else np.clip(np.rint(row), -high, high)
        error = (row - rounded[i]) / upper[..., i, i]
        rest = upper[..., i, i + 1 :]
        wanted[i + 1 :] -= rest[:, None] * error if rest.ndim == 1 else (rest * error[:, None]).T
    return rounded


def _second_moments(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean products of each pair of columns: ``(d, d)``, or ``(C, d, d)`` for rows ``(P, C, d)``."""
    products = rows.T @ rows if rows.ndim == 2 else np.matmul(rows.transpose(1, 2, 0), rows.transpose(1, 0, 2))
    return products.astype(np.float64) / len(rows)


def _inverse_factor(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper Cholesky factor of the inverse moments."""
    size = moments.shape[-1]
    mean = np.trace(moments, axis1=-2, axis2=-1)[..., None, None] / size
    damped = moments + np.maximum(DAMPING * mean, 1e-9) * np.eye(size)
    return np.linalg.cholesky(np.linalg.inv(damped)).swapaxes(-1, -2)
