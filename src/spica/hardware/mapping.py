"""Mapping a network to a device: how many NPs each layer needs, and which it gets."""

from __future__ import annotations

from os import PathLike

from spica.errors import SpicaError
from spica.hardware.chip import MappedNetwork
from spica.hardware.compatibility import check, kind_of
from spica.hardware.device import Device, load_device
from spica.hardware.partition import Convolution, cut_rows, split
from spica.hardware.placement import Placement, np_at
from spica.network import Layer, Network


def map_network(net: Network, device: str | PathLike[str] | Device = "AKD1000") -> MappedNetwork:
    """Place every layer of an integer network on the NPs of a device.

    A convolution's input is cut into the fewest bands of rows, and its filters into the fewest groups, that
    the memories of an NP hold; it takes bands x groups NPs. A fully connected layer takes one NP, and reads
    its weights from external memory where they do not fit. The first convolution runs in the
    input-convolution unit, which is beside the mesh and not counted. NPs are handed out along the mesh.

    Source: the cutting rule is fitted to published NP counts and gives all of them: twelve AkidaNet and
    MobileNet totals and YOLOv2's of the vendor's model zoo, and 110 layers of networks measured on AKD1500.

    Raises:
        SpicaError: where the network breaks a rule of the device, or does not fit it; it says which layer.
    """
    device = load_device(device)
    report = check(net, device)
    if not report.ok:
        first, more = report.findings[0], len(report.findings) - 1
        others = f" (and {more} more; see check)" if more else ""
        raise SpicaError(f"{net.name} cannot run on {device.name}: {first}{others}")
    kinds = {layer.name: kind for layer in net if (kind := kind_of(net, layer))}
    pieces = {name: count_pieces(net, net[name], device) for name, kind in kinds.items() if kind != "input_convolution"}
    _check_room(pieces, device)
    placements = []
    used = 0
    for name, kind in kinds.items():
        layer, facts = net[name], net.facts(net[name])
        bands, groups = pieces.get(name, (0, 1))
        placements.append(
            Placement(
                layer=name,
                kind=kind,
                bands=cut_rows(layer, net.input_types(layer)[0], bands) if isinstance(layer, Convolution) else (),
                groups=split(facts.filters, groups),
                nps=tuple(np_at(device, used + i) for i in range(bands * groups)),
                external_weights=kind == "fully_connected"
                and facts.weight_bits_per_filter * facts.filters > 8 * device.weight_memory_bytes,
            )
        )
        used += bands * groups
    return MappedNetwork(net, device, tuple(placements))


def count_pieces(net: Network, layer: Layer, device: Device) -> tuple[int, int]:
    """Bands of rows and groups of filters that a layer is cut into; their product is its NPs.

    Raises:
        SpicaError: where not even one row, or one filter, fits the memory of an NP.
    """
    if kind_of(net, layer) == "fully_connected":
        return 1, 1
    return _count_bands(net, layer, device), _count_groups(net, layer, device)


def _count_bands(net: Network, layer: Layer, device: Device) -> int:
    (x,) = net.input_types(layer)
    height, width, channels = x.shape
    column_bits = channels * (x.bits or 0)
    memory, halo = 8 * device.input_memory_bytes, net.facts(layer).halo
    for bands in range(-(-height // device.max_band_rows), height + 1):
        rows = -(-height // bands) + (halo if bands > 1 else 0)
        if rows * width * column_bits <= memory:
            return bands
    raise SpicaError(
        f"{layer.name}: {rows} rows of {width}x{channels} {x.bits}-bit inputs need "
        f"{-(-rows * width * column_bits // 8):,} bytes, but an NP of {device.name} holds "
        f"{device.input_memory_bytes:,}; at most {memory // (rows * column_bits)} columns would fit"
    )


def _count_groups(net: Network, layer: Layer, device: Device) -> int:
    facts = net.facts(layer)
    one, shared = facts.weight_bits_per_filter, facts.shared_weight_bits
    memory = 8 * device.weight_memory_bytes
    if fitting := max(memory - shared, 0) // one:
        return -(-facts.filters // fitting)
    channels = facts.limits["input_channels"]
    raise SpicaError(
        f"{layer.name}: one filter over {channels} channels needs {-(-(one + shared) // 8):,} bytes of "
        f"weights, but an NP of {device.name} holds {device.weight_memory_bytes:,}; "
        f"at most {channels * memory // (one + shared)} channels would fit"
    )


def _check_room(pieces: dict[str, tuple[int, int]], device: Device) -> None:
    """Refuse pieces, by layer, that need more NPs than the device has."""
    total = sum(bands * groups for bands, groups in pieces.values())
    used = 0
    for name, (bands, groups) in pieces.items():
        if used + bands * groups > device.nps:
            raise SpicaError(
                f"{name}: needs {bands * groups} NPs, but {device.nps - used} of {device.name}'s "
                f"{device.nps} are left; the network needs {total} in all, {total - device.nps} too many: "
                f"use fewer filters, smaller images, or a device of {-(-total // device.nps_per_node)} nodes"
            )
        used += bands * groups
