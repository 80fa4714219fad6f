"""How many NPs each layer gets: the fewest that hold it, or more so that it is faster."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spica.errors import SpicaError
from spica.hardware.check import kind_of
from spica.hardware.cost.timing import DENSE, INPUT, reads_external_memory
from spica.hardware.device.schema import Device
from spica.hardware.mapping.partition import Cuttable
from spica.layers import Attention, BufferTempConv, DepthwiseBufferTempConv
from spica.network import Layer, Network
from spica.network.layer import Facts

WIDEST_SPLIT = 16
"""Groups into which the layer of most filters is split at most in the fastest mode.

This number and one cap on filters for all layers are ours: with them the NPs of every mode are those that the vendor
publishes for AKD1500, of seven networks in "all" and five of six in "fastest", where the sixth has 134 instead of 132.
"""


@dataclass(frozen=True)
class Pieces:
    """Bands of rows and groups of filters that a layer is cut into; no band in the input-convolution unit."""

    bands: int
    groups: int

    @property
    def nps(self) -> int:
        return self.bands * self.groups


@dataclass(frozen=True)
class Allocation:
    """Pieces of every layer that the device computes, and the layers that are on a device together.

    Attributes:
        pieces: of each layer, by name, in the network's order.
        loads: names of the layers that fit a device together, in order.
    """

    pieces: dict[str, Pieces]
    loads: list[list[str]]

    @property
    def nps(self) -> int:
        return sum(p.nps for p in self.pieces.values())


def allocate(net: Network, device: Device, mode: str, chips: int, passes: int | None) -> Allocation:
    """NPs for every layer.

    All modes put one cap on the filters that an NP has, the same for every layer: none in "minimal"; in "all" the
    smallest for which the network needs no more loads; in "fastest" the smallest for which it needs ``passes``.

    Raises:
        SpicaError: where a layer does not fit the device even in the fewest pieces.
    """
    kinds = {layer.name: kind for layer in net if (kind := kind_of(net, layer)) and kind not in device.beside}
    fewest = {name: fewest_pieces(net, net[name], device) for name in kinds}
    growing = {
        name: facts.filters
        for name, kind in kinds.items()
        if isinstance(net[name], Cuttable)
        and (facts := net.facts(net[name])).filters
        and kind != INPUT
        and not (kind == DENSE and reads_external_memory(device, facts))
    }
    least = Allocation(fewest, _pack(device, fewest))
    if mode == "minimal" or not growing:
        return least
    widest, most = max(growing.values()), len(least.loads)
    lowest = 1
    if mode == "fastest":
        most = max(most, chips * (passes or device.usual_passes))
        lowest = 1 if passes else -(-widest // WIDEST_SPLIT)
    found = least
    for cap in range(widest, lowest - 1, -1):
        pieces = {name: _capped(p, net.facts(net[name]), cap) if name in growing else p for name, p in fewest.items()}
        if max(p.nps for p in pieces.values()) > device.nps or len(loads := _pack(device, pieces)) > most:
            break
        found = Allocation(pieces, loads)
    return found


def _capped(pieces: Pieces, facts: Facts, cap: int) -> Pieces:
    """Pieces of which none has more than ``cap`` of a layer's filters, or than stay together."""
    return replace(pieces, groups=max(pieces.groups, -(-facts.filters // max(cap, facts.group_step))))


def _pack(device: Device, pieces: dict[str, Pieces]) -> list[list[str]]:
    """Layers in the fewest loads, in order."""
    loads: list[list[str]] = [[]]
    room = device.nps
    for name, need in pieces.items():
        if need.nps > device.nps:
            raise SpicaError(_too_large(name, need, device))
        if need.nps > room:
            loads.append([])
            room = device.nps
        loads[-1].append(name)
        room -= need.nps
    return loads


def _too_large(name: str, need: Pieces, device: Device) -> str:
    return (
        f"{name}: needs {need.nps} NPs by itself ({need.bands} bands of rows x {need.groups} groups of filters), "
        f"but {device.name} has {device.nps}, {need.nps - device.nps} too few; use fewer filters, "
        f"smaller images, or a device of {-(-need.nps // device.nps_per_node)} nodes"
    )


def fewest_pieces(net: Network, layer: Layer, device: Device) -> Pieces:
    """The fewest pieces whose input rows and weights the memories of an NP hold.

    Raises:
        SpicaError: where not even one row, or one filter, fits.
    """
    kind = kind_of(net, layer)
    if kind == INPUT:
        return Pieces(0, 1)
    if kind == DENSE or not isinstance(layer, Cuttable):
        return Pieces(1, 1)
    if isinstance(layer, Attention):
        return Pieces(1, _count_heads(net, layer, device))
    groups = _count_groups(net, layer, device) if net.facts(layer).filters else 1
    return Pieces(_count_bands(net, layer, device), groups)


def _count_bands(net: Network, layer: Layer, device: Device) -> int:
    (x,) = net.input_types(layer)
    height, width, channels = x.shape if len(x.shape) == 3 else (x.shape[0], 1, x.channels)
    frames = len(layer.kernel) if isinstance(layer, BufferTempConv | DepthwiseBufferTempConv) else 1
    column_bits = frames * channels * (x.bits or 0)
    memory, halo = 8 * device.input_memory_bytes, net.facts(layer).halo
    most_rows = device.max_band_rows if len(x.shape) == 3 else height  # tokens lie side by side
    for bands in range(-(-height // most_rows), height + 1):
        rows = -(-height // bands) + (halo if bands > 1 else 0)
        if rows * width * column_bits <= memory:
            return bands
    raise SpicaError(
        f"{layer.name}: {rows} rows of {width}x{channels} {x.bits}-bit inputs need "
        f"{-(-rows * width * column_bits // 8):,} bytes, but an NP of {device.name} holds "
        f"{device.input_memory_bytes:,}; at most {memory // (rows * column_bits)} columns would fit"
    )


def _count_heads(net: Network, layer: Attention, device: Device) -> int:
    """Groups of heads, of which each holds its channels of all queries, keys and values."""
    types, facts = net.input_types(layer), net.facts(layer)
    tokens, memory = types[0].shape[0], 8 * device.input_memory_bytes
    head_bits = tokens * facts.group_step * sum(x.bits or 0 for x in types)
    if fitting := memory // head_bits:
        return -(-layer.heads // fitting)
    raise SpicaError(
        f"{layer.name}: queries, keys and values of one head over {tokens} tokens need {-(-head_bits // 8):,} bytes, "
        f"but an NP of {device.name} holds {device.input_memory_bytes:,}; use more heads, or larger patches"
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
