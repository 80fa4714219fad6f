"""Layers with weights: convolutions in space and over time, recurrences, and products with a matrix."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from spica import layers
from spica.frontends.ops.base import NONE, Array, Base
from spica.frontends.view import BATCH, View
from spica.network import Layer
from spica.network.types import check_size
from spica.semantics.primitives import Padding, Pair

Bias = Array | None


def dilated(kernel: NDArray[Any], steps: Sequence[int], at: str) -> NDArray[Any]:
    """Return a kernel with zeros between its taps along the first axes, ``steps`` apart: a dilated one, written out."""
    if max(steps) == 1:
        return np.ascontiguousarray(kernel)
    sizes = [(size - 1) * step + 1 for size, step in zip(kernel.shape, steps)]
    check_size((*sizes, *kernel.shape[len(sizes) :]), at)
    spread = np.zeros((*sizes, *kernel.shape[len(sizes) :]), kernel.dtype)
    spread[tuple(slice(None, None, step) for step in steps)] = kernel
    return spread


def without_groups(kernel: Array, groups: int, at: str) -> Array:
    """Return ``(..., C, F)`` that does in one group what ``(..., C / groups, F)`` does in several: zeros between them.

    For layers that have no groups, and for groups of one channel, of which each would be a small step of its own.
    """
    if groups == 1:
        return kernel
    *window, channels, filters = kernel.shape
    check_size((*window, channels * groups, filters), at)
    full = np.zeros((*window, channels * groups, filters), np.float32)
    for inputs, outputs in zip(np.split(np.arange(channels * groups), groups), np.split(np.arange(filters), groups)):
        full[..., inputs[:, None], outputs] = kernel[..., outputs]
    return full


class Window(TypedDict, total=False):
    """Movement of a window over an image: one step a pixel, without padding or dilation, where nothing is said.

    ``padding`` is "same" (the odd zero after), "valid", or ``((top, bottom), (left, right))``; ``dilation`` is the
    distance between the window's taps.
    """

    strides: Pair
    padding: str | Padding
    dilation: Pair


class Weighted(Base):
    """Convolutions, recurrences and dense layers; see ``GraphBuilder``."""

    def conv2d(
        self, x: View, kernel: Array, bias: Bias = None, groups: int = 1, *, at: str, **window: Unpack[Window]
    ) -> View:
        """Convolve an image with ``kernel`` (kh, kw, C / groups, F)."""
        x, (channels, filters) = self.image(x, at), kernel.shape[2:]
        if groups > 1 and channels == 1:
            each = kernel.reshape(*kernel.shape[:2], groups, filters // groups)
            return self.depthwise_conv2d(x, each, bias, at=at, **window)
        if groups > 1:
            return self._windowed(layers.GroupedConv2D, at, x, window, kernel=kernel, bias=bias, groups=groups)
        return self._windowed(layers.Conv2D, at, x, window, kernel=kernel, bias=bias)

    def depthwise_conv2d(self, x: View, kernel: Array, bias: Bias = None, *, at: str, **window: Unpack[Window]) -> View:
        """Convolve each channel of an image with its own filters, ``kernel`` (kh, kw, C, filters a channel)."""
        kh, kw, channels, each = kernel.shape
        if each > 1:
            full = without_groups(kernel.reshape(kh, kw, 1, channels * each), channels, at)
            return self.conv2d(x, full, bias, at=at, **window)
        return self._windowed(layers.DepthwiseConv2D, at, x, window, kernel=kernel[..., 0], bias=bias)

    def separable_conv2d(
        self, x: View, depthwise: Array, pointwise: Array, bias: Bias = None, *, at: str, **window: Unpack[Window]
    ) -> View:
        """Convolve each channel with ``depthwise`` (kh, kw, C, M), then mix them with ``pointwise`` (C * M, F)."""
        *_, channels, each = depthwise.shape
        if each > 1:  # no layer has several filters a channel before the mixing: one full convolution is the same
            full = np.einsum("hwcm,cmf->hwcf", depthwise, pointwise.reshape(channels, each, -1))
            return self.conv2d(x, full, bias, at=at, **window)
        kernels = {"depthwise_kernel": depthwise[..., 0], "kernel": pointwise}
        return self._windowed(layers.SeparableConv2D, at, x, window, **kernels, bias=bias)

    def _windowed(self, kind: type[Layer], at: str, x: View, window: Window, **weights: Any) -> View:
        """Add a convolution of an image, with zeros between the taps of its kernel where the window is dilated."""
        x, strides = self.image(x, at), window.get("strides", (1, 1))
        slides = "depthwise_kernel" if "depthwise_kernel" in weights else "kernel"
        kernel = weights[slides] = dilated(weights[slides], window.get("dilation", (1, 1)), at)
        padding = self.spelled(window.get("padding", "valid"), x, kernel.shape[:2], strides, at)
        return self.make(kind, at, x, strides=strides, padding=padding, **weights)

    def conv_transpose2d(
        self, x: View, kernel: Array, bias: Bias = None, groups: int = 1, *, at: str, **window: Unpack[Window]
    ) -> View:
        """Convolve an image, spread out by ``strides``, with the mirrored ``kernel`` (kh, kw, C / groups, F).

        ``padding`` is what is cropped from all that the kernel reaches; "same" gives ``strides`` times the input.
        """
        x, kernel = self.image(x, at), dilated(kernel, window.get("dilation", (1, 1)), at)
        strides, padding = window.get("strides", (1, 1)), window.get("padding", "valid")
        if isinstance(padding, tuple) and min(map(min, padding)) < 0:  # outputs beyond what the kernel reaches: zeros
            beyond = [(max(0, -before), max(0, -after)) for before, after in padding]
            kernel = np.pad(kernel, (*beyond, (0, 0), (0, 0)))
            (top, bottom), (left, right) = (tuple(max(0, amount) for amount in pair) for pair in padding)
            padding = ((top, bottom), (left, right))
        over = [size - stride for size, stride in zip(kernel.shape, strides)]
        same = tuple((o // 2, o - o // 2) for o in over)
        if min(over) >= 0 and padding in (NONE, same):
            padding = "same" if padding == same else "valid"
        depthwise = groups > 1 and kernel.shape[2:] == (1, groups)
        full = kernel[:, :, 0] if depthwise else without_groups(kernel, groups, at)
        kind = layers.DepthwiseConvTranspose2D if depthwise else layers.ConvTranspose2D
        return self.make(kind, at, x, kernel=full, strides=strides, padding=padding, bias=bias)

    def linear(self, x: View, kernel: Array, bias: Bias = None, *, at: str) -> View:
        """Multiply the last axis by ``kernel`` (C, F): of a vector, of tokens, or of every pixel of an image.

        All values of a sample may be in any order in a vector: the rows of ``kernel`` follow.
        """
        x, filters, kernel = self.narrowed(x, at), kernel.shape[1], np.ascontiguousarray(kernel)
        rows, order = x.rows(), x.flat_order()
        in_vector = order is not None and x.numbers.ndim == 2 and len(x.shape) > 1  # of one pixel or token, if rows too
        if rows is not None and not in_vector:
            if len(x.shape) == 3:
                made = self.make(layers.Conv2D, at, x, kernel=kernel[None, None], bias=bias)
            else:
                made = self.make(layers.Dense, at, x, kernel=kernel, bias=bias)
            return View(made.tensor, made.shape, rows[..., None] * filters + np.arange(filters))
        if order is None and len(x.numbers) != BATCH and x.batch_axis() == (0, 1):  # windows of each sample
            return self.linear(x.unflatten(0, (BATCH, -1)), kernel, bias, at=at).flatten(0, 1)
        if order is None:
            return self.linear(self.whole(x, at), kernel, bias, at=at)
        placed = np.empty_like(kernel)
        placed[order] = kernel
        made = self.make(layers.Dense, at, self.vector(x, at), kernel=placed, bias=bias)
        samples = (x.numbers // x.size)[..., :1]
        return View(made.tensor, made.shape, samples * filters + np.arange(filters))

    # -- over time, on the newest frame ------------------------------------------------------------------------------

    def conv1d_causal(
        self, x: View, kernel: Array, bias: Bias = None, groups: int = 1, dilation: int = 1, *, at: str
    ) -> View:
        """Sum the products of the last frames with ``kernel`` (frames, C / groups, F), oldest first, at each place.

        A frame is an image; plain channels become one of one pixel. ``dilation`` is the distance between frames.
        """
        x, kernel = self.frame(x, at), dilated(kernel, (dilation,), at)
        if groups > 1 and kernel.shape[1:] == (1, groups):
            return self.depthwise_temporal(x, kernel[:, 0], bias, at=at)
        return self.make(layers.BufferTempConv, at, x, kernel=without_groups(kernel, groups, at), bias=bias)

    def depthwise_temporal(self, x: View, kernel: Array, bias: Bias = None, *, at: str) -> View:
        """Sum the products of the last frames with ``kernel`` (frames, C) for each channel on its own."""
        return self.make(layers.DepthwiseBufferTempConv, at, self.frame(x, at), kernel=kernel, bias=bias)

    def ssm(self, x: View, real: Array, imaginary: Array, *, at: str) -> View:
        """Let each channel be a complex state that is multiplied by ``real + i imaginary`` and takes up its input."""
        x = self.whole(x, at)
        if len(x.shape) != 2:  # plain channels, or an image of one pixel
            x = self.move(layers.Reshape, f"{at}/step", x, shape=(1, x.shape[-1]))
        return self.make(layers.DiagonalRecurrence, at, x, a_real=real, a_imag=imaginary)

    def frame(self, x: View, at: str) -> View:
        """Return the view as an image: plain channels, or a stretch of one step, are one of one pixel."""
        x = self.whole(x, at)
        point = len(x.shape) < 3 and prod(x.shape[:-1]) == 1
        return self.move(layers.Reshape, f"{at}/image", x, shape=(1, 1, x.shape[-1])) if point else x
