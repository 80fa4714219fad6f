"""Map a network to a device: which layers run together, in how many tiles, and on which NPs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from os import PathLike

from spica.errors import SpicaError
from spica.hardware.checking import check
from spica.hardware.cost_model.activity import TYPICAL_DENSITY, Activity, expected_activity
from spica.hardware.cost_model.traffic import tile_traffic
from spica.hardware.device.load import load_device
from spica.hardware.device.schema import Device
from spica.hardware.mapping.partition import cut_rows, split
from spica.hardware.mapping.placement import NP, Band, Placement, arrange, coordinates
from spica.hardware.mapping.tiling import Tiles, Tiling, tile, weights_are_external
from spica.hardware.simulate import MappedNetwork
from spica.hardware.spec import specs
from spica.layers.weighted import lowered
from spica.network import Network
from spica.util.arguments import check_choice, is_integer

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

    A convolution's input is cut into the fewest bands of rows, and its filters into the fewest groups, that the
    memories of an NP hold; it takes bands x groups NPs. A fully connected layer takes one NP, and reads its weights
    from external memory where they do not fit. The first convolution runs in the input-convolution unit, which is
    beside the mesh and not counted. A network that is larger than the device runs in several passes, for each of which
    its weights are loaded anew.

    The cutting rule is fitted to published NP counts and gives all of them (docs/explanation/hardware-model.md).

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
    tiling = tile(specs(net), device, mode, chips, passes)
    if -(-len(tiling.bins) // chips) > device.max_passes:
        raise SpicaError(_too_many(net, device, tiling, chips))
    activity = expected_activity(net, TYPICAL_DENSITY)
    placements: list[Placement] = []
    for i, names in enumerate(tiling.bins):
        places = [_place(net, name, tiling.tiles[name], device, *divmod(i, chips)) for name in names]
        placements += _choose_nps(net, device, places, activity)
    return MappedNetwork(net, device, tuple(placements), mode, chips)


def _fit_memory(net: Network, device: Device) -> Device:
    """Return the device with its NPs' memory split so that the network needs the fewest NPs."""
    total, step = device.input_memory_bytes + device.weight_memory_bytes, device.scratchpad_step_bytes
    best, fewest = device, math.inf
    for inputs in (device.input_memory_bytes, *range(step, total, step)):
        variant = replace(device, input_memory_bytes=inputs, weight_memory_bytes=total - inputs)
        with suppress(SpicaError):  # with this split some layer does not fit at all
            if (nps := tile(specs(net), variant, "minimal", 1, None).nps) < fewest:
                best, fewest = variant, nps
    return best


def _check_options(device: Device, mode: str, passes: int | None, chips: int) -> None:
    check_choice("mode", mode, MODES)
    if not is_integer(chips) or not 1 <= chips <= device.max_chips:
        raise SpicaError(f"chips is {chips!r}, but {device.name} works in groups of 1 to {device.max_chips}")
    if passes is not None and mode != "fastest":
        raise SpicaError(f"passes can be given in the fastest mode only, not in the mode {mode!r}")
    if passes is not None and not (is_integer(passes) and 1 <= passes <= device.max_passes):
        raise SpicaError(f"passes is {passes!r}, but {device.name} runs networks in 1 to {device.max_passes}")


def _too_many(net: Network, device: Device, tiling: Tiling, chips: int) -> str:
    bins, total, have = tiling.bins, tiling.nps, chips * device.nps
    if device.max_passes > 1:
        return (
            f"{net.name}: needs {-(-len(bins) // chips)} passes of {device.name}, "
            f"which runs networks in at most {device.max_passes}; use fewer filters, smaller images, or more chips"
        )
    first = bins[chips][0]
    left = device.nps - sum(tiling.tiles[name].nps for name in bins[chips - 1])
    together = f"{chips} {device.name}" if chips > 1 else device.name
    more = f", or {len(bins)} chips" if len(bins) <= device.max_chips else ""
    return (
        f"{first}: needs {tiling.tiles[first].nps} NPs, but {left} of {together}'s {have} are left; the network needs "
        f"{total} in all, {total - have} too many: use fewer filters, smaller images, "
        f"a device of {-(-total // device.nps_per_node)} nodes{more}"
    )


def _place(net: Network, name: str, tiles: Tiles, device: Device, pass_index: int, chip: int) -> Placement:
    """Return a layer in its tiles, whose NPs of the device are not yet chosen: their numbers stand in for them."""
    spec = specs(net)[name]
    (x, *_) = spec.inputs
    whole = (Band(range(x.shape[0] if len(x.shape) > 1 else 1)),)
    return Placement(
        layer=name,
        spec=spec,
        pass_index=pass_index,
        bands=cut_rows(lowered(net[name]), x, tiles.bands) if tiles.bands > 1 else whole,
        groups=split(max(spec.filters, 1), tiles.groups, spec.group_step),
        nps=tuple(NP(chip, 0, 0, i) for i in range(tiles.nps)),
        external_weights=weights_are_external(spec, device),
    )


def _choose_nps(
    net: Network, device: Device, places: list[Placement], activity: Mapping[str, Activity]
) -> list[Placement]:
    """Return layers that are on a device together, each tile near to those that it exchanges events with."""
    nodes = coordinates(device).tolist()
    numbers = iter(arrange(device, *tile_traffic(net, places, activity)))

    def at(chip: int, number: int) -> NP:
        row, column = nodes[number]
        return NP(chip, row, column, number % device.nps_per_node)

    return [replace(place, nps=tuple(at(np_.chip, n) for np_, n in zip(place.nps, numbers))) for place in places]
