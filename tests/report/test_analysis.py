"""Looking inside a quantised network, and choosing bits layer by layer."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import spica
from spica.hardware import cost
from spica.report import analyze
from support.command_line import call
from support.float_networks import SAMPLES, float_network


def balanced_network():
    """The random network with a last bias that makes it give every class about as often."""
    net = float_network()
    dense = net["dense"]
    mean = net.forward(SAMPLES.astype(np.float32)).mean(axis=0)
    layers = tuple(replace(r, bias=r.bias - mean) if r is dense else r for r in net)
    return spica.Network(layers, net.outputs)


LABELS = balanced_network().forward(SAMPLES.astype(np.float32)).argmax(axis=1)


@pytest.fixture(scope="module")
def networks():
    net = balanced_network()
    return net, *(spica.quantize(net, SAMPLES, weights=b, activations=b) for b in (8, 2))


def test_costs_make_up_the_whole_loss(networks):
    net, eight, two = networks
    for qnet in (eight, two):
        found = analyze(net, qnet, SAMPLES, LABELS)
        assert found.float_accuracy == 1.0
        assert found.accuracy == qnet.evaluate(SAMPLES, LABELS)
        assert sum(found.costs().values()) == pytest.approx(1 - found.accuracy)
        assert len(found.layers) == len(net) - 1
    assert found.layers[-1].accuracy == 1.0


def test_a_spoilt_layer_is_the_one_that_costs(networks):
    net, eight, _ = networks
    random = np.random.default_rng(0)
    layers = tuple(replace(r, kernel=random.permutation(r.kernel)) if r.name == "dense" else r for r in eight)
    costs = analyze(net, spica.Network(layers, eight.outputs), SAMPLES, LABELS).costs()
    assert max(costs, key=costs.get) == "dense"
    assert costs["dense"] > 0.3


def test_fewer_bits_diverge_more(networks):
    net, eight, two = networks
    fine, coarse = (analyze(net, q, SAMPLES) for q in (eight, two))
    assert fine.costs() == {}
    for a, b in zip(fine, coarse):
        assert b.difference.sqnr_db < a.difference.sqnr_db
    name = [row.difference.layer for row in fine].index("separable")
    assert coarse.layers[name].activations.divergence > fine.layers[name].activations.divergence
    assert coarse.layers[name].weights.divergence > fine.layers[name].weights.divergence


def test_the_command(networks, tmp_path, monkeypatch, capsys):
    for name, net in zip(("float", "eight", "two"), networks):
        net.save(tmp_path / f"{name}.spica")
    np.save(tmp_path / "x.npy", SAMPLES)
    np.save(tmp_path / "y.npy", LABELS)
    files = [tmp_path / "float.spica", tmp_path / "two.spica", "--samples", tmp_path / "x.npy"]
    code, out, _ = call(
        monkeypatch, capsys, "analyze", *files, "--labels", tmp_path / "y.npy", "--page", tmp_path / "p.html"
    )
    assert code == 0 and "costs, points" in out
    page = (tmp_path / "p.html").read_text()
    assert page.count("<svg") == 1 and "separable" in page and "<script" not in page and "src=" not in page
    code, out, _ = call(monkeypatch, capsys, "analyze", *files, "--json")
    assert code == 0 and json.loads(out)["accuracy"] is None


def test_a_recipe_keeps_a_budget_and_is_better_than_the_narrowest():
    net, memory = float_network(filters=8), cost("memory")
    wide, narrow = (
        memory(spica.quantize(net, SAMPLES, weights=b, activations=b, first_layer_weights=b)) for b in (8, 2)
    )
    budget = (wide + narrow) / 2
    found = spica.recipe(net, SAMPLES, memory, budget)
    qnet = spica.quantize(net, SAMPLES, weights=found.bits, activations=found.activations)
    assert memory(qnet) == found.cost <= budget
    assert found.widest_cost == pytest.approx(wide)
    assert set(found.bits.values()) <= {8, 4, 2} and len(set(found.bits.values())) > 1
    tight = spica.recipe(net, SAMPLES, memory, narrow * 1.01)
    assert found.loss < tight.loss
    assert "separable" in str(found) and json.dumps(found.to_dict())


def test_a_budget_that_nothing_keeps_is_refused():
    with pytest.raises(spica.SpicaError, match="at 4 bits everywhere, above"):
        spica.recipe(float_network(), SAMPLES, cost("memory"), 0.01, widths=(8, 4))
    with pytest.raises(spica.SpicaError, match="choose from nps, memory"):
        cost("money")
    with pytest.raises(spica.SpicaError, match="give samples"):
        cost("energy")


def test_budgets_on_a_device_from_the_command_line(tmp_path, monkeypatch, capsys):
    float_network().save(tmp_path / "float.spica")
    np.save(tmp_path / "x.npy", SAMPLES)
    rest = ["--samples", tmp_path / "x.npy", "-o", tmp_path / "q.spica"]
    code, out, _ = call(
        monkeypatch, capsys, "quantize", tmp_path / "float.spica", *rest, "--budget", "memory=2", "--json"
    )
    assert code == 0
    facts = json.loads(out)["recipe"]
    assert (
        facts["cost"] <= 2 and spica.load(tmp_path / "q.spica")["separable"].weight_bits == facts["bits"]["separable"]
    )
    code, _, err = call(monkeypatch, capsys, "quantize", tmp_path / "float.spica", *rest, "--budget", "memory")
    assert code == 2 and "nps=40" in err


def test_finetuning_from_the_command_line(keras, networks, tmp_path, monkeypatch, capsys):
    networks[0].save(tmp_path / "float.spica")
    networks[2].save(tmp_path / "two.spica")
    np.save(tmp_path / "x.npy", SAMPLES)
    np.save(tmp_path / "y.npy", LABELS)
    options = ["--samples", tmp_path / "x.npy", "--labels", tmp_path / "y.npy", "--teacher", tmp_path / "float.spica"]
    more = ["--epochs", "20", "-o", tmp_path / "t.spica", "--json"]
    code, out, _ = call(monkeypatch, capsys, "finetune", tmp_path / "two.spica", *options, *more)
    facts = json.loads(out)
    assert code == 0 and facts["accuracy"] > facts["accuracy_before"]
    assert spica.load(tmp_path / "t.spica").evaluate(SAMPLES, LABELS) == facts["accuracy"]
