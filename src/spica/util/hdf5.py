"""Open HDF5 files from strangers: what would make the HDF5 library loop or run out of memory is refused before."""

from __future__ import annotations

import io
import re
import struct
from math import prod
from typing import Any

from spica.errors import SpicaError
from spica.util.files import check_unpacked

SIGNATURE = b"\x89HDF\r\n\x1a\n"
HEAP = re.compile(rb"GCOL\x01", re.DOTALL)
"""Where a global heap collection, which holds strings, begins (HDF5 file format 3.0, section III.E)."""

HEADER = 16
"""Bytes of the header of a collection, and of each of its objects, where lengths have 8 bytes."""


def open_hdf5(where: str, data: bytes, packed: int | None = None) -> Any:
    """Return an ``h5py.File`` that reads a file's bytes.

    Args:
        where: the file, for errors.
        data: the whole file.
        packed: bytes of the archive in which it lay; those of ``data`` by default.

    Raises:
        SpicaError: where h5py is missing, or data sets claim more bytes than can be held.
        ValueError: where the file is not HDF5, or its heaps are damaged.
    """
    try:
        import h5py
    except ImportError:
        raise SpicaError("reading .h5 and .keras files needs h5py; run: pip install 'spica[quantizeml]'") from None
    _check_heaps(data)
    file = h5py.File(io.BytesIO(data), "r")
    claims = []
    file.visititems(lambda _, node: claims.append(prod(getattr(node, "shape", None) or ()) * _item_size(node)))
    check_unpacked(where, sum(claims), packed or len(data))
    return file


def _item_size(node: Any) -> int:
    return node.dtype.itemsize if hasattr(node, "dtype") else 0


def _check_heaps(data: bytes) -> None:
    """Check that the objects of every heap follow each other to its end; HDF5 2.0 loops for ever where one has no size.

    Raises:
        ValueError: where they do not, or the file is not of the form that HDF5 writes.
    """
    if not data.startswith(SIGNATURE) or len(data) < HEADER:
        raise ValueError("not an HDF5 file")
    if data[10 if data[8] >= 2 else 14] != 8:
        raise ValueError("lengths are not of 8 bytes")
    for heap in HEAP.finditer(data):
        at = heap.start() + HEADER
        end = heap.start() + int.from_bytes(data[heap.start() + 8 : at], "little")
        if end > len(data):
            raise ValueError("a heap ends after the file")
        while end - at >= HEADER:
            index, size = struct.unpack_from("<H6xQ", data, at)
            taken = size if index == 0 else HEADER + -(-size // 8) * 8
            if taken < HEADER or taken > end - at:
                raise ValueError("an object of a heap has no possible size")
            at += taken
