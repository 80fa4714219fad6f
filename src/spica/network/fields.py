"""What the fields of records may hold: their types, bounds and sizes, declared where the fields are.

A field is declared as ``Annotated[type, Bounds(...)]``; the names below serve those that many records have. New records
have their numbers made plain (``settle``); ``spica.network.schema`` checks the rest when a network is made of them, so
that files, front ends and callers all pass the same door.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, fields
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Bounds:
    """Bounds of a number, of each in a tuple, or of each in an array; floats are finite besides.

    Attributes:
        low, high: both included.
        entries: how many entries an array has: "one"; "channel", one or one for each channel; "each", one for each
            channel; "any" where the layer itself says.
    """

    low: float
    high: float
    entries: str = "any"


MOST_VALUES = 1 << 26
"""Values that a tensor of one sample may have; a mistake or an attack has more."""

LARGEST_EXPONENT = 62
LARGEST_SCALE = 1e15
WIDEST_ACCUMULATOR = 46
"""With this bound and those of the epilogue every product and shift stays within 64 bits."""

LARGEST_VALUE = 1 << 53
"""Integers up to here are exact in float64 as well, in which the reference sums them."""

Size = Annotated[int, Bounds(1, MOST_VALUES)]
Count = Annotated[int, Bounds(0, MOST_VALUES)]
Sizes = Annotated[tuple[int, ...], Bounds(1, MOST_VALUES)]
Window = Annotated[tuple[int, int], Bounds(1, 1 << 16)]
Pads = Annotated[tuple[tuple[int, int], tuple[int, int]], Bounds(0, 1 << 12)]
Bits = Annotated[int, Bounds(1, 32)]
AccumulatorBits = Annotated[int, Bounds(1, WIDEST_ACCUMULATOR)]
Weights = NDArray[np.int8] | NDArray[np.float32]
"""A kernel, of a float or an integer layer; its values are bounded by the layer's ``weight_bits``."""
Values = Annotated[NDArray[np.int64] | NDArray[np.float32], Bounds(-LARGEST_VALUE, LARGEST_VALUE)]
"""Float32 in a float layer, integers in an integer one."""
Floats = Annotated[NDArray[np.float32], Bounds(-3.4e38, 3.4e38)]
Scales = Annotated[NDArray[np.float32], Bounds(-LARGEST_SCALE, LARGEST_SCALE, "channel")]
Scale = Annotated[Scales, Bounds(-LARGEST_SCALE, LARGEST_SCALE, "one")]
ZeroPoints = Annotated[NDArray[np.int64], Bounds(-(1 << 31), 1 << 31, "channel")]
Exponents = Annotated[NDArray[np.int64], Bounds(-LARGEST_EXPONENT, LARGEST_EXPONENT, "channel")]
Multipliers = Annotated[NDArray[np.int64], Bounds(0, (1 << 16) - 1, "channel")]
Shifts = Annotated[NDArray[np.int64], Bounds(-30, 62, "channel")]
"""Right shifts that, with these multipliers, keep every product within 64 bits; a negative one goes left."""


@dataclass(frozen=True)
class Declared:
    """A field's declaration: its type without bounds, the bounds, and the dtypes that it has if it is an array."""

    hint: Any
    bounds: Bounds | None
    dtypes: tuple[np.dtype, ...]


@cache
def declared(cls: Hashable) -> dict[str, Declared]:
    """Return the declarations of a record class by the names of its fields."""
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for f in fields(cls):  # type: ignore[arg-type]
        bounds = list(_bounds(hints[f.name]))
        found[f.name] = Declared(_bare(hints[f.name]), bounds[0] if bounds else None, tuple(_dtypes(hints[f.name])))
    return found


def _bounds(hint: Any) -> list[Bounds]:
    if own := [extra for extra in get_args(hint)[1:] if isinstance(extra, Bounds)]:
        return own[-1:]  # of a declaration that narrows another
    return [bounds for inner in get_args(hint) for bounds in _bounds(inner)]


def _bare(hint: Any) -> Any:
    """Return a hint without what is annotated."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return Union[tuple(map(_bare, get_args(hint)))]  # noqa: UP007 (made of what is known only here)
    return hint


def _dtypes(hint: Any) -> list[np.dtype]:
    if get_origin(hint) is np.ndarray:
        (scalar,) = get_args(get_args(hint)[1])
        return [np.dtype(scalar)] if isinstance(scalar, type) else []
    return [dtype for inner in get_args(hint) for dtype in _dtypes(inner)]


def settle(record: Any) -> None:
    """Make the numbers of a new record plain: numpy's become Python's, arrays get their declared type.

    Arrays change only where nothing but digits of float64 is lost; what remains wrong is refused by the check.
    """
    for name, field in declared(record.__class__).items():
        value = getattr(record, name)
        made = _settled(value, field.dtypes)
        if made is not value:
            object.__setattr__(record, name, made)


def _settled(value: Any, dtypes: tuple[np.dtype, ...]) -> Any:
    if isinstance(value, np.generic):
        return _settled(np.asarray(value), dtypes) if dtypes else value.item()
    if isinstance(value, tuple):
        made = tuple(_settled(inner, ()) for inner in value)
        return value if all(a is b for a, b in zip(made, value)) else made
    if isinstance(value, np.ndarray) and value.dtype not in dtypes:
        for dtype in dtypes:
            integers = dtype == np.int64 and value.dtype.kind in "iu"
            if integers and not (value.dtype == np.uint64 and (value > np.iinfo(np.int64).max).any()):
                return value.astype(dtype)
            if dtype == np.float32 and value.dtype.kind == "f":
                with np.errstate(over="ignore"):
                    return value.astype(dtype)
    return value
