"""Convolutions over time, which hold the last frames in a buffer and make one output for each new frame.

The batch axis of these layers is time. A buffer starts with zeros and goes with the run, never with the network. What
it holds is laid out as an image whose rows are moments and whose columns are all pixels, so that the layer itself is an
ordinary convolution over one column of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from spica.layers import weighted
from spica.layers.weighted import WeightedLayer
from spica.network.fields import AccumulatorBits, Weights
from spica.network.layer import Ops, State, forward_float, forward_integer, forward_stateful, record, state_types
from spica.network.types import TensorType, check_size


@dataclass(frozen=True, eq=False, kw_only=True)
class Temporal(WeightedLayer):
    """Layer with a buffer of frames; its accumulators, as both forward functions, are those of windows (N, T, P, C)."""

    kernel: Weights
    accumulator_bits: AccumulatorBits = 31

    @property
    def frames(self) -> int:
        """Number of frames that one output reads."""
        return len(self.kernel)

    def accumulator_shape(self, x: TensorType) -> tuple[int, ...]:
        """Return the shape of a frame with the layer's filters."""
        weighted.check_rank(self, x, 3)
        check_size((self.frames, *x.shape), self.name)
        return (*x.shape[:2], self.filters)

    def accumulate_float(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the products of windows with the kernel, (N, 1, P, F)."""
        if weighted.is_depthwise(self):
            return np.einsum("ntpc,tc->npc", x, self.kernel)[:, None]
        return np.einsum("ntpc,tcf->npf", x, self.kernel, optimize=True)[:, None]

    def accumulate(self, x: NDArray, kind: TensorType, ops: Ops) -> NDArray:
        """Return the sums of a convolution over windows, in the shape of a frame."""
        x, kernel, peak = weighted.align(self, x, self.kernel[:, None], kind, ops)
        return weighted.convolve(x, kernel, peak, ops).reshape(len(x), *self.accumulator_shape(kind))


@record
class BufferTempConv(Temporal):
    """Convolution over the last T frames of each pixel's channels; ``kernel`` is (T, C, F), oldest frame first."""

    KERNELS: ClassVar = {"kernel": "tCF"}


@record
class DepthwiseBufferTempConv(Temporal):
    """Convolution over the last T frames of each channel on its own; ``kernel`` is (T, C), oldest frame first."""

    KERNELS: ClassVar = {"kernel": "tC"}


def window_shape(layer: Temporal, frame: TensorType) -> tuple[int, int, int]:
    """Return the shape of one window of frames: (T, H * W, C)."""
    height, width, channels = frame.shape
    return layer.frames, height * width, channels


@state_types.register
def _(layer: Temporal, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """The frames before: (T - 1, H * W, C)."""
    (x,) = inputs
    frames, pixels, channels = window_shape(layer, x)
    return (TensorType((frames - 1, pixels, channels), x.bits, x.signed),)


@forward_stateful.register
def _(
    layer: Temporal, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops, state: State
) -> tuple[NDArray, State]:
    windows, past = ops.sliding_window(inputs[0], state[0], layer.frames)
    if types[0].is_float:
        return forward_float(layer, [windows]).reshape(len(windows), *types[0].shape[:2], -1), (past,)
    return forward_integer(layer, [windows], types, ops), (past,)
