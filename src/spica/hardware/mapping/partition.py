"""Cutting a layer into bands of rows and groups of filters that give the whole layer's integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from spica.engine.runner import Memory, compute
from spica.errors import SpicaError
from spica.layers import (
    DEPTHWISE,
    Attention,
    Conv2D,
    ConvTranspose2D,
    Dense,
    DepthwiseConv2D,
    DepthwiseConvTranspose2D,
    GlobalAverage,
    MadNormalization,
    MaxPool,
    Requantize,
    SeparableConv2D,
    Temporal,
    weighted,
)
from spica.layers.epilogue import output_epilogue, pool_arguments
from spica.network import TensorType
from spica.network.layer import infer, initial_state
from spica.semantics import primitives
from spica.semantics.primitives import Padding, Pair
from spica.semantics.reference import Reference

WindowedLayer = Conv2D | SeparableConv2D | DepthwiseConv2D
Transposed = ConvTranspose2D | DepthwiseConvTranspose2D
Convolution = WindowedLayer | Transposed | Temporal
"""Layers whose rows several NPs can share."""

ByToken = Dense | MadNormalization
"""Layers of which each token is computed alone."""

Cuttable = Convolution | ByToken | Attention
"""Layers that several NPs can share."""


@dataclass(frozen=True)
class Band:
    """Input rows that one NP holds, halo included, and the padding with which they make its output rows.

    Where ``padding`` is ``None`` it is the layer's own.
    """

    rows: range
    padding: Padding | None = None
    pool_padding: Padding = ((0, 0), (0, 0))


def split(size: int, parts: int, step: int = 1) -> tuple[range, ...]:
    """``range(size)`` in ``parts`` pieces whose lengths are multiples of ``step`` and differ by one at most."""
    steps = size // step
    return tuple(range(i * steps // parts * step, (i + 1) * steps // parts * step) for i in range(parts))


def cut_rows(layer: Convolution | ByToken, x: TensorType, parts: int) -> tuple[Band, ...]:
    """The layer's output rows in ``parts`` shares, each with the rows of ``x`` that it needs.

    Where strides leave fewer output rows than parts, some shares are empty. Without pooling a share needs at
    most ``ceil(H / parts)`` rows and the halo; windows that pool may need a few more, which the published
    rule for NPs does not count.
    """
    if isinstance(layer, Transposed | Temporal) and isinstance(layer.pool, MaxPool):
        raise SpicaError(f"{layer.name}: only convolutions with a sliding window are max-pooled in pieces")
    if isinstance(layer, Temporal | ByToken):
        return tuple(Band(rows) for rows in split(x.shape[0], parts))
    if isinstance(layer, Transposed):
        return _cut_transposed(layer, x, parts)
    kernel = layer.depthwise_kernel if isinstance(layer, SeparableConv2D) else layer.kernel
    window: Pair = kernel.shape[:2]
    height, width = weighted.convolved_shape(layer, x, window, layer.strides, layer.padding)
    padding = weighted.padding_of(layer, kernel, x)
    if not isinstance(layer.pool, MaxPool):
        return tuple(_needed(rows, x.shape[0], window, layer.strides, padding) for rows in split(height, parts))
    size, strides, pool_padding = pool_arguments(layer, layer.pool, (1, height, width))
    pooled = primitives.output_size(height, size[0], strides[0], pool_padding[0])
    pools = [_needed(rows, height, size, strides, pool_padding) for rows in split(pooled, parts)]
    convolved = [_needed(pool.rows, x.shape[0], window, layer.strides, padding) for pool in pools]
    return tuple(replace(band, pool_padding=pool.padding or band.pool_padding) for band, pool in zip(convolved, pools))


def _needed(rows: range, height: int, window: Pair, strides: Pair, padding: Padding) -> Band:
    """What the output rows ``rows`` of a sliding window need of an input of ``height`` rows."""
    if not rows:
        return Band(rows, padding)
    first = rows.start * strides[0] - padding[0][0]
    last = (rows.stop - 1) * strides[0] - padding[0][0] + window[0]
    held = range(max(first, 0), min(last, height))
    return Band(held, ((held.start - first, last - held.stop), padding[1]))


def _cut_transposed(layer: Transposed, x: TensorType, parts: int) -> tuple[Band, ...]:
    """As ``cut_rows``; the padding of a band is what it crops from the rows that its kernel reaches."""
    if parts == 1:
        return (Band(range(x.shape[0])),)
    reach, stride = layer.kernel.shape[0], layer.strides[0]
    if reach < stride:
        raise SpicaError(f"{layer.name}: its kernel is smaller than its stride, so its rows cannot be shared out")
    crop = transposed_crop(layer)
    bands = []
    for rows in split(infer(replace(layer, pool=None), [x]).shape[0], parts):
        first, last = rows.start + crop[0][0], rows.stop - 1 + crop[0][0]  # on the grid of all that is reached
        held = range(max(-(-(first - reach + 1) // stride), 0), min(last // stride, x.shape[0] - 1) + 1)
        end = (held.stop - 1) * stride + reach
        bands.append(Band(held, ((first - held.start * stride, end - last - 1), crop[1])) if rows else Band(rows))
    return tuple(bands)


def transposed_crop(layer: Transposed) -> Padding:
    """What a transposed convolution crops from all that its kernel reaches."""
    if isinstance(layer.padding, tuple):
        return layer.padding
    total = [max(k - s, 0) if layer.padding == "same" else 0 for k, s in zip(layer.kernel.shape, layer.strides)]
    top_bottom, left_right = ((t // 2, t - t // 2) for t in total)
    return top_bottom, left_right


Filtered = TypeVar("Filtered", bound=Convolution | Dense)


def take_filters(layer: Filtered, filters: Sequence[int]) -> Filtered:
    """The layer with only some of its filters."""
    cut = np.array(filters)

    def of(values: NDArray | None) -> Any:
        return values[cut] if values is not None and values.ndim == 1 else values

    relu = layer.activation
    return replace(
        layer,
        kernel=layer.kernel[..., cut],
        bias=of(layer.bias),
        weight_scale=of(layer.weight_scale),
        activation=relu and replace(relu, max_value=of(relu.max_value)),
        requantize=_part_of_requantize(layer.requantize, cut),
    )


def _part_of_requantize(stage: Requantize | None, filters: Sequence[int] | NDArray) -> Requantize | None:
    """An output stage for only some of its filters."""
    if stage is None:
        return None
    parts = {name: getattr(stage, name) for name in ("multiplier", "shift", "frac_bits")}
    return replace(stage, **{name: values[filters] if values.ndim else values for name, values in parts.items()})


def forward_pieces(
    layer: Cuttable,
    bands: Sequence[Band],
    groups: Sequence[range],
    read: Sequence[NDArray],
    types: Sequence[TensorType],
    ops: Reference,
    memory: Memory,
) -> NDArray:
    """Output of the layer, computed band by band and group by group.

    A global average needs every row: bands hand on the sums of their potentials, and the output stage follows
    the sum of those.

    Args:
        layer: an integer layer.
        bands: from ``cut_rows``.
        groups: filters of each group.
        read: the layer's inputs ``(N, H, W, C)``, ``(N, T, C)``, or ``(N, C)`` where there is one band.
        types: their types.
        ops: the engine's primitives.
        memory: of the run; each piece of a layer with state keeps its own in it.
    """
    if isinstance(layer, Attention):
        return _attend_in_groups(layer, groups, read, types, ops, memory)
    (x,), (kind,) = read, types
    if isinstance(layer, ByToken):
        return _tokens_in_pieces(layer, bands, groups, x, kind, ops, memory)
    averaged = isinstance(layer.pool, GlobalAverage)
    whole = replace(layer, pool=None, requantize=None) if averaged else layer
    outputs = []
    for i, band in enumerate(bands):
        if not band.rows:
            continue
        made = []
        for j, filters in enumerate(groups):
            own = _with_anchor(kind, filters) if isinstance(layer, DEPTHWISE) else [*filters]
            channels = own if isinstance(layer, DEPTHWISE) else [*range(kind.channels)]
            piece = _with_padding(take_filters(replace(whole, name=f"{layer.name}/{i}/{j}"), own), band)
            held = x[:, band.rows.start : band.rows.stop]
            held = held[..., channels] if len(channels) < kind.channels else held
            part = [_part_of(kind, len(band.rows), channels)]
            if state := initial_state(piece, part):
                memory.states.setdefault(piece.name, state)
            made.append(compute(piece, [held], part, ops, memory)[..., : len(filters)])
        outputs.append(np.concatenate(made, axis=-1))
    if not averaged:
        return np.concatenate(outputs, axis=1)
    total = sum(rows.sum(axis=(1, 2), dtype=np.int64, keepdims=True) for rows in outputs)
    stage = output_epilogue(layer.requantize, infer(layer, [kind]), value_bits=62, average=True)
    return ops.apply_epilogue(np.asarray(total), stage)


def _tokens_in_pieces(
    layer: ByToken,
    bands: Sequence[Band],
    groups: Sequence[range],
    x: NDArray,
    kind: TensorType,
    ops: Reference,
    memory: Memory,
) -> NDArray:
    cut = [take_filters(layer, filters) for filters in groups] if isinstance(layer, Dense) else [layer]
    outputs = []
    for band in bands:
        held = x[:, band.rows.start : band.rows.stop] if len(bands) > 1 else x
        part = replace(kind, shape=held.shape[1:])
        outputs.append(np.concatenate([compute(piece, [held], [part], ops, memory) for piece in cut], axis=-1))
    return np.concatenate(outputs, axis=1)


def _attend_in_groups(
    layer: Attention,
    groups: Sequence[range],
    read: Sequence[NDArray],
    types: Sequence[TensorType],
    ops: Reference,
    memory: Memory,
) -> NDArray:
    size, made = read[0].shape[-1] // layer.heads, []
    for channels in groups:
        held = [np.ascontiguousarray(x[..., channels.start : channels.stop]) for x in read]
        parts = [replace(kind, shape=x.shape[1:]) for x, kind in zip(held, types)]
        piece = replace(
            layer, heads=len(channels) // size, requantize=_part_of_requantize(layer.requantize, [*channels])
        )
        made.append(compute(piece, held, parts, ops, memory))
    return np.concatenate(made, axis=-1)


def _with_anchor(kind: TensorType, filters: range) -> list[int]:
    """Channels of a group, and one of the finest exponent: the accumulators of all groups stand on its grid."""
    finest = int(np.argmax(np.broadcast_to(kind.frac_bits, (kind.channels,))))
    return [*filters] if finest in filters or not kind.frac_bits.ndim else [*filters, finest]


def _part_of(kind: TensorType, rows: int, channels: list[int]) -> TensorType:
    """Type of ``rows`` rows of some channels of a tensor of type ``kind``."""

    def of(values: NDArray) -> NDArray:
        return values[channels] if values.ndim else values

    shape = (rows, kind.shape[1], len(channels))
    return replace(kind, shape=shape, frac_bits=of(kind.frac_bits), scale=of(kind.scale))


def _with_padding(layer: Convolution, band: Band) -> Convolution:
    if band.padding is None or isinstance(layer, Temporal):
        return layer
    pool = layer.pool
    if isinstance(pool, MaxPool):
        pool = replace(pool, padding=band.pool_padding)
    return replace(layer, padding=band.padding, pool=pool)
