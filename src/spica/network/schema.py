"""Records by their declared fields: checking their types, and writing them as JSON data and back.

A record is a class in ``RECORDS``, or in another table that is given as ``records``. Its fields hold numbers, text,
``None``, arrays, tuples of such, and records.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from math import isfinite
from types import UnionType
from typing import Any, Union, get_args, get_origin

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.network.fields import Declared, declared
from spica.network.layer import RECORDS

Records = Mapping[str, type[Any]]


def check_fields(value: Any, where: str, records: Records = RECORDS) -> None:
    """Check every field of a record, and of the records in it, against its declaration (``spica.network.fields``).

    Args:
        value: the record.
        where: what errors begin with, such as a layer's name.
        records: the classes of records, by name.

    Raises:
        SpicaError: naming the field.
    """
    for name, field in declared(value.__class__).items():
        content = getattr(value, name)
        _check(content, f"{where}: {name}", field)
        for inner in content if isinstance(content, tuple) else (content,):
            if records.get(type(inner).__name__) is type(inner):
                check_fields(inner, where, records)


def check_text(value: str, what: str) -> None:
    """Check that text can be written to files and terminals: no halves of characters."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SpicaError(f"{what} is {value!r:.60}, which is no valid text; give it another name") from None


def check_arrays(value: Any, where: str, channels: int, is_float: bool) -> None:
    """Check the arrays of a record, and of those in it, against what the layer reads.

    Args:
        value: the record.
        where: what errors begin with, such as a layer's name.
        channels: how many entries arrays have that have one for each channel.
        is_float: whether the layer computes with real numbers; what can be of both kinds must be of the same.

    Raises:
        SpicaError: naming the field.
    """
    for name, field in declared(value.__class__).items():
        content, entries = getattr(value, name), field.bounds.entries if field.bounds else "any"
        if isinstance(content, np.ndarray) and len(field.dtypes) > 1 and (content.dtype.kind == "f") != is_float:
            reads = "real numbers" if is_float else "integers"
            raise SpicaError(f"{where}: {name} is of {content.dtype}, but it reads {reads}; quantise the whole network")
        shapes: dict[str, list[tuple]] = {"one": [()], "channel": [(), (channels,)], "each": [(channels,)]}
        allowed = shapes.get(entries)
        if isinstance(content, np.ndarray) and allowed is not None and content.shape not in allowed:
            words = {"one": "one entry", "channel": f"one entry, or one for each of {channels} channels"}
            need = words.get(entries, f"one entry for each of {channels} channels")
            raise SpicaError(f"{where}: {name} has shape {content.shape}, but must have {need}")
        if RECORDS.get(type(content).__name__) is type(content):
            check_arrays(content, where, channels, is_float)


def _check(value: Any, what: str, field: Declared) -> None:
    if not _has_type(value, field.hint):
        given = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else f"{value!r:.60}"
        raise SpicaError(f"{what} is {given}, but must be {_words(field)}")
    if isinstance(value, str):
        check_text(value, what)
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise SpicaError(f"{what} holds NaN or infinity, but must be finite; check the training, or the file")
        ends = (value.min(), value.max()) if value.size and field.bounds else ()
    else:
        ends = tuple(_numbers(value))
    for end in ends:
        if isinstance(end, float) and not isfinite(end):
            raise SpicaError(f"{what} is {end}, but must be finite")
        if field.bounds and not field.bounds.low <= end <= field.bounds.high:
            given = f"holds {end}" if isinstance(value, np.ndarray) else f"is {value!r:.60}"
            low, high = (f"{e:,}" if isinstance(e, int) else f"{e:g}" for e in (field.bounds.low, field.bounds.high))
            raise SpicaError(f"{what} {given}, but must be {low} to {high}")


def _words(field: Declared) -> str:
    """Say what a field must be."""
    if field.dtypes:
        return "an array of " + " or ".join(map(str, field.dtypes))
    kinds = get_args(field.hint) if get_origin(field.hint) in (Union, UnionType) else (field.hint,)
    names = ["None" if kind is type(None) else kind.__name__ if isinstance(kind, type) else str(kind) for kind in kinds]
    return f"{' or '.join(names):.80}"


def _numbers(value: Any) -> list[Any]:
    """Return a number, or those in a tuple of them."""
    if isinstance(value, tuple):
        return [number for inner in value for number in _numbers(inner)]
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else []


def _has_type(value: Any, hint: Any) -> bool:
    """Return whether a value is of a declared type, of the few kinds of declaration that records use."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(_has_type(value, option) for option in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        inner = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        return len(value) == len(inner) and all(map(_has_type, value, inner))
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is np.ndarray:
        (scalar,) = get_args(arguments[1])
        return isinstance(value, np.ndarray) and (not isinstance(scalar, type) or value.dtype == scalar)
    return isinstance(value, origin or hint)


def encode(value: Any, where: str, tensors: dict[str, NDArray], records: Records = RECORDS) -> Any:
    """Return a record or plain value as JSON data; put its arrays into ``tensors`` under their path.

    Args:
        value: what to encode.
        where: its path: the name of the record that it belongs to, then fields and positions.
        tensors: filled with every array met, by path.
        records: the classes of records, by name.

    Raises:
        SpicaError: for a value that a record must not hold.
    """
    if isinstance(value, np.ndarray | np.generic):
        tensors[where] = np.asarray(value, order="C")
        return {"tensor": where}
    if records.get(type(value).__name__) is type(value):
        body = {f.name: encode(getattr(value, f.name), f"{where}/{f.name}", tensors, records) for f in fields(value)}
        return {"record": type(value).__name__, **body}
    if isinstance(value, tuple):
        return [encode(v, f"{where}/{i}", tensors, records) for i, v in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise SpicaError(f"{where}: a {type(value).__name__} cannot be saved")


def decode(item: Any, tensors: dict[str, NDArray], records: Records = RECORDS) -> Any:
    """Return the record or value that ``encode`` made JSON data of; ``check_fields`` checks the types in it.

    Args:
        item: the data.
        tensors: the arrays, by path.
        records: the classes of records, by name.

    Raises:
        TypeError: where the data is not of that form.
        KeyError: where an array is missing.
    """
    if isinstance(item, list):
        return tuple(decode(v, tensors, records) for v in item)
    if not isinstance(item, dict):
        return item
    if item.keys() == {"tensor"}:
        return tensors[item["tensor"]]
    cls: Any = records.get(item.get("record", ""))
    if cls is None:
        raise TypeError(f"unknown record {item.get('record')!r:.60}")
    known = {f.name: f for f in fields(cls)}
    if extra := item.keys() - known.keys() - {"record"}:
        raise TypeError(f"{cls.__name__} has no field {min(extra)!r:.60}")
    required = {name for name, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    if missing := required - item.keys():
        raise TypeError(f"{cls.__name__} lacks {min(missing)!r}")
    return cls(**{name: decode(item[name], tensors, records) for name in known.keys() & item.keys()})
