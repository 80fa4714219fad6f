"""Devices as data, and the rules that networks must keep on them."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from spica import SpicaError
from spica.hardware import check, device_names, load_device
from spica.hardware.device.schema import FIGURES
from spica.layers import Activation, Add, Concatenate, DepthwiseConv2D, GlobalAverage, Input, MaxPool2D, ReLU, Reshape
from spica.network import Network
from support.chip_networks import conv, dense, flatten, max_pool, network, separable

CATALOGUE = resources.files("spica.hardware.device") / "catalog"
AKD1000 = (CATALOGUE / "akd1000.toml").read_text("utf-8")
FIRST = ["AKD1000", "AKD1500"]
SECOND = ["AKIDA2-1", "AKIDA2-12", "AKIDA2-2", "AKIDA2-6", "AKIDA2-8-VIT", "AKIDA2-FPGA", "PICO"]
IMAGE = (16, 16, 3)


# -- devices -------------------------------------------------------------------------------------------------


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
    assert small.sop_pj == 5.03 and small.sources["sop_pj"] != first.sources["sop_pj"]


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


# -- rules ---------------------------------------------------------------------------------------------------

GOOD = {
    "plain": network(IMAGE, conv(8, strides=2), conv(8), separable(8, pool=GlobalAverage()), dense(4)),
    "grey, 5x5, valid, stride 3": network((20, 30, 1), conv(192, 5, 3, "valid", weights=8), conv(8)),
    "512 filters": network((5, 5, 1), conv(512), conv(4)),
    "192 filters": network(IMAGE, conv(192), conv(4)),
    "64 filters": network(IMAGE, conv(64, 5), conv(4)),
    "32 filters": network(IMAGE, conv(32, 7), conv(4)),
    "96 filters": network((16, 16, 1), conv(96, 7), conv(4)),
    "pooled input": network(IMAGE, conv(8, pool=max_pool((1, 2), (1, 2))), conv(4)),
    "pooled input before dense": network(IMAGE, conv(8, pool=max_pool()), flatten(), dense(4)),
    "kernels": network(IMAGE, conv(8), conv(8, 1), conv(8, 5), conv(8, 7), separable(8, 5), separable(8, 7)),
    "strides": network(IMAGE, conv(8), conv(8, 3, 2), separable(8, 3, 2)),
    "pooling": network(IMAGE, conv(8), conv(8, pool=max_pool()), separable(8, pool=max_pool(2, 1)), conv(8)),
    "widths": network(
        IMAGE,
        conv(8, weights=1, activations=1),
        conv(8, weights=2, activations=2),
        separable(8, weights=2),
        flatten(),
        dense(4, weights=1, activations=1),
    ),
    "dense": network((57334,), dense(2), bits=4),
    "average of 32 columns": network((32, 32, 3), conv(4), conv(4, pool=GlobalAverage()), dense(2)),
}

BAD = {
    "width": (network((16, 4, 3), conv(8)), "input width is 4, but must be 5 to 256"),
    "wide": (network((16, 257, 3), conv(8)), "input width is 257"),
    "height": (network((4, 16, 3), conv(8)), "input height is 4, but must be at least 5"),
    "channels": (network((16, 16, 2), conv(8)), "input bits is 8"),
    "input kernel": (network(IMAGE, conv(8, 4)), "kernel is 4, but must be 3, 5 or 7"),
    "input stride": (network(IMAGE, conv(8, 3, 4)), "stride is 4, but must be 1, 2 or 3"),
    "input padding": (network(IMAGE, conv(8, padding=((2, 2), (2, 2)))), "padding is custom"),
    "input bits": (network((16, 16, 2), conv(8), bits=5), "input bits is 5, but must be 1, 2 or 4"),
    "signed input": (network(IMAGE, conv(8), signed=True), "signed input is True"),
    "513 filters": (network((16, 16, 1), conv(513)), "at most 512 with input channels 1 and kernel 3"),
    "193 grey filters": (network((16, 16, 1), conv(193, 5)), "most 192 with input channels 1 and kernel 5"),
    "97 filters": (network((16, 16, 1), conv(97, 7)), "filters is 97, but must be at most 96"),
    "193 filters": (network(IMAGE, conv(193)), "at most 192 with input channels 3 and kernel 3"),
    "65 filters": (network(IMAGE, conv(65, 5)), "filters is 65, but must be at most 64"),
    "33 filters": (network(IMAGE, conv(33, 7)), "filters is 33, but must be at most 32"),
    "input average": (network(IMAGE, conv(8, pool=GlobalAverage())), "pooling is global_average"),
    "input pooling": (network(IMAGE, conv(8, pool=max_pool(3, 3))), "pooling size is 3x3"),
    "input pooling stride": (network(IMAGE, conv(8, pool=max_pool(2, 1))), "stride is 1x1, but must be 2x2"),
    "input activations": (network(IMAGE, conv(8, activations=8)), "output bits is 8, but must be 1, 2"),
    "kernel": (network(IMAGE, conv(8), conv(8, 2)), "kernel is 2, but must be 1, 3, 5 or 7"),
    "stride": (network(IMAGE, conv(8), conv(8, 3, 3)), "stride is 3, but must be 1 or 2"),
    "stride of 5x5": (network(IMAGE, conv(8), conv(8, 5, 2)), "kernel is 5, but must be 3 with stride 2"),
    "padding": (network(IMAGE, conv(8), conv(8, padding="valid")), "padding is valid, but must be same"),
    "weights": (network(IMAGE, conv(8), conv(8, weights=8)), "weight bits is 8, but must be 1, 2 or 4"),
    "activations": (network(IMAGE, conv(8, activations=8), conv(8)), "input bits is 8, but must be 1, 2"),
    "pooling": (network(IMAGE, conv(8), conv(8, pool=max_pool(3, 2)), conv(8)), "size is 3x3"),
    "pooling stride": (network(IMAGE, conv(8), conv(8, pool=max_pool(1, 2)), conv(8)), "stride is 2x2"),
    "separable kernel": (network(IMAGE, conv(8), separable(8, 1)), "kernel is 1, but must be 3, 5 or 7"),
    "separable stride": (network(IMAGE, conv(8), separable(8, 7, 2)), "must be 3 with stride 2"),
    "separable weights": (network(IMAGE, conv(8), separable(8, weights=1)), "bits is 1, but must be 2 or 4"),
    "average of 33": (
        network((16, 33, 3), conv(4), conv(4, pool=GlobalAverage()), dense(2)),
        "input width is 33, but must be 1 to 32 with pooling global_average",
    ),
    "average of 2 rows": (
        network((6, 6, 3), conv(4, 3, 3), separable(4, pool=GlobalAverage()), dense(2)),
        "input height is 2, but must be at least 3",
    ),
    "pooling at the end": (network(IMAGE, conv(8), conv(8, pool=max_pool())), "may follow its max pooling"),
    "pooling before dense": (
        network(IMAGE, conv(8), conv(8, pool=max_pool()), flatten(), dense(4)),
        "only convolution or separable_convolution may follow",
    ),
    "dense inputs": (network((57335,), dense(2), bits=4), "input channels is 57335, but must be at most"),
    "dense bits": (network((16,), dense(2)), "input bits is 8"),
}


@pytest.mark.parametrize("name", GOOD)
def test_networks_within_the_rules_pass(name):
    report = check(GOOD[name], "AKD1000")
    assert report.ok, str(report)
    assert list(report) == [] and str(report) == "chain keeps every rule of AKD1000"


@pytest.mark.parametrize("name", BAD)
def test_each_broken_rule_is_found(name):
    net, message = BAD[name]
    report = check(net, "AKD1000")
    assert not report.ok
    assert any(message in finding.reason and finding.remedy for finding in report), str(report)


def with_layer(make) -> Network:
    """A passing network, one layer more, and a convolution that reads it."""
    base = network(IMAGE, conv(8), conv(8))
    extra = make("layer_2")
    channels = 16 if isinstance(extra, Concatenate) else 8
    reader = network((16, 16, channels), conv(8), bits=4).layers[1]
    reader = replace(reader, name="reader", inputs=("extra",))
    return Network((*base.layers, extra, reader), ("reader",), "branchy")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (
            lambda i: Add(
                name="extra",
                inputs=(i, "layer_1"),
                requantize=network((8,), dense(8, activations=4), bits=4).layers[1].requantize,
            ),
            "add",
        ),
        (lambda i: Concatenate(name="extra", inputs=(i, "layer_1")), "concatenate"),
        (lambda i: MaxPool2D(name="extra", inputs=(i,), pool=max_pool(2, 1, "same")), "max_pool"),
        (lambda i: Activation(name="extra", inputs=(i,), function=ReLU()), "activation"),
        (
            lambda i: DepthwiseConv2D(
                name="extra",
                inputs=(i,),
                kernel=np.ones((3, 3, 8), np.int8),
                weight_bits=4,
                weight_scale=np.ones((), np.float32),
            ),
            "depthwise_convolution",
        ),
    ],
)
def test_kinds_that_the_device_lacks_are_found(make, kind):
    findings = [f for f in check(with_layer(make), "AKD1000") if f.layer == "extra"]
    assert findings[0].op_type == kind and "has no layer of kind" in findings[0].reason


def test_reshaping_between_convolutions_is_found():
    def reshape(name, source, x, generator):
        return Reshape(name=name, inputs=(source,), shape=(8, 32, 8))

    findings = list(check(network(IMAGE, conv(8), reshape, conv(8)), "AKD1000"))
    assert [f.layer for f in findings] == ["layer_2"] and "1x1xC" in findings[0].reason


def test_a_report_reads_as_a_table_and_as_data():
    report = check(BAD["stride of 5x5"][0], "AKD1000")
    text = str(report)
    assert "breaks 1 rule of AKD1000" in text and "layer_2" in text and "what to do" in text
    data = json.loads(json.dumps(report.to_dict()))
    assert data["ok"] is False and data["findings"][0]["layer"] == "layer_2"


def test_a_float_network_is_refused():
    with pytest.raises(SpicaError, match="quantise it first"):
        check(Network((Input(name="input", shape=(4,)),), ("input",)), "AKD1000")


def test_rules_must_be_tables(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "X"\nextends = "AKD1000"\nrule = [3]\n', "utf-8")
    with pytest.raises(SpicaError, match="rule 1: must be a table"):
        load_device(path)
