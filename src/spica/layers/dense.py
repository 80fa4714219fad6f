"""Fully connected layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spica.layers import weighted
from spica.layers.weighted import WeightedLayer
from spica.network.fields import Weights
from spica.network.layer import Ops, record
from spica.network.types import TensorType


@record
class Dense(WeightedLayer):
    """Matrix product of the last axis with ``kernel`` (C, F). Hardware takes it on vectors ``(C,)`` only."""

    kernel: Weights

    def accumulator_shape(self, x: TensorType) -> tuple[int, ...]:
        """Return the input's shape with filters in place of channels."""
        return (*x.shape[:-1], self.filters)

    def accumulate_float(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the matrix product."""
        return x @ self.kernel

    def accumulate(self, x: NDArray, kind: TensorType, ops: Ops) -> NDArray:
        """Return the sums of a pointwise convolution: a vector is an image of one pixel, tokens are one row."""
        x, kernel, peak = weighted.align(self, x, self.kernel, kind, ops)
        acc = weighted.convolve(x.reshape(len(x), 1, -1, kind.channels), kernel[None, None], peak, ops)
        return acc.reshape(*x.shape[:-1], -1)
