"""Layers that remember: causal convolutions over frames, and recurrences, as a network of one frame has them."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from spica.frontends.ops.base import Base
from spica.frontends.ops.convolution import dilated, without_groups
from spica.frontends.view import View
from spica.layers import BufferTempConv, DepthwiseBufferTempConv, DiagonalRecurrence, Reshape

Array = NDArray[np.float32]


class Temporal(Base):
    """Operations over time, on the newest frame; see ``GraphBuilder``."""

    def conv1d_causal(
        self, x: View, kernel: Array, bias: Array | None = None, groups: int = 1, dilation: int = 1, *, at: str
    ) -> View:
        """Sum the products of the last frames with ``kernel`` (frames, C / groups, F), oldest first, at each place.

        A frame is an image; plain channels become one of one pixel. ``dilation`` is the distance between frames.
        """
        x, kernel = self.frame(x, at), dilated(kernel, (dilation,))
        if groups > 1 and kernel.shape[1:] == (1, groups):
            return self.make(DepthwiseBufferTempConv, at, x, kernel=kernel[:, 0], bias=bias)
        return self.make(BufferTempConv, at, x, kernel=without_groups(kernel, groups), bias=bias)

    def depthwise_temporal(self, x: View, kernel: Array, bias: Array | None = None, *, at: str) -> View:
        """Sum the products of the last frames with ``kernel`` (frames, C) for each channel on its own."""
        return self.make(DepthwiseBufferTempConv, at, self.frame(x, at), kernel=kernel, bias=bias)

    def ssm(self, x: View, real: Array, imaginary: Array, *, at: str) -> View:
        """Let each channel be a complex state that is multiplied by ``real + i imaginary`` and takes up its input."""
        x = self.whole(x, at)
        if len(x.shape) != 2:  # plain channels, or an image of one pixel
            x = self.move(Reshape, f"{at}/step", x, shape=(1, x.shape[-1]))
        return self.make(DiagonalRecurrence, at, x, a_real=real, a_imag=imaginary)

    def frame(self, x: View, at: str) -> View:
        """Return the view as an image: plain channels, or a stretch of one step, are one of one pixel."""
        x = self.whole(x, at)
        point = len(x.shape) < 3 and prod(x.shape[:-1]) == 1
        return self.move(Reshape, f"{at}/image", x, shape=(1, 1, x.shape[-1])) if point else x
