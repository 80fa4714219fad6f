"""Cutting a layer into bands of rows and groups of filters that give the whole layer's integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.layers import Conv2D, GlobalAverage, MaxPool, SeparableConv2D, arithmetic, neural
from spica.layers.arithmetic import Padding, Pair
from spica.network import TensorType
from spica.network.record import Ops, forward_integer, infer

Convolution = Conv2D | SeparableConv2D
"""Layers that several NPs can share."""


@dataclass(frozen=True)
class Band:
    """Input rows that one NP holds, halo included, and the padding with which they make its output rows."""

    rows: range
    padding: Padding
    pool_padding: Padding = ((0, 0), (0, 0))


def split(size: int, parts: int) -> tuple[range, ...]:
    """``range(size)`` in ``parts`` pieces whose lengths differ by one at most."""
    return tuple(range(i * size // parts, (i + 1) * size // parts) for i in range(parts))


def cut_rows(layer: Convolution, x: TensorType, parts: int) -> tuple[Band, ...]:
    """The layer's output rows in ``parts`` shares, each with the rows of ``x`` that it needs.

    Where strides leave fewer output rows than parts, some shares are empty. Without pooling a share needs at
    most ``ceil(H / parts)`` rows and the halo; windows that pool may need a few more, which the published
    rule for NPs does not count.
    """
    kernel = layer.kernel if isinstance(layer, Conv2D) else layer.depthwise_kernel
    window: Pair = kernel.shape[:2]
    height, width = neural.convolved_shape(layer, x, window, layer.strides, layer.padding)
    padding = neural.padding_of(layer, kernel, x)
    if not isinstance(layer.pool, MaxPool):
        return tuple(_needed(rows, x.shape[0], window, layer.strides, padding) for rows in split(height, parts))
    size, strides, pool_padding = neural.pool_stage(layer, layer.pool, (1, height, width))
    pooled = arithmetic.output_size(height, size[0], strides[0], pool_padding[0])
    pools = [_needed(rows, height, size, strides, pool_padding) for rows in split(pooled, parts)]
    convolved = [_needed(pool.rows, x.shape[0], window, layer.strides, padding) for pool in pools]
    return tuple(replace(band, pool_padding=pool.padding) for band, pool in zip(convolved, pools))


def _needed(rows: range, height: int, window: Pair, strides: Pair, padding: Padding) -> Band:
    """What the output rows ``rows`` of a sliding window need of an input of ``height`` rows."""
    if not rows:
        return Band(rows, padding)
    first = rows.start * strides[0] - padding[0][0]
    last = (rows.stop - 1) * strides[0] - padding[0][0] + window[0]
    held = range(max(first, 0), min(last, height))
    return Band(held, ((held.start - first, last - held.stop), padding[1]))


def take_filters(layer: Convolution, filters: range) -> Convolution:
    """The layer with only some of its filters."""
    cut = slice(filters.start, filters.stop)

    def of(values: NDArray | None) -> Any:
        return values[cut] if values is not None and values.ndim == 1 else values

    stage, relu = layer.requantize, layer.activation
    return replace(
        layer,
        kernel=layer.kernel[..., cut],
        bias=of(layer.bias),
        weight_scale=of(layer.weight_scale),
        activation=relu and replace(relu, max_value=of(relu.max_value)),
        requantize=stage
        and replace(stage, multiplier=of(stage.multiplier), shift=of(stage.shift), frac_bits=of(stage.frac_bits)),
    )


def forward_pieces(
    layer: Convolution, bands: Sequence[Band], groups: Sequence[range], x: NDArray, kind: TensorType, ops: Ops
) -> NDArray:
    """Output of the layer, computed band by band and group by group.

    A global average needs every row: bands hand on the sums of their potentials, and the output stage follows
    the sum of those.

    Args:
        layer: an integer layer.
        bands: from ``cut_rows``.
        groups: filters of each group.
        x: the layer's input ``(N, H, W, C)``.
        kind: its type.
        ops: the engine's primitives.
    """
    averaged = isinstance(layer.pool, GlobalAverage)
    piece = replace(layer, pool=None, requantize=None) if averaged else layer
    parts = [take_filters(piece, filters) for filters in groups]
    outputs = []
    for band in (b for b in bands if b.rows):
        held = x[:, band.rows.start : band.rows.stop]
        types = [replace(kind, shape=(len(band.rows), *kind.shape[1:]))]
        made = [forward_integer(_with_padding(part, band), [held], types, ops) for part in parts]
        outputs.append(np.concatenate(made, axis=-1))
    if not averaged:
        return np.concatenate(outputs, axis=1)
    total = sum(rows.sum(axis=(1, 2), dtype=np.int64, keepdims=True) for rows in outputs)
    stage = neural.output_stage(layer.requantize, infer(layer, [kind]), value_bits=62, average=True)
    return ops.finish(np.asarray(total), stage)


def _with_padding(layer: Convolution, band: Band) -> Convolution:
    pool = layer.pool
    if isinstance(pool, MaxPool):
        pool = replace(pool, padding=band.pool_padding)
    return replace(layer, padding=band.padding, pool=pool)
