"""The ``.spica`` file: what was saved comes back exactly, and nothing else ever does."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass

import numpy as np
import pytest
from hypothesis import given

import spica
from spica.layers import Conv2D, Input
from spica.util import files
from support.networks import integer_networks
from support.profiles import examples


def same(a, b) -> bool:
    """Return whether two values, records or arrays are equal in every bit."""
    if is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@examples(60)
@given(integer_networks())
def test_round_trip_is_exact(tmp_path, case):
    net, x = case
    net.save(tmp_path / "net.spica")
    loaded = spica.load(tmp_path / "net.spica")
    assert same(net, loaded)
    np.testing.assert_array_equal(net.forward(x), loaded.forward(x))


@pytest.fixture
def saved(tmp_path):
    kernel = np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1)
    net = spica.Network((Input(name="in", shape=(4, 4, 1)), Conv2D(name="c", inputs=("in",), kernel=kernel)), ("c",))
    path = tmp_path / "tiny.spica"
    net.save(path)
    return path


@pytest.mark.parametrize("bit", [0, 5])
def test_a_flipped_bit_in_any_byte_is_found(saved, bit):
    whole = saved.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bit
        saved.write_bytes(damaged)
        with pytest.raises(spica.SpicaError, match=r"tiny\.spica"):
            spica.load(saved)


def test_every_truncation_is_found(saved):
    whole = saved.read_bytes()
    for length in range(len(whole)):
        saved.write_bytes(whole[:length])
        with pytest.raises(spica.SpicaError, match=r"not a whole \.spica file"):
            spica.load(saved)


def forged(saved, change):
    """The file with its header's network changed, and a digest that is right."""
    data = saved.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    network = json.loads(header["__metadata__"]["network"])
    change(network, header["__metadata__"])
    header["__metadata__"]["network"] = json.dumps(network)
    header["__metadata__"]["sha256"] = "0" * 64
    text = json.dumps(header, separators=(",", ":")).encode()
    forged = len(text).to_bytes(8, "little") + text + data[8 + length :]
    digest = hashlib.sha256(forged).hexdigest().encode()
    saved.write_bytes(forged.replace(b"0" * 64, digest, 1))
    return saved


def edit(where, key, value):
    def change(network, metadata):
        {"conv": network["layers"][1], "input": network["layers"][0], "net": network, "meta": metadata}[where][key] = (
            value
        )

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (edit("conv", "record", "Teleport"), "unknown record 'Teleport'"),
        (edit("conv", "record", "ReLU"), "ReLU has no field 'accumulator_bits'"),
        (edit("conv", "colour", 3), "no field 'colour'"),
        (edit("conv", "padding", {"record": "MaxPool"}), "c: padding is MaxPool"),
        (edit("net", "layers", [{"record": "MaxPool"}]), "is not a layer record"),
        (edit("conv", "strides", {"one": 1}), "unknown record None"),
        (edit("conv", "strides", [1, "2"]), r"c: strides is \(1, '2'\), but must be tuple\[int, int\]"),
        (edit("conv", "strides", [1, 2, 3]), r"c: strides is \(1, 2, 3\), but must be tuple\[int, int\]"),
        (edit("conv", "kernel", {"tensor": "absent"}), "the file lacks its 'absent'; it is damaged"),
        (edit("conv", "kernel", 7), "c: kernel is 7, but must be"),
        (edit("conv", "strides", [0, 1]), "c: strides"),
        (edit("input", "shape", []), "needs at least one axis"),
        (edit("net", "outputs", [3]), "header is not that of a network .outputs are .3,., but must be a list of names"),
        (edit("net", "layers", "many"), "header is not that of a network"),
        (edit("meta", "schema", "99"), "schema 99 is newer"),
        (edit("meta", "schema", "one"), "header is not that of a network"),
        (edit("meta", "format", "other"), r"not a whole \.spica file"),
    ],
)
def test_a_forged_header_gives_one_clear_error(saved, change, message):
    with pytest.raises(spica.SpicaError, match=message):
        spica.load(forged(saved, change))


def test_missing_fields_are_named(saved):
    with pytest.raises(spica.SpicaError, match="Conv2D lacks 'kernel'"):
        spica.load(forged(saved, lambda network, _: network["layers"][1].pop("kernel")))


def test_missing_files_and_folders_are_named(saved, tmp_path):
    with pytest.raises(spica.SpicaError, match="cannot be read"):
        spica.load(tmp_path / "absent.spica")
    with pytest.raises(spica.SpicaError, match="cannot be written"):
        spica.load(saved).save(tmp_path / "absent" / "net.spica")


def test_a_failed_write_leaves_the_old_file(saved, monkeypatch):
    whole = saved.read_bytes()
    net = spica.load(saved)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(spica.SpicaError, match="No space left"):
        net.save(saved)
    assert saved.read_bytes() == whole
    assert [p.name for p in saved.parent.iterdir()] == ["tiny.spica"]
