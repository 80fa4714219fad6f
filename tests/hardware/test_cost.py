"""The cost model: cycles, traffic and energy of runs on a device."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from spica.hardware import map_network
from spica.layers import GlobalAverage
from support.chip_networks import conv, dense, network, separable


def test_the_vendors_sweep_of_one_layer():
    """3x3, 32x32x32 to 32 filters on an NP of AKD1500: 679,844 cycles x density + 25,577 (measured)."""
    chip = map_network(network((32, 32, 32), separable(32), conv(32), bits=4), "AKD1500")
    for density in (0.1, 0.3, 0.5, 0.8):
        assert chip.estimate(density).layers[1].cycles == pytest.approx(679_844 * density + 25_577, rel=0.15)
    assert chip.estimate(0).layers[1].cycles == 308


def test_an_estimate_is_what_random_inputs_of_that_density_cost():
    chip = map_network(network((20, 20, 8), separable(8), separable(6, strides=2), bits=4), "AKD1500", mode="all")
    generator = np.random.default_rng(8)
    x = generator.integers(1, 16, (64, 20, 20, 8)).astype(np.uint8) * (generator.random((64, 20, 20, 8)) < 0.3)
    chip.forward(x)
    real = chip.statistics
    guess = chip.estimate({cost.layer: 1 - cost.sparsity for cost in real.layers})
    assert guess.layers[0].cycles == pytest.approx(real.layers[0].cycles, rel=0.03)
    assert guess.sops == pytest.approx(real.sops) and guess.dynamic_energy_uj == pytest.approx(real.dynamic_energy_uj)


def test_sparser_inputs_cost_less():
    chip = map_network(network((16, 16, 8), separable(8, pool=GlobalAverage()), dense(4), bits=4), "AKD1000")
    x = np.random.default_rng(3).integers(1, 16, (8, 16, 16, 8)).astype(np.uint8)
    costs = []
    for keep in (1.0, 0.5, 0.1, 0.0):
        chip.forward(x * (np.random.default_rng(4).random(x.shape) < keep))
        costs.append(chip.statistics)
    assert costs[0].layers[0].sparsity == 0 and costs[-1].layers[0].cycles == 308
    assert costs[0].cycles == pytest.approx(costs[0].dense_cycles)
    assert all(s.dense_cycles == costs[0].dense_cycles and "Zeros save" in str(s) for s in costs)
    for a, b in pairwise(costs):
        assert a.energy_uj > b.energy_uj and a.latency_ms > b.latency_ms and a.fps < b.fps
    for a, b in pairwise(s.layers[0] for s in costs):
        assert a.sparsity < b.sparsity
        assert a.events > b.events and a.cycles > b.cycles and a.energy_uj > b.energy_uj


def test_totals_add_up():
    net = network((16, 16, 3), conv(8), conv(8), separable(8, pool=GlobalAverage()), dense(4))
    chip = map_network(net, "AKD1000")
    chip.forward(np.random.default_rng(5).integers(0, 256, (8, 16, 16, 3)).astype(np.uint8))
    s = chip.statistics
    times = [cost.latency_ms for cost in s.layers]
    assert s.latency_ms == pytest.approx(sum(times))
    assert s.interval_ms == pytest.approx(max(a + b for a, b in pairwise(times)))
    assert s.fps == pytest.approx(1000 / s.interval_ms)
    assert s.power_mw == pytest.approx(s.energy_uj / s.interval_ms)
    assert s.energy_uj == pytest.approx(s.dynamic_energy_uj + s.static_energy_uj)
    assert s.layers[1].sops == s.layers[1].events * 9 * 8
    assert s.layers[1].energy_uj == pytest.approx(s.layers[1].sops * 8.1e-6)
    assert s.nps == chip.nps == 3
    for figure in ("latency_ms", "fps", "energy_uj", "power_mw"):
        low, high = s.band(figure)
        assert low < getattr(s, figure) < high


def test_larger_kernels_have_an_energy_of_their_own():
    chip = map_network(network((8, 8, 1), conv(4), conv(4, 5)), "AKD1000")
    chip.forward(np.full((1, 8, 8, 1), 200, np.uint8))
    cost = chip.statistics.layers[1]
    assert cost.energy_uj == pytest.approx(cost.sops * 11.8e-6)


def test_estimates_are_shown_as_such():
    chip = map_network(network((8, 8, 1), conv(4), conv(4, pool=GlobalAverage())), "AKD1000")
    chip.forward(np.full((2, 8, 8, 1), 200, np.uint8))
    text = str(chip.statistics)
    for words in ("modelled, not measured", "90 % band", "transferred", "unknown", "layer_2"):
        assert words in text
    data = json.loads(json.dumps(chip.statistics.to_dict()))
    assert data["tier"] == "transferred" and data["nps"] == 1 and len(data["layers"]) == 2
    assert data["modelled"]["energy_uj"]["low"] < data["modelled"]["energy_uj"]["value"]
    assert "assumed" in data["sources"]["static_mw"]


def test_names_of_the_first_version_warn():
    chip = map_network(network((8, 8, 1), conv(4), conv(4, pool=GlobalAverage())), "AKD1000")
    statistics = chip.estimate(0.5)
    cost, place = statistics.layers[1], chip.placements[1]
    for old, owner, new in (
        ("kind", cost, "convolution"),
        ("turn", cost, 0),
        ("kind", place, "convolution"),
        ("turn", place, 0),
        ("trust", statistics, statistics.confidence),
    ):
        with pytest.warns(DeprecationWarning, match=f"this attribute of {type(owner).__name__} is now"):
            assert getattr(owner, old) == new
    layer = statistics.to_dict()["layers"][1]
    assert (layer["kind"], layer["turn"]) == (layer["op_type"], layer["pass_index"]) == ("convolution", 0)
