"""The cost model: cycles, traffic and energy of runs on a device."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from spica.hardware import load_device, map_network
from spica.layers import GlobalAverage
from support.chip_networks import conv, dense, network, separable


def each_pj(layer) -> float:
    """Picojoules of a synapse operation on AKD1000, by the share of weights that are not zero."""
    return 5.9 + 13.1 * np.count_nonzero(layer.kernel) / layer.kernel.size


def test_the_vendors_sweep_of_one_layer():
    """3x3, 32x32x32 to 32 filters on an NP of AKD1500: 679,844 cycles x density + 25,577 (measured)."""
    chip = map_network(network((32, 32, 32), separable(32), conv(32), bits=4), "AKD1500")
    for density in (0.1, 0.3, 0.5, 0.8):
        assert chip.estimate(density).layers[1].cycles == pytest.approx(679_844 * density + 25_577, rel=0.01)
    assert chip.estimate(0).layers[1].cycles == 308


def run(*makers, shape=(12, 10, 6), device="AKD1500", bits=4, **options):
    """A chain on a device, with its cost on samples of which a third is not zero, and the samples."""
    chip = map_network(network(shape, *makers, bits=bits), device, **options)
    r = np.random.default_rng(0)
    x = (r.integers(1, 1 << bits, (1, *shape)) * (r.random((1, *shape)) < 1 / 3)).astype(np.uint8)
    chip.forward(x)
    return chip, chip.statistics, x


@pytest.mark.parametrize(
    ("make", "kernel", "each"),
    [(conv, 1, 0.386), (conv, 3, 0.653), (conv, 5, 2.24), (conv, 7, 9.27), (separable, 3, 0.653), (separable, 5, 1.8)],
)
def test_a_layer_costs_events_rows_pixels_and_filters_in_fours(make, kernel, each):
    _chip, cost, x = run(make(10, kernel))
    events, runs = np.count_nonzero(x), np.count_nonzero(x[0].any(axis=1))
    filters = 12  # 10 rounded up
    cycles = filters * (each * (events + 0.477 * runs) + 0.347 * 120 + 2.93 * 12) + 308
    assert cost.layers[0].cycles == pytest.approx(cycles)


def test_bands_are_as_uneven_as_what_was_counted_or_else_as_images_are():
    chip, cost, x = run(conv(4), shape=(70, 8, 2))
    bands = chip.placements[0].bands
    assert len(bands) == 3

    def cycles(events, runs, rows):
        return 4 * (0.653 * (events + 0.477 * runs) + 0.347 * 70 * 8 / 3 + 2.93 * rows) + 308

    counted = [x[0, b.rows.start : b.rows.stop] for b in bands]
    assert cost.layers[0].cycles == pytest.approx(
        max(cycles(np.count_nonzero(c), np.count_nonzero(c.any(axis=1)), len(c)) for c in counted)
    )
    rows = max(len(b.rows) for b in bands)
    uneven = 1 + 0.07 * np.log(3)
    dense = chip.estimate({"layer_1": 1.0}).layers[0]
    assert dense.cycles == pytest.approx(cycles(uneven * rows * 16, uneven * rows * 2, rows))
    # Events of halo rows take energy once for each band that needs them.
    shared = sum(np.count_nonzero(c) for c in counted)
    assert cost.layers[0].energy_uj == pytest.approx(
        shared * 9 * 4 * each_pj(chip.network["layer_1"]) * 1e-6 * 5.2 / 13.1, rel=0.02
    )
    assert cost.layers[0].sops == np.count_nonzero(x) * 9 * 4


@pytest.mark.parametrize(("filters", "kernel", "groups"), [(8, 3, 1), (16, 5, 1), (30, 7, 2)])
def test_the_input_unit_takes_32_cycles_a_pixel_of_16_filters(filters, kernel, groups):
    _chip, cost, _ = run(conv(filters, kernel, 2, weights=8), conv(4), shape=(20, 14, 3), bits=8)
    assert cost.layers[0].cycles == 32 * 10 * 7 * groups
    assert cost.layers[0].energy_uj == pytest.approx(10 * 7 * filters * 460e-6)


def test_a_fully_connected_layer_counts_events_on_chip_and_weights_outside():
    (_, cost, x), (_, outside, _) = run(dense(12), shape=(64,)), run(dense(100), shape=(3000,))
    assert cost.layers[0].cycles == pytest.approx(0.46 * np.count_nonzero(x) * 12 + 455)
    assert outside.layers[0].external_weights and outside.layers[0].cycles == 100 * (1.75 * 3000 + 185)


def test_the_first_pass_is_loaded_by_the_host_and_the_others_inside():
    small = load_device("AKD1500").replace(nodes=1)
    chip, cost, _ = run(conv(16), conv(16), separable(16), conv(16), conv(16), shape=(30, 30, 8), device=small)
    first, later = ([p for p in chip.placements if bool(p.pass_index) is late] for late in (False, True))
    size = {p.layer: p.weight_bytes for p in chip.placements}
    assert chip.passes > 1 and size["layer_1"] == 9 * 8 * 16 // 2
    assert size["layer_3"] == 16 * 16 // 2 + 9 * 16  # depthwise weights take 8 bits
    load = 3.38 * sum(size[p.layer] for p in later) + 2100 * sum(len(p.nps) for p in later)
    assert cost.cycles == pytest.approx(sum(c.cycles for c in cost.layers) + load)
    host = 0.025 + (30 * 30 * 8 * 1.9 + 7.75 * sum(size[p.layer] for p in first)) * 1e-6
    assert cost.power.fps == pytest.approx(1e3 / (cost.latency_ms + host))
    assert cost.transfer_energy_uj == pytest.approx(sum(size.values()) * 130e-6)


def test_a_meter_shows_the_boards_floor_beside_the_chips():
    _, cost, _ = run(conv(8), device="AKD1000")
    assert cost.power.floor_mw == pytest.approx(649 + 0.84 * 300) and cost.power.board_mw == cost.power.floor_mw - 113
    low, high = cost.power.bands["floor_mw"]
    assert (low, high) == pytest.approx((0.98 * 901, 1.02 * 901))
    assert cost.static_energy_uj == pytest.approx(113 * cost.interval_ms)


def test_bands_are_called_what_they_are():
    _, counted, _ = run(conv(8, weights=1), conv(8, weights=1))
    net = network((64, 64, 16), *[conv(64)] * 3, bits=4)
    zeros = net.with_layers(replace(r, kernel=r.kernel * (r.kernel > 1)) if r.inputs else r for r in net)
    chip = map_network(zeros, "AKD1500")
    known = chip.estimate({layer.name: 0.4 for layer in zeros})
    assert (known.confidence.tier, known.confidence.reasons, known.confidence.counted) == ("calibrated", (), True)
    assert "90 % band" in str(known) and known.band("cycles") == pytest.approx(
        (0.95 * known.cycles, 1.05 * known.cycles)
    )
    assumed = chip.estimate(0.4)
    assert assumed.confidence.tier == "interpolated" and "assumed activity" in assumed.confidence.reasons
    assert assumed.cycles == known.cycles and assumed.band("cycles")[0] < 0.31 * known.cycles
    left = chip.estimate({"layer_1": 0.4})
    assert left.confidence.reasons == ("assumed activity of 2 layers",)
    assert set(counted.confidence.reasons) == {
        "1-bit weights",
        "a small network",
        "weights of which over 60% are not zero",
    }
    assert "plausible range (assumed)" in str(counted)


def test_sums_are_surer_than_their_parts_and_totals_hold_their_floor():
    _, cost, _ = run(conv(8), conv(8))
    c = cost.confidence
    (low, high), parts = cost.band("energy_uj"), (cost.static_energy_uj, cost.dynamic_energy_uj)
    below = [value * (1 - f.low) for value, f in zip(parts, (c.floor.times(c.cycles), c.dynamic))]
    assert low == pytest.approx(cost.energy_uj - np.hypot(*below)) and high > cost.energy_uj
    low, _ = cost.band("power_mw")
    assert low > 0.97 * 113


def test_a_changed_device_is_speculative_with_wide_ranges_and_says_what_it_inherits():
    device = load_device("AKD1500").replace(sop_pj=0.1)
    _, cost, _ = run(conv(8), conv(8), device=device)
    assert cost.confidence.tier == "speculative" and not cost.confidence.counted
    low, high = cost.band("dynamic_energy_uj")
    assert high / low >= 9 and cost.band("latency_ms")[0] <= 0.6 * cost.latency_ms
    data = cost.to_dict()
    assert data["inherited"]["device"] == "AKD1500" and "weight_pj" in data["inherited"]["figures"]
    assert "sop_pj" not in data["inherited"]["figures"] and "figures of AKD1500: " in str(cost)


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
    assert s.layers[1].energy_uj == pytest.approx(s.layers[1].sops * each_pj(net["layer_2"]) * 1e-6)
    assert s.nps == chip.nps == 3
    for figure in ("latency_ms", "fps", "energy_uj", "power_mw"):
        low, high = s.band(figure)
        assert low < getattr(s, figure) < high


def test_larger_kernels_have_an_energy_of_their_own():
    chip = map_network(network((8, 8, 1), conv(4), conv(4, 5)), "AKD1000")
    chip.forward(np.full((1, 8, 8, 1), 200, np.uint8))
    cost = chip.statistics.layers[1]
    assert cost.energy_uj == pytest.approx(cost.sops * 1.31 * each_pj(chip.network["layer_2"]) * 1e-6)


def test_estimates_are_shown_as_such():
    chip = map_network(network((8, 8, 1), conv(4), conv(4, pool=GlobalAverage())), "AKD1000")
    chip.forward(np.full((2, 8, 8, 1), 200, np.uint8))
    text = str(chip.statistics)
    for words in ("modelled, not measured", "plausible range (assumed)", "transferred", "unknown", "layer_2"):
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
