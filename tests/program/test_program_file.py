"""Programs in files: they come back equal and run; anything else is one clear error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spica
from spica.program import load_programs, save_programs
from spica.program.file import digest
from spica.program.native import NativeProgram
from support.networks import integer_networks
from support.profiles import examples
from support.programs import programs_of, small_network, small_program


@examples(100)
@given(integer_networks(), st.booleans())
def test_programs_of_random_networks_come_back_from_a_file(tmp_path_factory, case, streaming):
    path = tmp_path_factory.mktemp("program") / "net.program"
    programs = programs_of(case[0], streaming)
    save_programs(programs, path)
    loaded = load_programs(path)
    assert loaded == programs
    assert [digest(p) for p in loaded] == [digest(p) for p in programs]


def test_a_program_from_a_file_runs(tmp_path):
    net = small_network()
    save_programs(programs_of(net), tmp_path / "p")
    (program,) = load_programs(tmp_path / "p")
    x = np.random.default_rng(1).integers(0, 256, (3, 6, 6, 1), dtype=np.uint8)
    (got,), _ = NativeProgram(program)([x], 1)
    np.testing.assert_array_equal(got, net.forward(x))


def test_a_damaged_or_other_file_is_refused(tmp_path):
    path = tmp_path / "p"
    save_programs([small_program()], path)
    data = path.read_bytes()
    random = np.random.default_rng(0)
    for place in random.integers(0, len(data), 40):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(spica.SpicaError):
            load_programs(path)
        path.write_bytes(data[:place])
        with pytest.raises(spica.SpicaError, match=r"not a whole \.spica-program file"):
            load_programs(path)
    small_network().save(path)
    with pytest.raises(spica.SpicaError, match=r"not a whole \.spica-program file"):
        load_programs(path)
    save_programs([small_program()], path)
    with pytest.raises(spica.SpicaError, match=r"not a whole \.spica file"):
        spica.load(path)
