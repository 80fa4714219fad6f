"""HDF5 files of strangers: damaged heaps end in an error, whatever the HDF5 library would do with them."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from spica.util.hdf5 import HEADER, HEAP, open_hdf5


@pytest.fixture
def written(tmp_path):
    """The bytes of a file with strings, which lie on a heap, and a data set."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["config"] = "text " * 10
        file["weights"] = np.arange(10)
    return path.read_bytes()


def test_a_whole_file_opens(written):
    with open_hdf5("a.h5", written) as file:
        assert file.attrs["config"] == "text " * 10 and len(file["weights"]) == 10


@pytest.mark.parametrize("size", [0, 8, 1 << 20, (1 << 64) - 1, (1 << 64) - HEADER])
def test_an_object_of_no_possible_size_is_refused(written, size):
    first = HEAP.search(written).start() + HEADER  # the string; the free space follows
    second = first + HEADER + 56
    free = written[:second] + bytes(8) + size.to_bytes(8, "little") + written[second + 16 :]
    with pytest.raises(ValueError, match="no possible size"):
        open_hdf5("a.h5", free)


def test_what_is_not_of_the_form_that_is_written_is_refused(written):
    heap = HEAP.search(written).start()
    for broken in (
        b"text" + written,
        written[:10],
        written[:14] + b"\4" + written[15:],
        written[: heap + 8] + b"\xff" * 8 + written[heap + 16 :],
    ):
        with pytest.raises(ValueError, match=r"HDF5|lengths|ends after"):
            open_hdf5("a.h5", broken)
