"""Where tiles lie on the mesh, and the packets that they send each other."""

from __future__ import annotations

import numpy as np
import pytest

from spica import zoo
from spica.hardware import load_device, map_network
from spica.hardware.cost_model.activity import expected_activity
from spica.hardware.cost_model.traffic import tile_traffic
from spica.hardware.mapping.placement import INPUT_UNIT, arrange, coordinates
from support.chip_networks import conv, network, quantized

AKD1000 = load_device("AKD1000")


def wire_length(device, numbers, traffic, from_input) -> float:
    """The sum of events x hops over the mesh, which ``arrange`` makes small."""
    places = coordinates(device)[list(numbers)]
    distance = np.abs(places[:, None] - places[None]).sum(axis=2)
    return float((traffic * distance).sum() + from_input @ np.abs(places - INPUT_UNIT).sum(axis=1))


def test_nps_are_placed_near_those_that_they_exchange_events_with():
    net = quantized(zoo.akidanet(1.0, 160))
    chip = map_network(net, "AKD1000")
    places = [place for p in chip.placements for place in p.nps]
    assert len(set(places)) == chip.nps == 68
    assert max(p.row for p in places) < 4 and max(p.column for p in places) < 5
    traffic, entry = tile_traffic(net, chip.placements, expected_activity(net, 0.5))
    found = arrange(AKD1000, traffic, entry)
    along = wire_length(AKD1000, range(68), traffic, entry)
    scattered = np.random.default_rng(0).permutation(80)[:68]
    assert wire_length(AKD1000, found, traffic, entry) <= 0.9 * along
    assert wire_length(AKD1000, found, traffic, entry) <= 0.5 * wire_length(AKD1000, scattered, traffic, entry)


def test_exchanges_never_make_the_way_longer():
    generator = np.random.default_rng(3)
    for tiles in (1, 5, 80):
        traffic = generator.random((tiles, tiles)) * (generator.random((tiles, tiles)) < 0.2)
        entry = generator.random(tiles)
        found = arrange(AKD1000, traffic, entry)
        assert len(set(found)) == tiles and max(found) < 80
        assert wire_length(AKD1000, found, traffic, entry) <= wire_length(AKD1000, range(tiles), traffic, entry) + 1e-9


def test_every_event_reaches_the_nps_that_need_it():
    """Packets are counted by hand: each event goes to each group, and to each band whose rows hold it."""
    net = network((12, 12, 3), conv(8), conv(12), conv(6, 3))
    device = AKD1000.replace(nodes=500, input_memory_bytes=300, weight_memory_bytes=200)
    chip = map_network(net, device)
    x = np.random.default_rng(6).integers(0, 256, (2, 12, 12, 3)).astype(np.uint8)
    chip.forward(x)
    tensors = net.run(x, keep=["layer_1", "layer_2"]).tensors
    for place, cost, name in zip(chip.placements[1:], chip.statistics.layers[1:], ("layer_1", "layer_2")):
        held = sum(np.count_nonzero(tensors[name][:, b.rows.start : b.rows.stop]) for b in place.bands)
        assert cost.packets == held * len(place.groups) / 2
        assert cost.hops >= 0 and cost.link_load >= 0
        assert sum(np_.events for np_ in cost.by_np) == cost.packets
        assert max(np_.cycles for np_ in cost.by_np) == pytest.approx(cost.cycles)
