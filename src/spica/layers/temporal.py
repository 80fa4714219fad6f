"""Convolutions over time: they hold the last frames in a buffer and make one output for each new frame.

The batch axis of these layers is time. A buffer starts with zeros and goes with the run, never with the network.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import neural
from spica.layers.neural import Neural
from spica.network.record import Facts, Ops, State, facts, forward_stateful, infer, initial_state, record
from spica.network.tensor import TensorType


@record
class BufferTempConv(Neural):
    """Sum over the last T frames of each pixel's channels, with ``kernel`` (T, C, F), oldest frame first."""

    kernel: NDArray
    accumulator_bits: int = 31


@record
class DepthwiseBufferTempConv(Neural):
    """Sum over the last T frames of each value on its own, with ``kernel`` (T, C), oldest frame first."""

    kernel: NDArray
    accumulator_bits: int = 31


Temporal = BufferTempConv | DepthwiseBufferTempConv


def _infer(layer: Temporal, inputs: Sequence[TensorType], filters: int) -> TensorType:
    x = neural.one_input(layer, inputs)
    neural.check_rank(layer, x, 3)
    if layer.kernel.shape[1] != x.channels:
        raise SpicaError(
            f"{layer.name}: kernel expects {layer.kernel.shape[1]} channels, but {layer.inputs[0]!r} has {x.channels}"
        )
    return neural.finish_type(layer, x, (*x.shape[:2], filters), x.frac_bits.max(), neural.accumulator_scale(layer, x))


@infer.register
def _(layer: BufferTempConv, inputs: Sequence[TensorType]) -> TensorType:
    neural.check_kernel(layer, layer.kernel, 3)
    return _infer(layer, inputs, layer.kernel.shape[2])


@infer.register
def _(layer: DepthwiseBufferTempConv, inputs: Sequence[TensorType]) -> TensorType:
    neural.check_kernel(layer, layer.kernel, 2)
    return _infer(layer, inputs, layer.kernel.shape[1])


@initial_state.register(BufferTempConv)
@initial_state.register(DepthwiseBufferTempConv)
def _(layer: Temporal, inputs: Sequence[TensorType]) -> State:
    """The frames before the first: zeros (T - 1, H, W, C)."""
    return (np.zeros((len(layer.kernel) - 1, *inputs[0].shape), inputs[0].dtype),)


def _frames(layer: Temporal, x: NDArray, state: State) -> tuple[NDArray, State]:
    """The last T frames at each moment (N, T, H, W, C), and the state after the last one."""
    depth = len(layer.kernel)
    history = np.concatenate([state[0], x])
    return np.stack([history[i : i + len(x)] for i in range(depth)], axis=1), (history[len(x) :],)


@forward_stateful.register
def _(
    layer: BufferTempConv, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops, state: State
) -> tuple[NDArray, State]:
    frames, state = _frames(layer, inputs[0], state)
    n, depth, h, w, c = frames.shape

    def flat(frames: NDArray) -> NDArray:
        return frames.transpose(0, 2, 3, 1, 4).reshape(n, h, w, depth * c)

    if types[0].is_float:
        return neural.finish_float(layer, flat(frames) @ layer.kernel.reshape(depth * c, -1)), state
    frames, kernel, peak = neural.align(frames, layer.kernel, types[0], layer.accumulator_bits, ops)
    stacked, kernel = flat(frames), kernel.reshape(1, 1, depth * c, -1)
    bound = neural.bound(peak, kernel)
    acc = ops.convolve(stacked, kernel, (1, 1), ((0, 0), (0, 0)), np.zeros(depth * c, np.int64), bound)
    return ops.finish(acc, neural.stage(layer, acc.shape, infer(layer, types))), state


@forward_stateful.register
def _(
    layer: DepthwiseBufferTempConv, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops, state: State
) -> tuple[NDArray, State]:
    frames, state = _frames(layer, inputs[0], state)
    if types[0].is_float:
        return neural.finish_float(layer, np.einsum("nthwc,tc->nhwc", frames, layer.kernel)), state
    kernel = neural.shifted(layer.kernel, neural.input_shift(types[0]))
    n, depth, h, w, c = frames.shape
    # Time becomes the window's height, and all pixels its width.
    column = frames.reshape(n, depth, h * w, c)
    bound = neural.bound(neural.largest(types[0]), kernel)
    acc = ops.convolve_depthwise(column, kernel[:, None], (1, 1), ((0, 0), (0, 0)), bound).reshape(n, h, w, c)
    return ops.finish(acc, neural.stage(layer, acc.shape, infer(layer, types))), state


@facts.register(BufferTempConv)
@facts.register(DepthwiseBufferTempConv)
def _(layer: Temporal, inputs: Sequence[TensorType], output: TensorType) -> Facts:
    (x,) = inputs
    depthwise = isinstance(layer, DepthwiseBufferTempConv)
    depth = len(layer.kernel)
    return Facts(
        kind="depthwise_temporal_convolution" if depthwise else "temporal_convolution",
        limits=neural.neural_limits(layer, x, output) | {"fifo": depth},
        macs=x.shape[0] * x.shape[1] * layer.kernel.size,
        outputs=x.shape[0] * x.shape[1] * output.channels,
        fan_out=depth * (1 if depthwise else output.channels),
        weight_bits_per_filter=layer.kernel.size // output.channels * (layer.weight_bits or 32),
        filters=output.channels,
    )
