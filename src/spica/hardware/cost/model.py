"""What a run costs on a device: cycles, operations, packets and energy of every layer, from what it receives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from spica.hardware.cost.activity import Activity, expect
from spica.hardware.cost.confidence import trust
from spica.hardware.cost.energy import layer_energy
from spica.hardware.cost.statistics import LayerCost, NPCost, Statistics
from spica.hardware.cost.timing import DENSE, WITHOUT_SPARSITY, layer_cycles, reads_external_memory
from spica.hardware.device.schema import Device
from spica.hardware.mapping.mesh import deliver
from spica.hardware.mapping.placement import Placement
from spica.network import Network

ACCESSES_PER_SOP = 3
"""A weight read, a potential read and a potential written."""


def meter(
    net: Network,
    device: Device,
    placements: Sequence[Placement],
    activity: Mapping[str, Activity],
    *,
    mode: str,
    chips: int,
) -> Statistics:
    """Cost of samples whose activity in every layer is given; averages, and latency and energy of each sample."""
    placed = {place.layer: place for place in placements}
    passes = 1 + max(place.turn for place in placements)
    costs, cycles, energies = [], [], []
    for place in placements:
        cost, layer_time, energy = _layer(net, device, place, placed, activity[place.layer])
        costs.append(cost)
        cycles.append(layer_time)
        energies.append(energy)
    reloaded = sum(program_bytes(net, place) for place in placements) if passes > 1 else 0
    crossings = sum(cost.crossings for cost in costs)
    beside = reloaded * device.reload_cycles + crossings / device.chip_link_events
    extra_pj = reloaded * device.reload_pj + crossings * device.chip_link_pj
    return Statistics(
        network=net.name,
        device=device,
        samples=len(cycles[0]),
        mode=mode,
        chips=chips,
        passes=passes,
        layers=tuple(costs),
        dense_cycles=beside + sum(_dense_cycles(net, device, place) for place in placements),
        input_bytes=sum(int(np.prod(net.types[i.name].shape)) * net.types[i.name].dtype.itemsize for i in net.inputs),
        reload_bytes=reloaded,
        transfer_cycles=beside,
        transfer_energy_uj=extra_pj * 1e-6,
        layer_cycles=np.array(cycles),
        layer_energies=np.array(energies),
        trust=trust(net, device, placements, passes, chips, float(np.sum(cycles, axis=0).mean())),
    )


def program_bytes(net: Network, place: Placement) -> int:
    """Bytes of weights that a layer's NPs are loaded with; each band of rows has its own copy."""
    facts = net.facts(net[place.layer])
    bits = facts.weight_bits_per_filter * facts.filters + facts.shared_weight_bits
    return -(-bits // 8) * max(len(place.bands), 1)


def _layer(
    net: Network, device: Device, place: Placement, placed: Mapping[str, Placement], received: Activity
) -> tuple[LayerCost, np.ndarray, np.ndarray]:
    """Averages of one layer, and the cycles and microjoules of each sample in it."""
    layer = net[place.layer]
    facts, samples = net.facts(layer), received.samples
    rows = [band.rows for band in place.bands]
    bands = len(place.bands)
    cycles = layer_cycles(device, place.kind, facts, rows, max(map(len, place.groups)), received, bands)
    sops = received.events.sum(axis=1) * facts.fan_out
    traffic = deliver(net, place, placed, received)
    hops = traffic.hops / samples
    energy = layer_energy(device, place.kind, facts, sops) + hops * device.hop_pj * 1e-6
    mean = float(cycles.mean())
    operations = float(facts.macs if place.kind in WITHOUT_SPARSITY else sops.mean())
    cost = LayerCost(
        layer=place.layer,
        kind=place.kind,
        turn=place.turn,
        nps=len(place.nps),
        events=float(received.events.sum(axis=1).mean()),
        inputs=received.inputs,
        sops=float(sops.mean()),
        cycles=mean,
        latency_ms=mean / (device.clock_mhz * 1e3),
        energy_uj=float(energy.mean()),
        packets=traffic.packets / samples,
        hops=hops,
        crossings=traffic.crossings / samples,
        link_load=traffic.busiest / samples / device.link_events / mean,
        memory_accesses=ACCESSES_PER_SOP * operations,
        external_weights=place.kind == DENSE and reads_external_memory(device, facts),
        by_np=tuple(_by_np(device, place, facts, received)),
    )
    return cost, cycles, energy


def _dense_cycles(net: Network, device: Device, place: Placement) -> float:
    """Cycles of a layer none of whose inputs is zero."""
    layer = net[place.layer]
    received = expect(net.input_types(layer), 1.0)
    rows, filters = [band.rows for band in place.bands], max(map(len, place.groups))
    return float(layer_cycles(device, place.kind, net.facts(layer), rows, filters, received, len(rows)).mean())


def _by_np(device: Device, place: Placement, facts, received: Activity):
    """What each NP of a layer has to do."""
    for number, np_ in enumerate(place.nps):
        band, group = divmod(number, len(place.groups))
        rows, filters = place.bands[band].rows, place.groups[group]
        held = received.events[:, rows.start : rows.stop].sum(axis=1)
        cycles = layer_cycles(device, place.kind, facts, [rows], len(filters), received, len(place.bands))
        events = float(held.mean())
        sops = events * facts.fan_out * len(filters) / max(facts.filters, 1)
        yield NPCost(np=np_, events=events, sops=sops, cycles=float(cycles.mean()))
