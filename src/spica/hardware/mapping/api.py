"""Mapping a network to a device: which layers run together, in how many pieces, and on which NPs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from os import PathLike

from spica.errors import SpicaError
from spica.hardware.check import check, kind_of
from spica.hardware.cost.activity import TYPICAL_DENSITY, Activity, expected_activity
from spica.hardware.device.schema import Device, load_device
from spica.hardware.mapping.mesh import exchange
from spica.hardware.mapping.partition import Band, ByToken, Convolution, cut_rows, split
from spica.hardware.mapping.placement import NP, Placement, arrange, coordinates
from spica.hardware.mapping.tiling import Allocation, Pieces, allocate
from spica.hardware.simulate import MappedNetwork
from spica.network import Network

MODES = ("minimal", "all", "fastest")


def map_network(
    net: Network,
    device: str | PathLike[str] | Device = "AKD1000",
    *,
    mode: str = "minimal",
    passes: int | None = None,
    chips: int = 1,
    fit_memory: bool = False,
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
        passes: how many at most, in the fastest mode; five by default.
        chips: devices that share the network.
        fit_memory: whether to move memory between the inputs and the weights of an NP, where the device's scratchpads
            can be configured, so that the network needs the fewest NPs.

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
    if fit_memory:
        device = _fit_memory(net, device)
    allocation = allocate(net, device, mode, chips, passes)
    turns = -(-len(allocation.loads) // chips)
    if turns > device.max_passes:
        raise SpicaError(_too_many(net, device, allocation, turns, chips))
    activity = expected_activity(net, TYPICAL_DENSITY)
    placements: list[Placement] = []
    for number, load in enumerate(allocation.loads):
        places = [_cut(net, device, name, allocation.pieces[name], *divmod(number, chips)) for name in load]
        placements += _put_near(net, device, places, activity)
    return MappedNetwork(net, device, tuple(placements), mode, chips)


def _fit_memory(net: Network, device: Device) -> Device:
    """The device with its NPs' memory split so that the network needs the fewest NPs; as it is if none is better."""
    total, step = device.input_memory_bytes + device.weight_memory_bytes, device.scratchpad_step_bytes
    best, fewest = device, None
    for inputs in (device.input_memory_bytes, *range(step, total, step)):
        variant = dataclasses.replace(device, input_memory_bytes=inputs, weight_memory_bytes=total - inputs)
        try:
            nps = allocate(net, variant, "minimal", 1, None).nps
        except SpicaError:  # with this split some layer does not fit at all
            continue
        if fewest is None or nps < fewest:
            best, fewest = variant, nps
    return best


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


def _too_many(net: Network, device: Device, allocation: Allocation, turns: int, chips: int) -> str:
    loads, total = allocation.loads, allocation.nps
    if device.max_passes > 1:
        return (
            f"{net.name}: needs {turns} passes of {device.name}, which runs networks in at most {device.max_passes}; "
            "use fewer filters, smaller images, or more chips"
        )
    first = loads[chips][0]
    left = device.nps - sum(allocation.pieces[name].nps for name in loads[chips - 1])
    together = f"{chips} {device.name}" if chips > 1 else device.name
    more = f", or {len(loads)} chips" if len(loads) <= device.max_chips else ""
    return (
        f"{first}: needs {allocation.pieces[first].nps} NPs, but {left} of {together}'s {chips * device.nps} are left; "
        f"the network needs {total} in all, {total - chips * device.nps} too many: use fewer filters, smaller images, "
        f"a device of {-(-total // device.nps_per_node)} nodes{more}"
    )


def _cut(net: Network, device: Device, name: str, pieces: Pieces, turn: int, chip: int) -> Placement:
    """A layer in its pieces, whose NPs of the device are not yet chosen: their numbers stand in for them."""
    layer = net[name]
    (x, *_), kind = net.input_types(layer), kind_of(net, layer)
    facts = net.facts(layer)
    if pieces.bands > 1 and isinstance(layer, Convolution | ByToken):
        bands = cut_rows(layer, x, pieces.bands)
    else:
        bands = (Band(range(x.shape[0] if len(x.shape) > 1 else 1)),)
    groups = split(max(facts.filters, 1), pieces.groups, facts.group_step)
    nps = tuple(NP(chip, 0, 0, i) for i in range(pieces.nps))
    return Placement(layer=name, kind=kind, turn=turn, bands=bands, groups=groups, nps=nps)


def _put_near(
    net: Network, device: Device, places: list[Placement], activity: Mapping[str, Activity]
) -> list[Placement]:
    """Layers that are on a device together, each piece near to those that it exchanges events with."""
    numbers = iter(arrange(device, *exchange(net, places, activity)))
    nodes = coordinates(device)

    def at(chip: int, number: int) -> NP:
        row, column = map(int, nodes[number])
        return NP(chip, row, column, number % device.nps_per_node)

    return [replace(place, nps=tuple(at(np_.chip, next(numbers)) for np_ in place.nps)) for place in places]
