"""Transposed convolutions, full and depthwise, which enlarge an image by their stride.

The input is spread out with zeros between its pixels, and the mirrored kernel slides over it one pixel at a time. The
zeros are not events, so nothing is computed for them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import ModuleType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.layers.weighted import NO_PADDING, WeightedLayer
from spica.network.fields import Pads, Weights, Window
from spica.network.layer import Ops, record
from spica.network.types import TensorType
from spica.semantics import primitives
from spica.semantics.primitives import Padding, Pair


@dataclass(frozen=True, eq=False, kw_only=True)
class Transposed(WeightedLayer):
    """Transposed convolution, of all channels or of each.

    Attributes:
        padding: "same" gives ``strides`` times the input's size, "valid" all that the kernel reaches, at least as
            much; ``((top, bottom), (left, right))`` crops as much from what the kernel reaches.
    """

    kernel: Weights
    strides: Window = (2, 2)
    padding: str | Pads = "same"

    @property
    def mirrored(self) -> NDArray:
        """The kernel as it slides over the dilated input."""
        return self.kernel[::-1, ::-1]

    @property
    def crop(self) -> Padding:
        """Rows and columns that are cut from all that the kernel reaches."""
        if isinstance(self.padding, tuple):
            return self.padding
        total = [max(k - s, 0) if self.padding == "same" else 0 for k, s in zip(self.kernel.shape, self.strides)]
        top_bottom, left_right = ((t // 2, t - t // 2) for t in total)
        return top_bottom, left_right

    def output_size(self, size: int, axis: int) -> int:
        """Return the rows (axis 0) or columns (1) of the output for those of the input."""
        kernel, stride = self.kernel.shape[axis], self.strides[axis]
        reach = kernel if isinstance(self.padding, tuple) else max(kernel, stride)
        return (size - 1) * stride + reach - sum(self.crop[axis])

    def dilation_padding(self, height: int, width: int) -> Padding:
        """Return the padding around the dilated input, negative where the kernel is smaller than the stride."""

        def amounts(size: int, axis: int) -> Pair:
            last = self.kernel.shape[axis] - 1
            before = last - self.crop[axis][0]
            return before, self.output_size(size, axis) + last - ((size - 1) * self.strides[axis] + 1) - before

        return amounts(height, 0), amounts(width, 1)

    def dilated(self, x: NDArray, ops: Ops | ModuleType) -> NDArray:
        """Return images with zeros between and around their pixels, ready for the mirrored kernel."""
        return ops.dilate(x, self.strides, self.dilation_padding(*x.shape[1:3]))

    def accumulator_shape(self, x: TensorType) -> tuple[int, ...]:
        """Return the enlarged height and width, and the filters."""
        weighted.check_rank(self, x, 3)
        if (isinstance(self.padding, str) and self.padding not in ("same", "valid")) or min(self.strides) < 1:
            raise SpicaError(
                f"{self.name}: padding must be 'same', 'valid' or ((top, bottom), (left, right)), and strides 1 or more"
            )
        beyond = [max(crop) >= k for crop, k in zip(self.crop, self.kernel.shape)]
        if isinstance(self.padding, tuple) and any(beyond):
            raise SpicaError(f"{self.name}: padding {self.padding} cuts off whole pixels; crop the image before it")
        shape = (self.output_size(x.shape[0], 0), self.output_size(x.shape[1], 1), self.filters)
        if min(shape) < 1 or min(map(min, self.crop)) < 0:
            raise SpicaError(f"{self.name}: padding {self.padding} leaves no output, or is negative")
        return shape

    def accumulate_float(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the products of the dilated input's windows with the mirrored kernel."""
        dilated, fill = self.dilated(x, primitives), np.zeros((), np.float32)
        patches = primitives.windows(dilated, self.kernel.shape[:2], (1, 1), NO_PADDING, fill)
        sums = "nhwcij,ijc->nhwc" if weighted.is_depthwise(self) else "nhwcij,ijcf->nhwf"
        return np.einsum(sums, patches, self.mirrored)

    def accumulate(self, x: NDArray, kind: TensorType, ops: Ops) -> NDArray:
        """Return the sums of a convolution of the dilated input with the mirrored kernel."""
        x, kernel, peak = weighted.align(self, x, self.mirrored, kind, ops)
        return weighted.convolve(self.dilated(x, ops), kernel, peak, ops)


@record
class ConvTranspose2D(Transposed):
    """Transposed convolution; ``kernel`` is (kh, kw, C, F)."""

    KERNELS: ClassVar = {"kernel": "hwCF"}


@record
class DepthwiseConvTranspose2D(Transposed):
    """Transposed convolution with one kernel for each channel; ``kernel`` is (kh, kw, C)."""

    KERNELS: ClassVar = {"kernel": "hwC"}


def padding_name(layer: Transposed) -> str:
    """Return "same", "valid" or "custom", whichever way the padding is given."""
    for name in ("same", "valid"):
        if replace(layer, padding=name).dilation_padding(8, 8) == layer.dilation_padding(8, 8):
            return name
    return "custom"
