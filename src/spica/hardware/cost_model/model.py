"""The cost model: cycles, operations, packets and energy of every layer, from what it receives."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

import numpy as np

from spica.hardware.cost_model.activity import Activity, expect
from spica.hardware.cost_model.confidence import judge
from spica.hardware.cost_model.statistics import LayerCost, NPCost, Statistics
from spica.hardware.cost_model.traffic import route_traffic
from spica.hardware.cost_model.units import UNITS, transfer_cycles, transfer_energy
from spica.hardware.device.schema import Device
from spica.hardware.mapping.placement import Placement, Schedule

ACCESSES_PER_SOP = 3
"""A weight read, a potential read and a potential written."""


def model_cost(schedule: Schedule, activity: Mapping[str, Activity]) -> Statistics:
    """Return the cost of samples whose activity in every layer is given."""
    net, device, places = schedule.network, schedule.device, schedule.placements
    costs, cycles, energies = zip(*(_layer(schedule, place, activity[place.layer]) for place in places))
    dense = [float(_cycles(device, place, expect(place.spec.inputs, 1.0)).mean()) for place in places]
    crossings = sum(cost.crossings for cost in costs)
    loads = schedule.loads
    transfers = transfer_cycles(device, loads, crossings)
    return Statistics(
        network=net.name,
        device=device,
        samples=len(cycles[0]),
        mode=schedule.mode,
        chips=schedule.chips,
        passes=schedule.passes,
        layers=costs,
        dense_cycles=transfers + sum(dense),
        input_bytes=sum(int(np.prod(net.types[i.name].shape)) * net.types[i.name].dtype.itemsize for i in net.inputs),
        loads=loads,
        transfer_cycles=transfers,
        transfer_energy_uj=transfer_energy(device, loads, crossings),
        layer_cycles=np.array(cycles),
        layer_energies=np.array(energies),
        confidence=judge(schedule, float(np.sum(cycles, axis=0).mean()), activity),
    )


def _layer(schedule: Schedule, place: Placement, received: Activity) -> tuple[LayerCost, np.ndarray, np.ndarray]:
    """Return the averages of one layer, and the cycles and microjoules of each sample in it."""
    device, spec, unit, samples = schedule.device, place.spec, UNITS[place.op_type], len(received.events)
    cycles, events = _cycles(device, place, received), received.events.sum(axis=1)
    traffic = route_traffic(schedule.network, place, schedule.by_layer, received)
    computed = sum(received.events[:, band.rows.start : band.rows.stop].sum(axis=1) for band in place.bands)
    energy = unit.energy(device, spec, computed * spec.fan_out) + traffic.hops / samples * device.hop_pj * 1e-6
    mean, sops = float(cycles.mean()), float((events * spec.fan_out).mean())
    cost = LayerCost(
        layer=place.layer,
        op_type=place.op_type,
        pass_index=place.pass_index,
        nps=len(place.nps),
        events=float(events.mean()),
        inputs=received.inputs,
        sops=sops,
        cycles=mean,
        latency_ms=mean / device.cycles_per_ms,
        energy_uj=float(energy.mean()),
        packets=traffic.packets / samples,
        hops=traffic.hops / samples,
        crossings=traffic.crossings / samples,
        link_load=traffic.busiest / samples / device.link_events / mean,
        memory_accesses=ACCESSES_PER_SOP * (sops if unit.uses_sparsity else float(spec.macs)),
        external_weights=place.external_weights,
        by_np=tuple(_by_np(device, place, received)),
    )
    return cost, cycles, energy


def _cycles(device: Device, place: Placement, received: Activity) -> np.ndarray:
    """Return the cycles of each sample in a layer."""
    rows, filters = [band.rows for band in place.bands], max(map(len, place.groups))
    return UNITS[place.op_type].cycles(device, place, rows, filters, received)


def _by_np(device: Device, place: Placement, received: Activity) -> Iterator[NPCost]:
    """Yield what each NP of a layer has to do."""
    spec = place.spec
    tiles = itertools.product((band.rows for band in place.bands), map(len, place.groups))
    for np_, (rows, filters) in zip(place.nps, tiles):
        events = float(received.events[:, rows.start : rows.stop].sum(axis=1).mean())
        sops = events * spec.fan_out * filters / max(spec.filters, 1)
        cycles = float(UNITS[place.op_type].cycles(device, place, [rows], filters, received).mean())
        yield NPCost(np=np_, events=events, sops=sops, cycles=cycles)
