"""Records by their declared fields: checking their types, and writing them as JSON data and back.

A record is a class in ``RECORDS``, or in another table that is given as ``records``. Its fields hold numbers, text,
``None``, arrays, tuples of such, and records.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.network.layer import RECORDS

Records = Mapping[str, type[Any]]


def check_fields(value: Any, where: str, records: Records = RECORDS) -> None:
    """Check every field of a record, and of the records in it, against its declared type.

    Args:
        value: the record.
        where: what errors begin with, such as a layer's name.
        records: the classes of records, by name.

    Raises:
        SpicaError: naming the field.
    """
    for name, hint in _hints(value.__class__).items():
        content = getattr(value, name)
        if not _has_type(content, hint):
            declared = hint.__name__ if isinstance(hint, type) else str(hint)
            raise SpicaError(f"{where}: {name} is {content!r:.60}, but must be {declared:.80}")
        for inner in content if isinstance(content, tuple) else (content,):
            if records.get(type(inner).__name__) is type(inner):
                check_fields(inner, where, records)


@cache
def _hints(cls: Hashable) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}  # type: ignore[arg-type]


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
        return isinstance(value, int | np.integer) and not isinstance(value, bool)
    if origin is np.ndarray:
        return isinstance(value, np.ndarray | np.generic)
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
