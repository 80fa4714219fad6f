"""Cut a layer into bands of rows and groups of filters, and compute it tile by tile: the whole layer's integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from spica import layers
from spica.engine.runner import Memory, compute
from spica.errors import SpicaError
from spica.hardware.mapping.placement import Band, Placement
from spica.layers.epilogue import output_epilogue, pool_arguments
from spica.layers.transposed import Transposed
from spica.layers.weighted import WeightedLayer, WindowedLayer, convolved_shape
from spica.network import TensorType
from spica.network.layer import infer, initial_state
from spica.semantics import primitives
from spica.semantics.primitives import Padding, Pair
from spica.semantics.reference import Reference


def split(size: int, parts: int, step: int = 1) -> tuple[range, ...]:
    """Return ``range(size)`` in ``parts`` ranges whose lengths are multiples of ``step`` and differ by one at most."""
    steps = size // step
    return tuple(range(i * steps // parts * step, (i + 1) * steps // parts * step) for i in range(parts))


# -- bands of rows ---------------------------------------------------------------------------------------------------


@singledispatch
def cut_rows(layer: Any, x: TensorType, parts: int) -> tuple[Band, ...]:
    """Return the layer's output rows in ``parts`` shares, each with the rows of ``x`` that it needs.

    Rows (or tokens) of most layers are computed each alone. Where strides leave fewer output rows than parts, some
    shares are empty. Without pooling a share needs at most ``ceil(H / parts)`` rows and the halo; windows that pool may
    need a few more, which the published rule for NPs does not count.
    """
    return tuple(Band(rows) for rows in split(x.shape[0], parts))


@cut_rows.register
def _(layer: layers.Temporal, x: TensorType, parts: int) -> tuple[Band, ...]:
    _refuse_max_pool(layer)
    return tuple(Band(rows) for rows in split(x.shape[0], parts))


@cut_rows.register
def _(layer: WindowedLayer, x: TensorType, parts: int) -> tuple[Band, ...]:
    window, strides, rows_in = layer.window, layer.strides, x.shape[0]
    height, width = convolved_shape(layer, x, window, strides, layer.padding)
    padding = primitives.resolve_padding(layer.padding, (rows_in, x.shape[1]), window, strides, layer.name)
    if not isinstance(layer.pool, layers.MaxPool):
        return tuple(_needed(rows, rows_in, window, strides, padding) for rows in split(height, parts))
    size, pool_strides, pool_padding = pool_arguments(layer, layer.pool, (1, height, width))
    pooled = primitives.output_size(height, size[0], pool_strides[0], pool_padding[0])
    pools = [_needed(rows, height, size, pool_strides, pool_padding) for rows in split(pooled, parts)]
    convolved = [_needed(pool.rows, rows_in, window, strides, padding) for pool in pools]
    return tuple(replace(band, pool_padding=pool.padding or band.pool_padding) for band, pool in zip(convolved, pools))


def _needed(rows: range, height: int, window: Pair, strides: Pair, padding: Padding) -> Band:
    """Return what the output rows ``rows`` of a sliding window need of an input of ``height`` rows."""
    if not rows:
        return Band(rows, padding)
    first = rows.start * strides[0] - padding[0][0]
    last = rows[-1] * strides[0] - padding[0][0] + window[0]
    held = range(max(first, 0), min(last, height))
    return Band(held, ((held.start - first, last - held.stop), padding[1]))


@cut_rows.register
def _(layer: Transposed, x: TensorType, parts: int) -> tuple[Band, ...]:
    # The padding of a band is what it crops from the rows that its kernel reaches.
    _refuse_max_pool(layer)
    reach, stride = layer.kernel.shape[0], layer.strides[0]
    if reach < stride:
        raise SpicaError(
            f"{layer.name}: its rows cannot be shared by {parts} NPs, as its kernel ({reach} rows) is smaller than its "
            f"stride ({stride}); use a kernel of at least the stride"
        )
    crop, bands = layer.crop, []
    for rows in split(infer(replace(layer, pool=None), [x]).shape[0], parts):
        first, last = rows.start + crop[0][0], rows.stop - 1 + crop[0][0]  # on the grid of all that is reached
        held = range(max(-(-(first - reach + 1) // stride), 0), min(last // stride, x.shape[0] - 1) + 1)
        end = (held.stop - 1) * stride + reach
        bands.append(Band(held, ((first - held.start * stride, end - last - 1), crop[1])) if rows else Band(rows))
    return tuple(bands)


def _refuse_max_pool(layer: WeightedLayer) -> None:
    if isinstance(layer.pool, layers.MaxPool):
        raise SpicaError(
            f"{layer.name}: max pooling in a {type(layer).__name__} cannot be shared by several NPs; "
            "pool in a convolution with a sliding window"
        )


# -- groups of filters -----------------------------------------------------------------------------------------------

Filtered = TypeVar("Filtered", bound=WeightedLayer)


def take_filters(layer: Filtered, filters: Sequence[int]) -> Filtered:
    """Return the layer with only some of its filters."""
    cut = np.array(filters)
    relu = layer.activation and _take(layer.activation, cut, "max_value")
    epilogue = layer.requantize and _take(layer.requantize, cut, *BY_FILTER)
    kernel = layer.kernel[..., cut]  # type: ignore[attr-defined]
    return _take(layer, cut, "bias", "weight_scale", kernel=kernel, activation=relu, requantize=epilogue)


BY_FILTER = ("multiplier", "shift", "frac_bits")
"""Fields of an output stage that may have an entry for each filter."""


def _take(record: Any, entries: NDArray, *names: str, **changes: Any) -> Any:
    """Return a record whose fields ``names``, where they have an entry for each channel, have only some of those."""
    fields = {name: getattr(record, name) for name in names}
    return replace(record, **{name: a[entries] for name, a in fields.items() if a is not None and a.ndim}, **changes)


# -- running tile by tile --------------------------------------------------------------------------------------------

Arrays = Sequence[NDArray]
Types = Sequence[TensorType]
Attention = layers.Attention
Normalization = layers.MadNormalization


@singledispatch
def run_tiles(layer: Any, place: Placement, inputs: Arrays, types: Types, ops: Reference, memory: Memory) -> NDArray:
    """Return the output of a layer that several NPs share, computed band by band and group by group.

    A global average needs every row: bands hand on the sums of their accumulators, and the epilogue follows the sum
    of those.

    Args:
        layer: an integer layer.
        place: its bands and groups.
        inputs: arrays ``(N, H, W, C)``, ``(N, T, C)``, or ``(N, C)`` where there is one band.
        types: their types.
        ops: the engine's primitives.
        memory: of the run; each tile of a layer with state keeps its own in it.
    """
    raise SpicaError(f"{layer.name}: a {type(layer).__name__} cannot be shared by several NPs; map it to one")


@run_tiles.register
def _(layer: WeightedLayer, place: Placement, inputs: Arrays, types: Types, ops: Reference, memory: Memory) -> NDArray:
    (x,), (kind,) = inputs, types
    averaged = isinstance(layer.pool, layers.GlobalAverage)
    whole = replace(layer, pool=None, requantize=None) if averaged else layer
    outputs = []
    for i, band in enumerate(place.bands):
        if not band.rows:
            continue
        rows, made = x[:, band.rows.start : band.rows.stop] if len(place.bands) > 1 else x, []
        for j, filters in enumerate(place.groups):
            own = _with_anchor(kind, filters) if place.spec.channelwise else [*filters]
            channels = own if place.spec.channelwise else [*range(kind.channels)]
            tile = _with_padding(take_filters(replace(whole, name=f"{layer.name}/{i}/{j}"), own), band)
            held = rows[..., channels] if len(channels) < kind.channels else rows
            part = [_take(kind, np.array(channels), "frac_bits", "scale", shape=held.shape[1:])]
            if state := initial_state(tile, part):
                memory.states.setdefault(tile.name, state)
            made.append(compute(tile, [held], part, ops, memory)[..., : len(filters)])
        outputs.append(np.concatenate(made, axis=-1))
    if not averaged:
        return np.concatenate(outputs, axis=1)
    total = sum(rows.sum(axis=(1, 2), dtype=np.int64, keepdims=True) for rows in outputs)
    epilogue = output_epilogue(layer.requantize, infer(layer, [kind]), value_bits=62, average=True)
    return ops.apply_epilogue(np.asarray(total), epilogue)


@run_tiles.register
def _(layer: Normalization, place: Placement, inputs: Arrays, types: Types, ops: Reference, memory: Memory) -> NDArray:
    held = [inputs[0][:, band.rows.start : band.rows.stop] for band in place.bands]
    made = [compute(layer, [x], [replace(types[0], shape=x.shape[1:])], ops, memory) for x in held]
    return np.concatenate(made, axis=1)


@run_tiles.register
def _(layer: Attention, place: Placement, inputs: Arrays, types: Types, ops: Reference, memory: Memory) -> NDArray:
    size, made = inputs[0].shape[-1] // layer.heads, []
    for channels in place.groups:
        held = [np.ascontiguousarray(x[..., channels.start : channels.stop]) for x in inputs]
        parts = [replace(kind, shape=x.shape[1:]) for x, kind in zip(held, types)]
        epilogue = layer.requantize and _take(layer.requantize, np.array(channels), *BY_FILTER)
        tile = replace(layer, heads=len(channels) // size, requantize=epilogue)
        made.append(compute(tile, held, parts, ops, memory))
    return np.concatenate(made, axis=-1)


def _with_anchor(kind: TensorType, filters: range) -> list[int]:
    """Return a group's channels and one of the finest exponent: the accumulators of all groups stand on its grid."""
    finest = int(np.argmax(np.broadcast_to(kind.frac_bits, (kind.channels,))))
    return [*filters] if finest in filters or not kind.frac_bits.ndim else [*filters, finest]


def _with_padding(layer: Filtered, band: Band) -> Filtered:
    """Return the layer with the padding of a band, its pooling's too."""
    if band.padding is None:
        return layer
    pool = replace(layer.pool, padding=band.pool_padding) if isinstance(layer.pool, layers.MaxPool) else layer.pool
    return replace(layer, padding=band.padding, pool=pool)  # type: ignore[call-arg]
