"""Comparing two networks layer by layer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import spica
from spica.network import Network
from spica.report import compare
from support.command_line import call
from support.float_networks import SAMPLES, float_network


@pytest.fixture(scope="module")
def networks():
    net = float_network()
    return net, *(spica.quantize(net, SAMPLES, weights=bits, activations=bits) for bits in (8, 4))


def with_changed_weight(net: Network, name: str) -> Network:
    kernel = net[name].kernel.copy()
    kernel.flat[0] += 1 if kernel.flat[0] < 0 else -1
    return Network(tuple(replace(r, kernel=kernel) if r.name == name else r for r in net), net.outputs, "changed")


def test_a_network_equals_itself(networks):
    for net in networks:
        found = compare(net, net, SAMPLES)
        assert found.equal and all(layer.sqnr_db == np.inf and layer.largest == 0 for layer in found)
        assert len(found.layers) == len(net) - 1


def test_a_changed_weight_shows_where_it_is(networks):
    found = {r.layer: r for r in compare(networks[2], with_changed_weight(networks[2], "point"), SAMPLES)}
    assert found["first"].differ == found["depthwise"].differ == 0
    assert found["point"].differ > 0 and found["point"].sqnr_db < np.inf
    assert found["first"].sqnr_db == np.inf


def test_fewer_bits_are_further_from_float_and_gains_are_not_errors(networks):
    eight, four = (compare(networks[0], q, SAMPLES) for q in networks[1:])
    assert eight.only_b == four.only_b == ("dense/dequantize",)
    for fine, coarse in zip(eight, four):
        assert fine.sqnr_db > coarse.sqnr_db
        assert fine.sqnr_db > 20 and 0.5 < fine.gain < 2 and fine.cosine > 0.99


def test_real_samples_are_brought_to_integers():
    net, real = float_network(), (SAMPLES / 255).astype(np.float32)
    assert compare(net, spica.quantize(net, real), real).layers[0].sqnr_db > 25


def test_networks_without_a_common_layer_are_refused(networks):
    other = spica.Network(tuple(replace(r, name="x") for r in networks[0].inputs), ("x",))
    with pytest.raises(spica.SpicaError, match="nothing can be compared"):
        compare(networks[0], other, SAMPLES)


def test_the_command(networks, tmp_path, monkeypatch, capsys):
    for name, net in zip(("float", "eight", "four"), networks):
        net.save(tmp_path / f"{name}.spica")
    np.save(tmp_path / "x.npy", SAMPLES)
    pair = [tmp_path / "float.spica", tmp_path / "four.spica", "--samples", tmp_path / "x.npy"]
    code, out, _ = call(monkeypatch, capsys, "compare", *pair, "--picture", tmp_path / "p.svg")
    assert code == 0 and "float.spica and four.spica: different" in out and "<svg" in (tmp_path / "p.svg").read_text()
    code, out, _ = call(monkeypatch, capsys, "compare", *pair, "--exact", "--json")
    assert code == 1 and not json.loads(out)["equal"]
    code, _, err = call(monkeypatch, capsys, "compare", *pair, "--picture", tmp_path / "p.gif")
    assert code == 2 and ".svg or .png" in err
