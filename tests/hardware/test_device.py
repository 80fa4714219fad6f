"""Devices as data: the catalogue, files of users, variants."""

from __future__ import annotations

from importlib import resources

import pytest

from spica import SpicaError
from spica.hardware import device_names, load_device
from spica.hardware.device.schema import FIGURES

CATALOGUE = resources.files("spica.hardware.device") / "catalog"
AKD1000 = (CATALOGUE / "akd1000.toml").read_text("utf-8")
FIRST = ["AKD1000", "AKD1500"]
SECOND = ["AKIDA2-1", "AKIDA2-12", "AKIDA2-2", "AKIDA2-6", "AKIDA2-8-VIT", "AKIDA2-FPGA", "PICO"]


def test_catalogue_devices_load_by_name_path_and_value():
    assert device_names() == [*FIRST, *SECOND]
    device = load_device("akd1000")
    assert (device.name, device.nodes, device.nps, device.clock_mhz) == ("AKD1000", 20, 80, 300)
    assert load_device(device) is device
    assert load_device("AKD1500").nps == 32
    with resources.as_file(CATALOGUE / "akd1000.toml") as path:
        assert load_device(path) == device


@pytest.mark.parametrize("name", [*FIRST, *SECOND])
def test_every_figure_and_rule_has_a_source(name):
    device = load_device(name)
    assert set(device.sources) == set(FIGURES)
    assert all(device.sources.values()) and all(rule.source for rule in device.rules)


def test_a_device_takes_from_the_one_it_extends():
    first, small = load_device("AKD1000"), load_device("AKD1500")
    assert small.rules == first.rules and small.input_memory_bytes == first.input_memory_bytes
    assert small.sop_pj == 2.35 and small.sources["sop_pj"] != first.sources["sop_pj"]


def test_a_device_shows_every_figure_and_its_source():
    text = str(load_device("AKIDA2-6"))
    assert all(name in text for name in FIGURES) and "TNP_B" in text and "speculative" in text


def test_replacing_figures_makes_a_speculative_device():
    device = load_device("AKD1500").replace(nodes=2, name="tiny")
    assert (device.name, device.nps, device.tier) == ("tiny", 8, "speculative")
    assert device.sources["nodes"] == "assumed: given by the user"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"nodes": 0}, "nodes is 0"),
        ({"nodes": 1.5}, "nodes is 1.5"),
        ({"nodes": True}, "nodes is True"),
        ({"clock_mhz": float("nan")}, "clock_mhz is nan"),
        ({"energy_factor": 0.5}, "energy_factor"),
        ({"gates": 3}, "'gates'"),
        ({"tier": "calibrated"}, "'tier'"),
    ],
)
def test_impossible_figures_are_refused(changes, message):
    with pytest.raises(SpicaError, match=message):
        load_device("AKD1000").replace(**changes)


def test_unknown_devices_are_refused_with_those_known():
    with pytest.raises(SpicaError, match="'AKD9000' is unknown; choose from AKD1000, AKD1500"):
        load_device("AKD9000")
    with pytest.raises(SpicaError, match="cannot be read"):
        load_device("/nowhere/mine.toml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "AKD1000"', "name = [", "not TOML"),
        ('name = "AKD1000"', "name = 3", "name: must be a str"),
        ('name = "AKD1000"', 'name = "X"\ncolour = "red"', "colour: not a key"),
        ('name = "AKD1000"', "", "name is missing"),
        ('name = "AKD1000"', 'name = "X"\nextends = "Y"', "extends: device 'Y' is unknown"),
        ('tier = "transferred"', 'tier = "certain"', "tier is 'certain'"),
        ("nodes = { value = 20,", "knots = { value = 20,", "figures.knots: not a figure"),
        ("nodes = { value = 20,", "nodes = { value = -1,", "nodes is -1"),
        ("nodes = { value = 20,", "nodes = { ", r"figures.nodes: must be \{ value"),
        ("clock_mhz = {", "max_band_rows2 = {", "figures.max_band_rows2"),
        ('source = "devhub: a node is 4 NPs"', 'source = ""', "figures.nps_per_node.source"),
        ('kind = "convolution"', 'kind = "telepathy"', "'telepathy' is not an op type"),
        ("input_height = { min = 5 }", "input_hight = { min = 5 }", "rule 1.input_hight: not a quantity"),
        ("input_height = { min = 5 }", "input_height = { least = 5 }", "rule 1.input_height: must be"),
        ("input_height = { min = 5 }", 'input_height = { min = "5" }', "rule 1.input_height.min"),
        ("filters = { max = 512 }", "filters = 512", "filters: must be"),
        ("when = { stride = 2 }", "when = 2", "when: must be a table"),
        ('source = "vendor guide"', "source = 1", "source: must say"),
        ('after_max_pool = ["convolution"', 'after_max_pool = ["dense"', "after_max_pool: must be"),
        ('add = "the first', 'add = 1 #"', "unsupported.add: must be a line"),
    ],
)
def test_a_bad_device_file_is_refused_with_its_key(tmp_path, old, new, message):
    assert old in AKD1000
    path = tmp_path / "mine.toml"
    path.write_text(AKD1000.replace(old, new), "utf-8")
    with pytest.raises(SpicaError, match=message):
        load_device(path)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpicaError, match="not a text file"):
        load_device(path)


def test_rules_must_be_tables(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "X"\nextends = "AKD1000"\nrule = [3]\n', "utf-8")
    with pytest.raises(SpicaError, match="rule 1: must be a table"):
        load_device(path)


def test_keys_of_the_first_version_are_read_with_a_warning(tmp_path):
    path = tmp_path / "mine.toml"
    rule = '[[further_rule]]\nkind = "projection"\nsource = "assumed"\nfilters = { max = 3 }\n'
    path.write_text(f'name = "X"\nlike = "AKD1000"\n[beside]\nadd = "assumed"\n{rule}', "utf-8")
    with pytest.warns(DeprecationWarning) as caught:
        device = load_device(path)
    words = [str(w.message) for w in caught]
    for old, new in (("like", "extends"), ("beside", "auxiliary"), ("further_rule", "extra_rules")):
        assert any(f"the key {old!r} is now {new!r}" in text for text in words)
    assert device.auxiliary == {"add": "assumed"} and device.rules[-1].op_type == "projection"
    assert len(device.rules) == len(load_device("AKD1000").rules) + 1


def test_attributes_of_the_first_version_warn():
    device = load_device("AKIDA2-6")
    for old, new in (("beside", device.auxiliary), ("kinds", device.op_types)):
        with pytest.warns(DeprecationWarning, match="this attribute of Device is now"):
            assert getattr(device, old) == new
    with pytest.warns(DeprecationWarning, match="of Rule is now op_type"):
        assert device.rules[0].kind == "input_convolution"
