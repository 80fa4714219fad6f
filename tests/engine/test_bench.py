"""``spica bench``: what it says of a network, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import spica
from spica import zoo
from spica.cli.main import app
from spica.engine.bench import bench


@pytest.fixture(scope="module")
def network() -> spica.Network:
    net = zoo.ds_cnn(filters=16, blocks=1)
    x = np.random.default_rng(0).integers(0, 256, (8, 49, 10, 1), np.uint8)
    return spica.quantize(net, x, progress=False)


def test_every_layer_is_timed_and_says_its_path(network):
    x = np.zeros((4, 49, 10, 1), np.uint8)
    found = bench(network, x, threads=1, repeats=3)
    layers = {layer.name: layer for layer in found.layers}
    assert list(layers) == [layer.name for layer in network if layer.inputs]
    assert layers["conv_0"].density == 0 and layers["conv_0"].microseconds > 0
    assert layers["pointwise_1"].path in ("dense", "events") and layers["depthwise_1"].path == ""
    assert layers["conv_0"].macs == network.macs(network["conv_0"])
    assert found.batch == 4 and 0 < found.p50_ms <= found.p99_ms and found.peak_gmacs > 0
    assert found.samples_per_second == pytest.approx(4 / found.p50_ms * 1e3)
    assert "pointwise_1" in str(found) and "samples a second" in str(found)


def test_the_command_gives_the_figures_as_json(network, tmp_path):
    path, samples = tmp_path / "net.spica", tmp_path / "x.npy"
    network.save(path)
    np.save(samples, np.ones((2, 49, 10, 1), np.uint8))
    arguments = ["bench", str(path), "--samples", str(samples), "--batch", "3", "--repeats", "2", "--json"]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    facts = json.loads(done.stdout)
    assert facts["batch"] == 3 and facts["repeats"] == 2 and len(facts["layers"]) == len(network) - 1
    random = CliRunner().invoke(app, ["bench", str(path), "--repeats", "2"], catch_exceptions=False)
    assert "samples a second" in random.stdout


def test_what_cannot_be_measured_is_refused(network):
    x = np.zeros((1, 49, 10, 1), np.uint8)
    with pytest.raises(spica.SpicaError, match="quantise it to measure"):
        bench(zoo.ds_cnn(filters=4, blocks=1), x)
    with pytest.raises(spica.SpicaError, match="repeats is 0"):
        bench(network, x, repeats=0)
