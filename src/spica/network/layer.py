"""Layer records and the meanings a layer has, as functions found by the record's type.

A layer is a frozen dataclass of plain fields. What it means is said by the functions below, each a
``functools.singledispatch`` with one implementation per record, written in the file that defines the record:

==================  ========================================================================
``infer``           shape and number format of the output, or a ``SpicaError`` naming the layer
``forward_float``   what the layer computes on float32 arrays
``forward_integer`` what it computes on integers, written with the primitives of ``Ops``
``remembered``      types of what a layer with memory keeps from frame to frame; nothing for most
``forward_stateful`` as the two above, for a layer with memory
``macs``            multiply-accumulates of one sample; 0 for most
==================  ========================================================================
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import cache, singledispatch
from types import UnionType
from typing import Any, Protocol, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import DTypeLike, NDArray

from spica.errors import SpicaError
from spica.network.types import TensorType

RECORDS: dict[str, type[Any]] = {}
"""Every record that may stand in a network or its file, by name."""

R = TypeVar("R", bound=type)


@dataclass_transform(frozen_default=True, eq_default=False, kw_only_default=True)
def record(cls: R) -> R:
    """Class decorator: a frozen dataclass that networks and their files may hold."""
    cls = dataclass(frozen=True, eq=False, kw_only=True)(cls)  # type: ignore[assignment]
    RECORDS[cls.__name__] = cls
    return cls


@dataclass(frozen=True, eq=False, kw_only=True)
class Layer:
    """A node of the graph; its output tensor has the node's name."""

    name: str
    inputs: tuple[str, ...]


def check_fields(value: Any, where: str) -> None:
    """Hold every field of a record to its declared type, and the records within it.

    Raises:
        SpicaError: naming the layer and the field.
    """
    for name, hint in _hints(value.__class__).items():
        content = getattr(value, name)
        if not _is(content, hint):
            declared = hint.__name__ if isinstance(hint, type) else str(hint)
            raise SpicaError(f"{where}: {name} is {content!r:.60}, but must be {declared:.80}")
        if type(content) in RECORDS.values():
            check_fields(content, where)


@cache
def _hints(cls: Hashable) -> dict[str, Any]:
    return get_type_hints(cls)


def _is(value: Any, hint: Any) -> bool:
    """Whether a value is of a declared type, of the few kinds of declaration that records use."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_is(value, option) for option in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        inner = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return len(value) == len(inner) and all(map(_is, value, inner))
    if hint is int:
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if origin is np.ndarray:
        return isinstance(value, np.ndarray | np.generic)
    return isinstance(value, origin or hint)


class Ops(Protocol):
    """The integer primitives that an engine provides; ``semantics.primitives`` defines each of them."""

    def convolve(
        self, x: NDArray, kernel: NDArray, strides: tuple[int, int], padding: tuple, fill: NDArray, bound: int
    ) -> NDArray: ...
    def convolve_depthwise(
        self, x: NDArray, kernel: NDArray, strides: tuple[int, int], padding: tuple, bound: int
    ) -> NDArray: ...
    def add(self, a: NDArray, b: NDArray, shifts: tuple[NDArray, NDArray], value_bits: int) -> NDArray: ...
    def look_up(self, x: NDArray, table: NDArray, lowest: int) -> NDArray: ...
    def apply_epilogue(self, acc: NDArray, epilogue: Any) -> NDArray: ...
    def concatenate(self, arrays: Sequence[NDArray], dtype: DTypeLike) -> NDArray: ...
    def permute(self, x: NDArray, axes: tuple[int, ...]) -> NDArray: ...
    def take(self, x: NDArray, axis: int, positions: range) -> NDArray: ...
    def to_float(self, x: NDArray, kind: TensorType) -> NDArray: ...
    def dilate(self, x: NDArray, strides: tuple[int, int], padding: tuple) -> NDArray: ...
    def sliding_window(self, x: NDArray, past: NDArray, frames: int) -> tuple[NDArray, NDArray]: ...
    def scan(
        self, x: NDArray, state: tuple, factor: tuple, arrive: Any, leave: Any, bits: int
    ) -> tuple[NDArray, tuple]: ...
    def normalise(self, x: NDArray) -> NDArray: ...
    def attend(self, q: NDArray, k: NDArray, v: NDArray, heads: int, multiplier: int, shift: int) -> NDArray: ...


@singledispatch
def infer(layer: Any, inputs: Sequence[TensorType]) -> TensorType:
    """Type of the output of ``layer`` for inputs of the given types."""
    raise SpicaError(f"{getattr(layer, 'name', layer)}: {type(layer).__name__} is not a layer that Spica knows")


@singledispatch
def forward_float(layer: Any, inputs: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Output of ``layer`` on float32 arrays with a batch axis."""
    raise SpicaError(f"{layer.name}: {type(layer).__name__} has no float meaning")


@singledispatch
def forward_integer(layer: Any, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    """Output of ``layer`` on integer arrays (int32) with a batch axis, computed with an engine's primitives."""
    raise SpicaError(f"{layer.name}: {type(layer).__name__} has no integer meaning; remove it before quantising")


State = tuple[NDArray, ...]
"""What a layer with memory keeps from one batch to the next; the first axis of each array is that of streams."""


@singledispatch
def state_types(layer: Any, inputs: Sequence[TensorType]) -> tuple[TensorType, ...]:
    """Types of what ``layer`` keeps from one frame to the next, where it has memory.

    Its batch axis is time: the frames of a first stream, then those of a second, as many of each.
    """
    return ()


def initial_state(layer: Layer, inputs: Sequence[TensorType], streams: int = 1) -> State:
    """What a layer starts from: zeros; nothing where it has no memory."""
    return tuple(np.zeros((streams, *kind.shape), kind.dtype) for kind in state_types(layer, inputs))


@singledispatch
def forward_stateful(
    layer: Any, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops, state: State
) -> tuple[NDArray, State]:
    """Output of a layer with memory for the frames of a batch, and its state after them."""
    raise SpicaError(f"{layer.name}: {type(layer).__name__} has no memory")


@singledispatch
def macs(layer: Any, inputs: Sequence[TensorType]) -> int:
    """Return the multiply-accumulates of one sample if no value is zero; 0 for a layer without products."""
    return 0
