"""Layers of float networks with seeded random weights: kernels are He-normal, biases zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.layers import Conv2D, Dense, DepthwiseConv2D, GlobalAverage, ReLU, SeparableConv2D


class HeNormal:
    """Draw kernels one after the other from a seeded generator."""

    def __init__(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def __call__(self, *shape: int, fan_in: int) -> NDArray[np.float32]:
        """Return normal weights of variance ``2 / fan_in``."""
        return self._generator.standard_normal(shape, np.float32) * np.float32(math.sqrt(2 / fan_in))


def conv(
    name: str,
    source: str,
    kernel: NDArray[np.float32],
    strides: tuple[int, int] = (1, 1),
    *,
    relu: bool = True,
    pool: GlobalAverage | None = None,
) -> Conv2D:
    """Return a convolution with ``kernel`` (kh, kw, C, F) and "same" padding."""
    return Conv2D(strides=strides, pool=pool, **_weighted(name, source, kernel, relu))


def depthwise(
    name: str, source: str, kernel: NDArray[np.float32], strides: tuple[int, int] = (1, 1)
) -> DepthwiseConv2D:
    """Return a rectified depthwise convolution with ``kernel`` (kh, kw, C) and "same" padding."""
    return DepthwiseConv2D(strides=strides, **_weighted(name, source, kernel))


def separable(
    name: str,
    source: str,
    kernels: tuple[NDArray[np.float32], NDArray[np.float32]],
    strides: tuple[int, int],
    pool: GlobalAverage | None,
) -> SeparableConv2D:
    """Return a rectified separable convolution with depthwise (kh, kw, C) and pointwise (C, F) kernels."""
    over, mixing = kernels
    fields = _weighted(name, source, mixing)
    return SeparableConv2D(depthwise_kernel=over, strides=strides, pool=pool, **fields)


def dense(name: str, source: str, kernel: NDArray[np.float32], *, relu: bool = True) -> Dense:
    """Return a dense layer with ``kernel`` (C, F)."""
    return Dense(**_weighted(name, source, kernel, relu))


def _weighted(name: str, source: str, kernel: NDArray[np.float32], relu: bool = True) -> dict[str, Any]:
    """Return the fields that all of them have."""
    after = {"bias": np.zeros(kernel.shape[-1], np.float32), "activation": ReLU() if relu else None}
    return {"name": name, "inputs": (source,), "kernel": kernel, **after}
