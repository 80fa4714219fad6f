"""Layers with weights: convolutions in space, and products with a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.frontends.ops.base import NONE, Base
from spica.frontends.view import View
from spica.layers import (
    Conv2D,
    ConvTranspose2D,
    Dense,
    DepthwiseConv2D,
    DepthwiseConvTranspose2D,
    GroupedConv2D,
    SeparableConv2D,
)
from spica.network import Layer
from spica.semantics.primitives import Padding, Pair

Array = NDArray[np.float32]
Bias = Array | None


def dilated(kernel: Array, steps: Sequence[int]) -> Array:
    """Return a kernel with zeros between its taps along the first axes, ``steps`` apart: a dilated one, written out."""
    sizes = [(size - 1) * step + 1 for size, step in zip(kernel.shape, steps)]
    spread = np.zeros((*sizes, *kernel.shape[len(sizes) :]), np.float32)
    spread[tuple(slice(None, None, step) for step in steps)] = kernel
    return spread


def without_groups(kernel: Array, groups: int) -> Array:
    """Return ``(..., C, F)`` that does in one group what ``(..., C / groups, F)`` does in several: zeros between them.

    For layers that have no groups, and for groups of one channel, of which each would be a small step of its own.
    """
    *window, channels, filters = kernel.shape
    if groups == 1:
        return kernel
    each = filters // groups
    full = np.zeros((*window, channels * groups, filters), np.float32)
    for g in range(groups):
        own = slice(g * each, (g + 1) * each)
        full[..., g * channels : (g + 1) * channels, own] = kernel[..., own]
    return full


class Window(TypedDict, total=False):
    """How a window moves over an image: one step a pixel, without padding or dilation, where nothing is said.

    ``padding`` is "same" (the odd zero after), "valid", or ``((top, bottom), (left, right))``; ``dilation`` is the
    distance between the window's taps.
    """

    strides: Pair
    padding: str | Padding
    dilation: Pair


class Convolutions(Base):
    """Convolutions and dense layers; see ``GraphBuilder``."""

    def conv2d(
        self, x: View, kernel: Array, bias: Bias = None, groups: int = 1, *, at: str, **window: Unpack[Window]
    ) -> View:
        """Convolve an image with ``kernel`` (kh, kw, C / groups, F)."""
        x, (channels, filters) = self.image(x, at), kernel.shape[2:]
        if channels * groups != x.shape[-1] or filters % groups:
            raise SpicaError(
                f"{at}: {filters} filters in {groups} groups of {channels} channels do not fit an input of "
                f"{x.shape[-1]} channels"
            )
        if groups > 1 and channels == 1:
            each = kernel.reshape(*kernel.shape[:2], groups, filters // groups)
            return self.depthwise_conv2d(x, each, bias, at=at, **window)
        taps = self._spread(kernel, window)
        if groups > 1:
            return self._windowed(GroupedConv2D, at, x, window, kernel=taps, bias=bias, groups=groups)
        return self._windowed(Conv2D, at, x, window, kernel=taps, bias=bias)

    def depthwise_conv2d(self, x: View, kernel: Array, bias: Bias = None, *, at: str, **window: Unpack[Window]) -> View:
        """Convolve each channel of an image with its own filters, ``kernel`` (kh, kw, C, filters a channel)."""
        kh, kw, channels, each = kernel.shape
        if each > 1:
            full = without_groups(kernel.reshape(kh, kw, 1, channels * each), channels)
            return self.conv2d(x, full, bias, at=at, **window)
        taps = self._spread(kernel[..., 0], window)
        return self._windowed(DepthwiseConv2D, at, self.image(x, at), window, kernel=taps, bias=bias)

    def separable_conv2d(
        self, x: View, depthwise: Array, pointwise: Array, bias: Bias = None, *, at: str, **window: Unpack[Window]
    ) -> View:
        """Convolve each channel with ``depthwise`` (kh, kw, C, M), then mix them with ``pointwise`` (C * M, F)."""
        *_, channels, each = depthwise.shape
        if each > 1:  # no layer has several filters a channel before the mixing: one full convolution is the same
            full = np.einsum("hwcm,cmf->hwcf", depthwise, pointwise.reshape(channels, each, -1))
            return self.conv2d(x, full, bias, at=at, **window)
        kernels = {"depthwise_kernel": self._spread(depthwise[..., 0], window), "kernel": pointwise}
        return self._windowed(SeparableConv2D, at, self.image(x, at), window, **kernels, bias=bias)

    def conv_transpose2d(
        self, x: View, kernel: Array, bias: Bias = None, groups: int = 1, *, at: str, **window: Unpack[Window]
    ) -> View:
        """Convolve an image, spread out by ``strides``, with the mirrored ``kernel`` (kh, kw, C / groups, F).

        ``padding`` is what is cropped from all that the kernel reaches; "same" gives ``strides`` times the input.
        """
        x, kernel = self.image(x, at), self._spread(kernel, window)
        strides, padding = window.get("strides", (1, 1)), window.get("padding", "valid")
        over = [size - stride for size, stride in zip(kernel.shape, strides)]
        same = tuple((o // 2, o - o // 2) for o in over)
        if min(over) >= 0 and padding in (NONE, same):
            padding = "same" if padding == same else "valid"
        depthwise = groups > 1 and kernel.shape[2:] == (1, groups)
        full = kernel[:, :, 0] if depthwise else without_groups(kernel, groups)
        kind = DepthwiseConvTranspose2D if depthwise else ConvTranspose2D
        return self.make(kind, at, x, kernel=full, strides=strides, padding=padding, bias=bias)

    def linear(self, x: View, kernel: Array, bias: Bias = None, *, at: str) -> View:
        """Multiply the last axis by ``kernel`` (C, F): of a vector, of tokens, or of every pixel of an image.

        All values of a sample may be in any order in a vector: the rows of ``kernel`` follow.
        """
        x, filters = self.narrowed(x, at), kernel.shape[1]
        rows, order = x.rows(), x.flat_order()
        kernel = np.ascontiguousarray(kernel)
        in_vector = order is not None and x.numbers.ndim == 2 and len(x.shape) > 1  # of one pixel or token, if rows too
        if rows is not None and not in_vector:
            if len(x.shape) == 3:  # a 1x1 convolution
                made = self.make(Conv2D, at, x, kernel=kernel[None, None], bias=bias)
            else:
                made = self.make(Dense, at, x, kernel=kernel, bias=bias)
            return View(made.tensor, made.shape, rows[..., None] * filters + np.arange(filters))
        if order is None:
            raise SpicaError(
                f"{at}: reads parts of a tensor that are no rows of its channels; give it whole tokens or images"
            )
        placed = np.empty_like(kernel)
        placed[order] = kernel
        made = self.make(Dense, at, self.vector(x, at), kernel=placed, bias=bias)
        samples = (x.numbers // x.size)[..., :1]
        return View(made.tensor, made.shape, samples * filters + np.arange(filters))

    def _spread(self, kernel: Array, window: Window) -> Array:
        return dilated(kernel, window.get("dilation", (1, 1)))

    def _windowed(self, kind: type[Layer], at: str, x: View, window: Window, **weights: Any) -> View:
        strides, kernel = window.get("strides", (1, 1)), weights.get("depthwise_kernel", weights["kernel"])
        padding = self.spelled(window.get("padding", "valid"), x, kernel.shape[:2], strides, at)
        return self.make(kind, at, x, strides=strides, padding=padding, **weights)
