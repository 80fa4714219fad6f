"""Layer records, and the semantics of a layer as functions chosen by the record's type.

A layer is a frozen dataclass of plain fields. Its semantics are the ``functools.singledispatch`` functions below, each
with one implementation per record, in the file that defines the record: ``infer`` (shape and format of the output),
``forward_float``, ``forward_integer``, ``macs``, and ``state_types`` and ``forward_stateful`` for layers with a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any, Protocol, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import DTypeLike, NDArray

from spica.errors import SpicaError
from spica.network.fields import settle
from spica.network.types import TensorType

RECORDS: dict[str, type[Any]] = {}
"""Every record class that a network or its file may hold, by name."""

R = TypeVar("R", bound=type)


@dataclass_transform(frozen_default=True, eq_default=False, kw_only_default=True)
def record(cls: R) -> R:
    """Make a class a frozen dataclass of plain values and register it, so that networks and their files may hold it."""
    cls.__post_init__ = settle  # type: ignore[attr-defined]
    cls = dataclass(frozen=True, eq=False, kw_only=True)(cls)  # type: ignore[assignment]
    RECORDS[cls.__name__] = cls
    return cls


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """A node of the graph; its output tensor has the node's name.

    Attributes:
        name: unique in the network.
        inputs: names of the tensors that it reads; empty for a network's input.
    """

    name: str
    inputs: tuple[str, ...]


class Ops(Protocol):
    """The integer primitives that an engine provides.

    ``semantics.primitives`` defines each of them exactly. Arrays are ``(N, H, W, C)`` or ``(N, ..., C)`` integers; of a
    stateful layer, N counts frames. It stands here, not in ``semantics``, because the semantics below name it.
    """

    def convolve(
        self, x: NDArray, kernel: NDArray, strides: tuple[int, int], padding: tuple, fill: NDArray, bound: int
    ) -> NDArray:
        """Convolve ``x`` with ``kernel`` (kh, kw, C, F); borders hold ``fill``, no sum passes ``bound``."""

    def convolve_depthwise(
        self, x: NDArray, kernel: NDArray, strides: tuple[int, int], padding: tuple, bound: int
    ) -> NDArray:
        """Convolve each channel of ``x`` with its own ``kernel`` (kh, kw, C)."""

    def add(self, a: NDArray, b: NDArray, shifts: tuple[NDArray, NDArray], value_bits: int) -> NDArray:
        """Add two tensors after shifting each to the left, saturated to ``value_bits``."""

    def multiply(self, a: NDArray, b: NDArray) -> NDArray:
        """Multiply two tensors; the second may have axes of one."""

    def look_up(self, x: NDArray, table: NDArray, lowest: int) -> NDArray:
        """Replace each value by its entry in ``table``, whose first entry is that of ``lowest``."""

    def apply_epilogue(self, acc: NDArray, epilogue: Any) -> NDArray:
        """Take accumulators through bias, pooling, rectifier, average and output stage."""

    def concatenate(self, arrays: Sequence[NDArray], dtype: DTypeLike) -> NDArray:
        """Join tensors along the channels."""

    def permute(self, x: NDArray, axes: tuple[int, ...]) -> NDArray:
        """Reorder the axes behind the batch."""

    def take(self, x: NDArray, axis: int, positions: range) -> NDArray:
        """Keep some positions of one axis."""

    def gather(self, x: NDArray, positions: NDArray, shape: tuple[int, ...]) -> NDArray:
        """Put the values at some positions, or zeros, in another order and shape."""

    def to_float(self, x: NDArray, kind: TensorType) -> NDArray:
        """Return the real numbers (float32) that integers of a type stand for."""

    def dilate(self, x: NDArray, strides: tuple[int, int], padding: tuple) -> NDArray:
        """Put zeros between the pixels of ``x`` and around it, as a transposed convolution reads it."""

    def sliding_window(self, x: NDArray, past: NDArray, frames: int) -> tuple[NDArray, NDArray]:
        """Return for each frame the window of the last ``frames`` ones, and the frames to keep for the next batch."""

    def scan(
        self, x: NDArray, state: tuple, factor: tuple, arrive: Any, leave: Any, bits: int
    ) -> tuple[NDArray, tuple]:
        """Run a complex linear recurrence over the frames; return the outputs and the last state."""

    def normalise(self, x: NDArray) -> NDArray:
        """Normalise each token by its mean and mean absolute deviation."""

    def attend(self, q: NDArray, k: NDArray, v: NDArray, heads: int, multiplier: int, shift: int) -> NDArray:
        """Compute multi-head attention on integers."""


@singledispatch
def check_together(layer: Any) -> None:
    """Check what the fields of a layer must be together; each by itself is checked by its declaration.

    Raises:
        SpicaError: naming the layer and a field.
    """


@singledispatch
def infer(layer: Any, inputs: Sequence[TensorType]) -> TensorType:
    """Return the type of a layer's output for inputs of the given types.

    Raises:
        SpicaError: where the layer does not fit them.
    """
    raise SpicaError(f"{getattr(layer, 'name', layer)}: {type(layer).__name__} is not a layer that Spica knows")


@singledispatch
def forward_float(layer: Any, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Compute a layer on float32 arrays with a batch axis."""
    raise SpicaError(f"{layer.name}: {type(layer).__name__} has no float semantics; it is for integer networks only")


@singledispatch
def forward_integer(layer: Any, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    """Compute a layer on integer arrays (int32) with a batch axis, using an engine's primitives."""
    raise SpicaError(f"{layer.name}: {type(layer).__name__} has no integer semantics; remove it before quantising")


State = tuple[NDArray, ...]
"""The state of a stateful layer between two batches; the first axis of each array counts streams."""


@singledispatch
def state_types(layer: Any, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Return the types of a layer's state; none for a layer without.

    The batch axis of a stateful layer is time: the frames of the first stream, then as many of the second, and so on.
    """
    return ()


def initial_state(layer: Layer, inputs: Sequence[TensorType], streams: int = 1) -> State:
    """Return the state that a layer starts from: zeros of shape ``(streams, ...)``, one array for each state type."""
    return tuple(np.zeros((streams, *kind.shape), kind.dtype) for kind in state_types(layer, inputs))


@singledispatch
def forward_stateful(
    layer: Any, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops, state: State
) -> tuple[NDArray, State]:
    """Compute a stateful layer for the frames of a batch; return its output and its state after them."""
    raise SpicaError(f"{layer.name}: {type(layer).__name__} keeps no state")


@singledispatch
def macs(layer: Any, inputs: Sequence[TensorType]) -> int:
    """Return the multiply-accumulates of one sample if no value is zero; 0 for a layer without products."""
    return 0
