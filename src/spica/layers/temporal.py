"""Convolutions over time, which hold the last frames in a buffer and make one output for each new frame.

The batch axis of these layers is time. A buffer starts with zeros and goes with the run, never with the network. What
it holds is laid out as an image whose rows are moments and whose columns are all pixels, so that the layer itself is an
ordinary convolution over one column of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.layers.weighted import WeightedLayer
from spica.network.layer import (
    Ops,
    State,
    forward_float,
    forward_integer,
    forward_stateful,
    infer,
    record,
    state_types,
)
from spica.network.types import TensorType


@dataclass(frozen=True, eq=False, kw_only=True)
class Temporal(WeightedLayer):
    """Layer with a buffer of frames. ``forward_float`` and ``forward_integer`` read windows of the last frames."""

    kernel: NDArray
    accumulator_bits: int = 31

    @property
    def frames(self) -> int:
        """Number of frames that one output reads."""
        return len(self.kernel)


@record
class BufferTempConv(Temporal):
    """Convolution over the last T frames of each pixel's channels; ``kernel`` is (T, C, F), oldest frame first."""


@record
class DepthwiseBufferTempConv(Temporal):
    """Convolution over the last T frames of each channel on its own; ``kernel`` is (T, C), oldest frame first."""


def window_shape(layer: Temporal, frame: TensorType) -> tuple[int, int, int]:
    """Return the shape of one window of frames: (T, H * W, C)."""
    height, width, channels = frame.shape
    return layer.frames, height * width, channels


def _infer(layer: Temporal, inputs: Sequence[TensorType], filters: int) -> TensorType:
    x = weighted.one_input(layer, inputs)
    weighted.check_rank(layer, x, 3)
    if layer.kernel.shape[1] != x.channels:
        raise SpicaError(
            f"{layer.name}: kernel expects {layer.kernel.shape[1]} channels, but {layer.inputs[0]!r} has {x.channels}"
        )
    return weighted.output_type(
        layer, x, (*x.shape[:2], filters), x.frac_bits.max(), weighted.accumulator_scale(layer, x)
    )


@infer.register
def _(layer: BufferTempConv, inputs: Sequence[TensorType]) -> TensorType:
    weighted.check_kernel(layer, layer.kernel, 3)
    return _infer(layer, inputs, layer.kernel.shape[2])


@weighted.kernel_channels.register
def _(layer: DepthwiseBufferTempConv) -> weighted.Channels:
    return {"kernel": np.arange(layer.kernel.shape[-1])}


@infer.register
def _(layer: DepthwiseBufferTempConv, inputs: Sequence[TensorType]) -> TensorType:
    weighted.check_kernel(layer, layer.kernel, 2)
    return _infer(layer, inputs, layer.kernel.shape[1])


@state_types.register
def _(layer: Temporal, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """The frames before: (T - 1, H * W, C)."""
    (x,) = inputs
    _, pixels, channels = window_shape(layer, x)
    return (TensorType((layer.frames - 1, pixels, channels), x.bits, x.signed),)


@forward_stateful.register
def _(
    layer: Temporal, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops, state: State
) -> tuple[NDArray, State]:
    windows, past = ops.sliding_window(inputs[0], state[0], layer.frames)
    if types[0].is_float:
        return forward_float(layer, [windows]).reshape(len(windows), *types[0].shape[:2], -1), (past,)
    return forward_integer(layer, [windows], types, ops), (past,)


@forward_float.register
def _(layer: BufferTempConv, inputs: Sequence[NDArray]) -> NDArray:
    """Of windows (N, T, P, C): (N, 1, P, F)."""
    return weighted.apply_epilogue_float(
        layer, np.einsum("ntpc,tcf->npf", inputs[0], layer.kernel, optimize=True)[:, None]
    )


@forward_float.register
def _(layer: DepthwiseBufferTempConv, inputs: Sequence[NDArray]) -> NDArray:
    """Of windows (N, T, P, C): (N, 1, P, C)."""
    return weighted.apply_epilogue_float(layer, np.einsum("ntpc,tc->npc", inputs[0], layer.kernel)[:, None])


NO_PADDING = ((0, 0), (0, 0))


@forward_integer.register
def _(layer: BufferTempConv, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    (kind,) = types
    windows, kernel, peak = weighted.align(inputs[0], layer.kernel[:, None], kind, layer.accumulator_bits, ops)
    bound = weighted.bound(peak, kernel)
    acc = ops.convolve(windows, kernel, (1, 1), NO_PADDING, np.zeros(kind.channels, np.int64), bound)
    return _finished(layer, acc, kind, ops)


@forward_integer.register
def _(layer: DepthwiseBufferTempConv, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    (kind,) = types
    kernel = weighted.shifted(layer.kernel, weighted.input_shift(kind))
    bound = weighted.bound(weighted.largest(kind), kernel)
    return _finished(layer, ops.convolve_depthwise(inputs[0], kernel[:, None], (1, 1), NO_PADDING, bound), kind, ops)


def _finished(layer: Temporal, acc: NDArray, kind: TensorType, ops: Ops) -> NDArray:
    acc = acc.reshape(len(acc), *kind.shape[:2], acc.shape[-1])
    return ops.apply_epilogue(acc, weighted.epilogue_of(layer, acc.shape, infer(layer, [kind])))
