"""Open HDF5 files from strangers: in Python alone, for HDF5's own library can be made to loop for ever by them."""

from __future__ import annotations

import io
from math import prod
from typing import Any

from spica.errors import SpicaError
from spica.util.files import check_unpacked


def open_hdf5(where: str, data: bytes, packed: int | None = None) -> Any:
    """Return a ``pyfive.File``, which is read as an ``h5py.File`` is, of a file's bytes.

    Args:
        where: the file, for errors.
        data: the whole file.
        packed: bytes of the archive in which it lay; those of ``data`` by default.

    Raises:
        SpicaError: where pyfive is missing, or data sets claim more bytes than can be held.
    """
    try:
        import pyfive
    except ImportError:
        raise SpicaError("reading .h5 and .keras files needs pyfive; run: pip install 'spica[quantizeml]'") from None
    file = pyfive.File(io.BytesIO(data))
    claims = []
    file.visititems(lambda _, node: claims.append(prod(getattr(node, "shape", None) or ()) * _item_size(node)))
    check_unpacked(where, sum(claims), packed or len(data))
    return file


def _item_size(node: Any) -> int:
    return node.dtype.itemsize if hasattr(node, "dtype") else 0
