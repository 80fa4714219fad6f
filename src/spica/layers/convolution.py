"""Two-dimensional convolutions of images: full, depthwise, and separable, which is depthwise and then pointwise."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.layers.weighted import WindowedLayer
from spica.network.fields import AccumulatorBits, Bounds, Values, Weights
from spica.network.layer import Ops, record
from spica.network.types import TensorType
from spica.semantics.primitives import Epilogue


@record
class Conv2D(WindowedLayer):
    """Convolution of an image with ``kernel`` (kh, kw, C, F).

    Where it reads the network's input, hardware gives it to the input-convolution unit.

    Attributes:
        padding_value: what the border is filled with, one a channel (zero where absent).
    """

    KERNELS: ClassVar = {"kernel": "hwCF"}

    kernel: Weights
    padding_value: Annotated[Values, Bounds(-(1 << 31), (1 << 31) - 1)] | None = None

    def accumulator_shape(self, x: TensorType) -> tuple[int, ...]:
        """Check the padding value, and return the shape as for any window."""
        if self.padding_value is not None and self.padding_value.shape != (x.channels,):
            raise SpicaError(f"{self.name}: padding_value must have one entry for each of {x.channels} channels")
        return super().accumulator_shape(x)

    @property
    def border(self) -> NDArray | None:
        """The padding value."""
        return self.padding_value

    def accumulate_float(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the products of all windows with the kernel."""
        patches, columns = self.patches(x), self.kernel.transpose(2, 0, 1, 3).reshape(-1, self.filters)
        return (patches.reshape(-1, len(columns)) @ columns).reshape(*patches.shape[:3], self.filters)


@record
class DepthwiseConv2D(WindowedLayer):
    """Convolution of each channel of an image with a kernel of its own; ``kernel`` is (kh, kw, C)."""

    KERNELS: ClassVar = {"kernel": "hwC"}

    kernel: Weights

    def accumulator_grid(self, x: TensorType) -> tuple[NDArray, NDArray]:
        """Return each channel's own exponent and scale, as no channels are summed."""
        return x.frac_bits, x.scale

    def accumulate_float(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the products of each channel's windows with its kernel."""
        return np.einsum("nhwcij,ijc->nhwc", self.patches(x), self.kernel)


@record
class SeparableConv2D(WindowedLayer):
    """Depthwise convolution with ``depthwise_kernel`` (kh, kw, C), then pointwise with ``kernel`` (C, F).

    There is no rounding between them. ``weight_scale`` is the product of both kernels' steps; the depthwise kernel has
    one step for all channels.
    """

    KERNELS: ClassVar = {"depthwise_kernel": "hwC", "kernel": "CF"}

    depthwise_kernel: Weights
    kernel: Weights
    accumulator_bits: AccumulatorBits = 31

    def accumulate_float(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the products of each channel's windows with its kernel, mixed by the pointwise kernel."""
        return np.einsum("nhwcij,ijc->nhwc", self.patches(x), self.depthwise_kernel) @ self.kernel

    def accumulate(self, x: NDArray, kind: TensorType, ops: Ops) -> NDArray:
        """Return the sums of the pointwise convolution of those, saturated, of the depthwise one."""
        depthwise = weighted.shifted(self.depthwise_kernel, weighted.input_shift(kind))
        peak, padding = weighted.largest(kind), self.padding_for(*kind.shape[:2])
        middle = weighted.convolve(x, depthwise, peak, ops, self.strides, padding)
        middle = ops.apply_epilogue(middle, Epilogue(value_bits=self.accumulator_bits, dtype=np.int32))
        reach = min(weighted.bound(peak, depthwise), 1 << self.accumulator_bits)
        return weighted.convolve(middle, self.kernel[None, None], reach, ops)
