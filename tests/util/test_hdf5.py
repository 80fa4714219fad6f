"""HDF5 files of strangers: they open without HDF5's own library, and what they claim is looked at first."""

from __future__ import annotations

import re

import h5py
import numpy as np
import pytest

from spica.errors import SpicaError
from spica.util.hdf5 import open_hdf5


def written(path, **datasets):
    """The bytes of a file with strings, which lie on a heap, and data sets."""
    with h5py.File(path, "w") as file:
        file.attrs["config"] = "text " * 10
        for name, options in datasets.items():
            file.create_dataset(name, **options)
    return path.read_bytes()


@pytest.mark.parametrize("options", [{}, {"chunks": (3,)}, {"compression": "gzip"}])
def test_a_whole_file_opens(tmp_path, options):
    data = written(tmp_path / "a.h5", weights={"data": np.arange(10), **options})
    with open_hdf5("a.h5", data) as file:
        assert file.attrs["config"] == b"text " * 10
        np.testing.assert_array_equal(file["weights"][()], np.arange(10))


def test_a_heap_whose_free_space_has_no_size_is_no_endless_loop(tmp_path):
    data = written(tmp_path / "a.h5")
    free = re.search(rb"GCOL", data).end() + 12 + 16 + 56  # after the header, and the string with its own
    damaged = data[:free] + bytes(16) + data[free + 16 :]
    with open_hdf5("a.h5", damaged) as file:
        assert file.attrs["config"] == b"text " * 10


def test_claims_beyond_the_budget_are_refused(tmp_path):
    data = written(tmp_path / "a.h5", weights={"shape": (1 << 40,), "dtype": "f4", "chunks": (1 << 20,)})
    with pytest.raises(SpicaError, match=r"a\.h5: [\d,]+ bytes claim to unpack to 4,398,046,511,104"):
        open_hdf5("a.h5", data)
