"""Activity: the events that a layer receives by row and channel, measured on samples or expected from a density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.network import Network, TensorType

TYPICAL_DENSITY = 0.5
"""Share of non-zero values that a layer is taken to receive where none is given; about that of published networks."""


@dataclass(frozen=True)
class Activity:
    """Events in what a layer receives: images ``(H, W, C)``; a flat input has one row, and a token is a row.

    Packets are gathered by row and channel, so ``runs`` counts the channels that hold any event in a row. Tokens lie
    side by side: those share the channels that hold any event at all.
    """

    events: NDArray[np.float64]  # non-zero values of each sample in each row (N, H)
    runs: NDArray[np.float64]  # channels with events of each sample in each row (N, H)
    by_channel: tuple[NDArray[np.float64], ...]  # events of all samples by row and channel (H, C), of each input
    inputs: int  # values of one sample, zero or not
    counted: bool = False  # on samples, rather than expected from a density
    assumed: bool = False  # whether not even that density is known of the layer


def measure(*inputs: NDArray) -> Activity:
    """Count the events of samples ``(N, H, W, C)``, ``(N, T, C)`` or ``(N, C)`` in all inputs that a layer reads."""
    return _together([_measure(x) for x in inputs])


def _measure(x: NDArray) -> Activity:
    rows = 1 if x.ndim == 2 else x.shape[1]
    by_channel = np.count_nonzero(x.reshape(len(x), rows, -1, x.shape[-1]), axis=2).astype(np.float64)
    runs = np.count_nonzero(by_channel, axis=2).astype(np.float64)
    if x.ndim == 3:
        used = np.count_nonzero(by_channel.any(axis=1), axis=1)
        runs = np.repeat(used[:, None] / rows, rows, axis=1)
    return Activity(by_channel.sum(axis=2), runs, (by_channel.sum(axis=0),), x[0].size, counted=True)


def expect(kinds: Sequence[TensorType], density: float) -> Activity:
    """Return the mean activity of inputs of these types whose values are non-zero with probability ``density`` each."""
    return _together([_expect(kind, density) for kind in kinds])


def _expect(kind: TensorType, density: float) -> Activity:
    tokens = len(kind.shape) == 2
    shape = (kind.shape[0], 1, kind.shape[1]) if tokens else kind.shape
    height, width, channels = shape if len(shape) == 3 else (1, 1, prod(shape))
    shared = height if tokens else 1
    events = np.full((1, height), width * channels * density)
    runs = np.full((1, height), channels * (1 - (1 - density) ** (width * shared)) / shared)
    return Activity(events, runs, (np.full((height, channels), width * density),), height * width * channels)


def _together(parts: Sequence[Activity]) -> Activity:
    """Return the activity of all that a layer reads; its inputs have as many rows."""
    return Activity(
        np.sum([part.events for part in parts], axis=0),
        np.sum([part.runs for part in parts], axis=0),
        tuple(events for part in parts for events in part.by_channel),
        sum(part.inputs for part in parts),
        all(part.counted for part in parts),
    )


def join(parts: Sequence[Activity]) -> Activity:
    """Return the activity of all samples of a run, whose batches were measured one by one."""
    return Activity(
        np.concatenate([part.events for part in parts]),
        np.concatenate([part.runs for part in parts]),
        tuple(np.sum(each, axis=0) for each in zip(*(part.by_channel for part in parts))),
        parts[0].inputs,
        all(part.counted for part in parts),
    )


def expected_activity(net: Network, density: float | Mapping[str, float]) -> dict[str, Activity]:
    """Return the activity of each layer if a share ``density`` of its inputs is not zero.

    One density for all layers, or that of a layer which a mapping leaves out, is assumed: estimates say so.

    Raises:
        SpicaError: for an unknown layer, or a density that is not a share of 0 to 1.
    """
    by_layer = density if isinstance(density, Mapping) else dict.fromkeys(net.types, density)
    for name, value in by_layer.items():
        if name not in net.types:
            raise SpicaError(f"density: {name!r} is not a layer of {net.name}")
        if not (isinstance(value, int | float | np.floating) and 0 <= value <= 1):
            raise SpicaError(f"density of {name} is {value!r}, but must be a share of 0 to 1")
    known = by_layer if isinstance(density, Mapping) else {}
    return {
        layer.name: replace(
            expect(net.input_types(layer), float(by_layer.get(layer.name, TYPICAL_DENSITY))),
            assumed=layer.name not in known,
        )
        for layer in net
        if layer.inputs
    }
