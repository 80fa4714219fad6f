"""``spica program``: the compiled programs of a network as a table, as JSON, and in a file."""

from __future__ import annotations

import json

import pytest

from spica.program import load_programs
from spica.program.file import digest
from support.command_line import call
from support.float_networks import float_network
from support.programs import programs_of, small_network


@pytest.fixture
def path(tmp_path):
    small_network().save(tmp_path / "net.spica")
    return tmp_path / "net.spica"


def test_the_table_names_segments_layers_and_steps(path, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "program", path)
    (program,) = programs_of(small_network())
    assert code == 0
    assert out == f"segment 0: conv to output, 2 layers\n{program}\n"


def test_json_has_every_step_with_its_range_and_bits(path, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "program", path, "--json", "--save", path.with_suffix(".program"))
    (segment,), (program,) = json.loads(out)["segments"], load_programs(path.with_suffix(".program"))
    assert code == 0
    assert segment["layers"] == ["conv", "output"] and segment["digest"] == digest(program)
    assert [row["step"] for row in segment["steps"]] == ["Conv", "Pool"]
    tensor = program.tensors[1]
    assert segment["steps"][0]["range"] == [tensor.low, tensor.high] and segment["steps"][0]["bits"] == tensor.bits


def test_a_float_network_has_no_program(tmp_path, monkeypatch, capsys):
    float_network().save(tmp_path / "float.spica")
    code, _, err = call(monkeypatch, capsys, "program", tmp_path / "float.spica")
    assert code == 2 and "a float network has no program; quantise it first" in err
