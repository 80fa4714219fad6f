"""The native engine: the primitives in C++, vectorised, on several threads, without the interpreter's lock."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spica.engine import _native  # type: ignore[attr-defined]
from spica.engine.reference import Reference
from spica.errors import SpicaError
from spica.layers.arithmetic import EXACT_FLOAT64, Padding, Pair, Stage

INT32_MAX = (1 << 31) - 1


class Native(Reference):
    """Integer primitives on ``threads`` threads. Same integers as the reference, always."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def convolve(
        self, x: NDArray, kernel: NDArray, strides: Pair, padding: Padding, fill: NDArray, bound: int
    ) -> NDArray:
        accumulate, wide = _width(bound, _native.convolve32, _native.convolve64)
        return accumulate(
            np.ascontiguousarray(x, np.int32),
            np.ascontiguousarray(kernel, wide),
            strides,
            padding[0],
            padding[1],
            np.ascontiguousarray(fill, np.int32),
            self.threads,
        )

    def convolve_depthwise(self, x: NDArray, kernel: NDArray, strides: Pair, padding: Padding, bound: int) -> NDArray:
        accumulate, wide = _width(bound, _native.depthwise32, _native.depthwise64)
        return accumulate(
            np.ascontiguousarray(x, np.int32),
            np.ascontiguousarray(kernel, wide),
            strides,
            padding[0],
            padding[1],
            self.threads,
        )

    def finish(self, acc: NDArray, stage: Stage) -> NDArray:
        image = acc if acc.ndim == 4 else acc.reshape(-1, 1, 1, acc.shape[-1])
        channels = image.shape[3]
        size, strides, padding = stage.pool or ((1, 1), (1, 1), ((0, 0), (0, 0)))
        per_channel = [_channels(v, channels) for v in (stage.bias, stage.ceiling, stage.multiplier, stage.shift)]
        wide = np.dtype(stage.dtype).itemsize > 4
        if image.dtype not in (np.int32, np.int64):
            image = image.astype(np.int32 if image.dtype.itemsize < 4 else np.int64)
        y = (_native.finish64 if image.dtype == np.int64 else _native.finish32)(
            np.ascontiguousarray(image),
            *per_channel,
            size,
            strides,
            padding[0],
            padding[1],
            stage.value_bits,
            stage.relu,
            stage.average,
            stage.buffer_bits,
            stage.low,
            stage.high,
            wide,
            self.threads,
        )
        if stage.average:
            return y[:, 0, 0]
        return y if acc.ndim == 4 else y.reshape(acc.shape)


def _width(bound: int, narrow, wide):
    """The 32-bit kernel where no sum can leave 32 bits, the 64-bit one otherwise, and its weights' type."""
    if bound >= EXACT_FLOAT64:
        raise SpicaError(f"a sum of products may reach {bound:.3g}, beyond what any accumulator holds")
    return (narrow, np.int32) if bound <= INT32_MAX else (wide, np.int64)


def _channels(values: NDArray | None, channels: int) -> NDArray | None:
    """One int64 for each channel, or none."""
    return None if values is None else np.ascontiguousarray(np.broadcast_to(values, (channels,)), np.int64)
