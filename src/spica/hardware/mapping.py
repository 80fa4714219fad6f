"""Mapping a network to a device: which layers run together, in how many pieces, and on which NPs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike

import numpy as np

from spica.errors import SpicaError
from spica.hardware.activity import TYPICAL_DENSITY, expected_activity
from spica.hardware.allocation import Allocation, Pieces
from spica.hardware.chip import MappedNetwork
from spica.hardware.compatibility import check
from spica.hardware.device import Device, load_device
from spica.hardware.mesh import exchange
from spica.hardware.partition import Band, Convolution, cut_rows, split
from spica.hardware.placement import NP, Placement, arrange, coordinates
from spica.network import Network

MODES = ("minimal", "all", "fastest")
PARALLEL = 8
"""NPs that each convolution should have at least in the fastest mode.

With it the number of passes is that of five of the six networks for which the vendor publishes it.
"""


def map_network(
    net: Network,
    device: str | PathLike[str] | Device = "AKD1000",
    *,
    mode: str = "minimal",
    passes: int | None = None,
    chips: int = 1,
    density: float | Mapping[str, float] = TYPICAL_DENSITY,
) -> MappedNetwork:
    """Place every layer of an integer network on the NPs of a device.

    A convolution's input is cut into the fewest bands of rows, and its filters into the fewest groups, that
    the memories of an NP hold; it takes bands x groups NPs. A fully connected layer takes one NP, and reads
    its weights from external memory where they do not fit. The first convolution runs in the
    input-convolution unit, which is beside the mesh and not counted. A network that is larger than the device
    runs in several passes, for each of which its weights are loaded anew.

    Source: the cutting rule is fitted to published NP counts and gives all of them (docs/hardware-model.md).

    Args:
        net: an integer network.
        device: a device, its name in the catalogue, or the path of its file.
        mode: "minimal", the fewest NPs; "all", as many as are of use in the fewest passes; "fastest", more passes in
            which each layer has more NPs.
        passes: how many, in the fastest mode; a number that gives each layer about eight NPs by default.
        chips: devices that share the network.
        density: share of non-zero values that layers receive, for all or by name of the layer; it guides the modes
            that make the slowest layers faster.

    Raises:
        SpicaError: where the network breaks a rule of the device, or does not fit it; it says which layer.
    """
    device = load_device(device)
    _check_options(device, mode, passes, chips)
    report = check(net, device)
    if not report.ok:
        first, more = report.findings[0], len(report.findings) - 1
        others = f" (and {more} more; see check)" if more else ""
        raise SpicaError(f"{net.name} cannot run on {device.name}: {first}{others}")
    activity = expected_activity(net, density)
    allocation = Allocation(net, device, activity)
    loads = allocation.pack()
    if mode == "fastest":
        loads = allocation.fastest_cut(chips * (passes or _passes(allocation, len(loads), chips)))
    turns = -(-len(loads) // chips)
    if turns > device.max_passes:
        raise SpicaError(_too_many(allocation, loads, turns, chips))
    pieces = {
        name: found
        for load in loads
        for name, found in (allocation.fill(load) if mode != "minimal" else allocation.fewest).items()
        if name in load
    }
    placements = [place for i, load in enumerate(loads) for place in _place(allocation, pieces, load, i, chips)]
    return MappedNetwork(net, device, tuple(placements), mode, chips)


def _check_options(device: Device, mode: str, passes: int | None, chips: int) -> None:
    if mode not in MODES:
        raise SpicaError(f"mode {mode!r} is unknown; choose from {', '.join(MODES)}")
    if not isinstance(chips, int) or not 1 <= chips <= device.max_chips:
        raise SpicaError(f"chips is {chips!r}, but {device.name} works in groups of 1 to {device.max_chips}")
    if passes is None:
        return
    if mode != "fastest":
        raise SpicaError(f"passes can be given in the fastest mode only, not in the mode {mode!r}")
    if not isinstance(passes, int) or not 1 <= passes <= device.max_passes:
        raise SpicaError(f"passes is {passes!r}, but {device.name} runs networks in 1 to {device.max_passes}")


def _passes(allocation: Allocation, fewest: int, chips: int) -> int:
    """Passes in which each convolution can have about ``PARALLEL`` NPs."""
    device = allocation.device
    wanted = 0
    for need in allocation.fewest.values():
        if need.nps == 0:
            continue
        doublings = max(0, int(np.ceil(np.log2(PARALLEL / need.nps))))
        wanted += need.nps << doublings
    room = chips * (device.nps - device.dense_nps)
    return min(max(-(-wanted // room), -(-fewest // chips)), device.max_passes, len(allocation.kinds) // chips or 1)


def _too_many(allocation: Allocation, loads: list[list[str]], turns: int, chips: int) -> str:
    device, total = allocation.device, sum(p.nps for p in allocation.fewest.values())
    if device.max_passes > 1:
        return (
            f"{allocation.net.name}: needs {turns} passes of {device.name}, which runs networks in at most "
            f"{device.max_passes}; use fewer filters, smaller images, or more chips"
        )
    first = loads[chips][0]
    left = device.nps - device.dense_nps - allocation.convolution_nps(loads[chips - 1], allocation.fewest)
    together = f"{chips} {device.name}" if chips > 1 else device.name
    more = f", or {len(loads)} chips" if len(loads) <= device.max_chips else ""
    return (
        f"{first}: needs {allocation.fewest[first].nps} NPs, but {left} of {together}'s {chips * device.nps} are left; "
        f"the network needs {total} in all, {total - chips * device.nps} too many: use fewer filters, smaller images, "
        f"a device of {-(-(total + device.dense_nps) // device.nps_per_node)} nodes{more}"
    )


def _place(
    allocation: Allocation, pieces: Mapping[str, Pieces], load: list[str], number: int, chips: int
) -> list[Placement]:
    """Places of the layers of one load, near to those that they exchange events with."""
    net, device = allocation.net, allocation.device
    turn, chip = divmod(number, chips)
    places = []
    for name in load:
        layer, (x, *_), cut = net[name], net.input_types(net[name]), pieces[name]
        bands = max(cut.bands, 1)
        if bands > 1 and isinstance(layer, Convolution):
            rows = cut_rows(layer, x, bands)
        else:
            rows = (Band(range(x.shape[0] if len(x.shape) == 3 else 1)),)
        groups = split(max(net.facts(layer).filters, 1), cut.groups)
        numbers = tuple(NP(chip, 0, 0, i) for i in range(cut.nps))  # which NPs is found below
        places.append(
            Placement(layer=name, kind=allocation.kinds[name], turn=turn, bands=rows, groups=groups, nps=numbers)
        )
    traffic, entry = exchange(net, places, allocation.activity)
    at = iter(arrange(device, traffic, entry))
    nodes = coordinates(device)
    done = []
    for place in places:
        nps = [next(at) for _ in place.nps]
        found = tuple(
            NP(chip, int(row), int(column), n % device.nps_per_node) for n, (row, column) in zip(nps, nodes[nps])
        )
        done.append(replace(place, nps=found))
    return done
