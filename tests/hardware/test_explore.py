"""Exploration of devices: every combination, the designs that no other beats, one machine or a cluster."""

from __future__ import annotations

import json

import numpy as np
import pytest

from spica import SpicaError
from spica.cli.main import app
from spica.hardware import explore, load_device, map_network, sensitivity
from spica.hardware.exploration import BETTER, check_reachable
from spica.layers import GlobalAverage
from support.chip_networks import conv, dense, network, separable
from support.command_line import call

NET = network((32, 32, 3), conv(8), conv(16), separable(16), separable(32, pool=GlobalAverage()), dense(4))


def test_every_combination_is_mapped_and_costed():
    found = explore(NET, "AKD1500", {"nodes": [1, 2, 4], "mode": ["minimal", "all"]}, density=0.4)
    assert [d.values for d in found.designs] == [{"nodes": n, "mode": m} for n in (1, 2, 4) for m in ("minimal", "all")]
    for design in found.designs:
        device = load_device("AKD1500").replace(nodes=design.values["nodes"])
        cost = map_network(NET, device, mode=design.values["mode"]).estimate(0.4)
        assert (design.nps, design.passes) == (cost.nps, cost.passes)
        assert (design.latency_ms, design.energy_uj) == (cost.latency_ms, cost.energy_uj)
    assert found.designs[-1].latency_ms < found.designs[0].latency_ms


def test_many_processes_give_the_same():
    vary = {"sram": [4096, 20000, 88064], "chips": [1], "passes": [1, 2], "mode": ["fastest"]}
    one, many = (explore(NET, "AKD1500", vary, workers=w) for w in (1, 2))
    assert one.designs == many.designs


def test_no_design_on_the_front_is_beaten():
    found = explore(NET, "AKD1500", {"nodes": [1, 2, 8], "mode": ["minimal", "all", "fastest"]})
    front = found.pareto
    assert front

    def no_worse(a, b):
        return all(getattr(a, f) <= getattr(b, f) for f in BETTER)

    able = [design for design in found.designs if not design.problem]
    for design in able:
        better = [o for o in able if no_worse(o, design) and not no_worse(design, o)]
        assert (design in front) == (not better)


def test_samples_give_the_densities():
    x = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    found = explore(NET, "AKD1500", {"nodes": [8]}, samples=x)
    chip = map_network(NET, "AKD1500")
    chip.forward(x)
    assert found.designs[0].energy_uj == pytest.approx(chip.statistics.energy_uj, rel=0.05)


def test_designs_that_cannot_be_say_why():
    found = explore(NET, "AKD1500", {"sram": [100, 88064]})
    assert "layer_2: one filter over 8 channels needs" in found.designs[0].problem or found.designs[0].problem
    assert not found.designs[1].problem and found.designs[0] not in found.pareto
    assert found.designs[0].problem[:20] in str(found)


@pytest.mark.parametrize(
    ("vary", "words"),
    [
        ({}, "nothing is varied"),
        ({"colour": ["red"]}, "'colour' cannot be varied; choose from sram"),
        ({"nodes": []}, "no values"),
    ],
)
def test_what_cannot_be_varied_is_refused(vary, words):
    with pytest.raises(SpicaError, match=words):
        explore(NET, "AKD1500", vary)


def test_the_command_writes_table_picture_and_json(tmp_path):
    from typer.testing import CliRunner

    pytest.importorskip("matplotlib")
    NET.save(tmp_path / "net.spica")
    arguments = [
        "explore",
        str(tmp_path / "net.spica"),
        "-d",
        "AKD1500",
        "--vary",
        "nodes=1,2",
        "--vary",
        "mode=all,minimal",
    ]
    result = CliRunner().invoke(app, [*arguments, "--workers", "1", "--picture", str(tmp_path / "a.svg")])
    assert result.exit_code == 0 and "best" in result.output and "modelled" in result.output
    assert "<svg" in (tmp_path / "a.svg").read_text()
    facts = json.loads(CliRunner().invoke(app, [*arguments, "--workers", "1", "--json"]).output)
    assert len(facts["designs"]) == 4 and any(d["pareto"] for d in facts["designs"])
    bad = CliRunner().invoke(app, ["explore", str(tmp_path / "net.spica"), "--vary", "nodes"])
    assert isinstance(bad.exception, SpicaError)


def test_a_ray_cluster_gives_the_same():
    pytest.importorskip("ray")
    vary = {"nodes": [1, 2, 4]}
    here, there = explore(NET, "AKD1500", vary), explore(NET, "AKD1500", vary, address="local")
    assert here.designs == there.designs


def test_grids_and_clusters_that_cannot_be_are_refused_at_once():
    with pytest.raises(SpicaError, match="10,000,000,000 designs are too many"):
        explore(NET, "AKD1000", dict.fromkeys(("nodes", "clock_mhz", "static_mw", "sop_pj", "hop_pj"), range(1, 101)))
    for address, message in (
        ("nonsense", "not of the form"),
        ("ray://127.0.0.1:1", "no cluster answers"),
        ("", "not of"),
    ):
        with pytest.raises(SpicaError, match=message):
            check_reachable(address)


def test_sensitivity_names_the_figures_that_costs_hang_on():
    net = network((32, 32, 3), conv(8, weights=8), conv(16, weights=8, activations=8, bounded=False), bits=8)
    chip = map_network(net, "AKIDA2-6")
    found = {i.figure: i for i in sensitivity(chip, 0.4).influences}
    assert found["clock_mhz"].changes["latency_ms"] == pytest.approx(-1 / 3)
    assert found["static_mw"].changes["latency_ms"] == 0 and found["static_mw"].changes["power_mw"] > 0.01
    assert "assumed" in found["static_mw"].source and "energy_factor" not in found
    raised = chip.device.replace(kernel3_cycles=1.5 * chip.device.kernel3_cycles)
    more = map_network(net, raised).estimate(0.4).latency_ms / chip.estimate(0.4).latency_ms - 1
    assert found["kernel3_cycles"].changes["latency_ms"] == pytest.approx(more)
    strongest = [max(map(abs, i.changes.values())) for i in found.values()]
    assert strongest == sorted(strongest, reverse=True)


def test_the_command_shows_sensitivity_and_refuses_what_it_does_not_read(tmp_path, monkeypatch, capsys):
    path = str(tmp_path / "net.spica")
    NET.save(path)
    _, shown, _ = call(monkeypatch, capsys, "explore", path, "--device", "AKD1500", "--sensitivity")
    assert "kernel3_cycles" in shown and "half as large again" in shown
    _, text, _ = call(monkeypatch, capsys, "explore", path, "--device", "AKD1500", "--sensitivity", "--json")
    assert json.loads(text)["raised"] == 1.5 and json.loads(text)["influences"][0]["figure"]
    code, _, error = call(monkeypatch, capsys, "explore", path, "--sensitivity", "--vary", "nodes=1,2")
    assert code and "--vary changes nothing with --sensitivity" in error
    assert "nothing is varied" in call(monkeypatch, capsys, "explore", path)[2]
