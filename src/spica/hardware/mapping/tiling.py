"""Tile layers over NPs: the fewest that hold each, or more so that it is faster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from spica.errors import SpicaError
from spica.hardware.device.schema import Device
from spica.hardware.spec import LayerSpec, OpType

WIDEST_SPLIT = 16
"""Groups into which the layer of most filters is split at most in the fastest mode.

This number and one cap on filters for all layers are ours: with them the NPs of every mode are those that the vendor
publishes for AKD1500, of seven networks in "all" and five of six in "fastest", where the sixth has 134 instead of 132.
"""


@dataclass(frozen=True)
class Tiles:
    """Bands of rows and groups of filters that a layer is cut into; no band in the input-convolution unit."""

    bands: int
    groups: int

    @property
    def nps(self) -> int:
        """NPs that hold them, one each."""
        return self.bands * self.groups


@dataclass(frozen=True)
class Tiling:
    """Tiles of every layer that the device computes, and the layers that are on a device together."""

    tiles: dict[str, Tiles]  # of each layer, by name, in the network's order
    bins: list[list[str]]  # names of the layers that fit a device together, in order

    @property
    def nps(self) -> int:
        """NPs of all layers."""
        return sum(t.nps for t in self.tiles.values())


def tile(specs: Mapping[str, LayerSpec], device: Device, mode: str, chips: int, passes: int | None) -> Tiling:
    """Give NPs to every layer that does not run in an auxiliary unit.

    All modes put one cap on the filters that an NP has, the same for every layer: none in "minimal"; in "all" the
    smallest for which the network needs no more bins; in "fastest" the smallest for which it needs ``passes``.

    Raises:
        SpicaError: where a layer does not fit the device even in the fewest tiles.
    """
    on_nps = {name: s for name, s in specs.items() if s.op_type and s.op_type not in device.auxiliary}
    fewest = {name: _fewest_tiles(name, spec, device) for name, spec in on_nps.items()}
    for name, need in fewest.items():
        if need.nps > device.nps:
            raise SpicaError(
                f"{name}: needs {need.nps} NPs by itself ({need.bands} bands of rows x {need.groups} groups of "
                f"filters), but {device.name} has {device.nps}, {need.nps - device.nps} too few; use fewer filters, "
                f"smaller images, or a device of {-(-need.nps // device.nps_per_node)} nodes"
            )
    least = Tiling(fewest, _pack(device, fewest))
    growing = {name for name, spec in on_nps.items() if _can_grow(spec)}
    if mode == "minimal" or not growing:
        return least
    widest, most = max(on_nps[name].filters for name in growing), len(least.bins)
    lowest = 1
    if mode == "fastest":
        most = max(most, chips * (passes or device.usual_passes))
        lowest = 1 if passes else -(-widest // WIDEST_SPLIT)
    found = least
    for cap in range(widest, lowest - 1, -1):
        tiles = {name: _capped(t, on_nps[name], cap) if name in growing else t for name, t in fewest.items()}
        if max(t.nps for t in tiles.values()) > device.nps or len(bins := _pack(device, tiles)) > most:
            break
        found = Tiling(tiles, bins)
    return found


def _pack(device: Device, tiles: Mapping[str, Tiles]) -> list[list[str]]:
    """Return names of layers whose tiles fit a device together, in order and in the fewest bins."""
    bins: list[list[str]] = [[]]
    left = device.nps
    for name, need in tiles.items():
        if need.nps > left:
            bins.append([])
            left = device.nps
        bins[-1].append(name)
        left -= need.nps
    return bins


def _can_grow(spec: LayerSpec) -> bool:
    """Return whether a layer is given more NPs than it needs; fully connected ones never are, in published mappings."""
    whole = spec.op_type in (OpType.INPUT_CONVOLUTION, OpType.FULLY_CONNECTED)
    return spec.divisible and spec.filters > 0 and not whole


def weights_are_external(spec: LayerSpec, device: Device) -> bool:
    """Return whether the weights of a fully connected layer are more than an NP holds."""
    held = spec.weight_bits_per_filter * spec.filters <= 8 * device.weight_memory_bytes
    return spec.op_type is OpType.FULLY_CONNECTED and not held


def _capped(tiles: Tiles, spec: LayerSpec, cap: int) -> Tiles:
    """Return tiles of which none has more than ``cap`` of a layer's filters, or than stay together."""
    return replace(tiles, groups=max(tiles.groups, -(-spec.filters // max(cap, spec.group_step))))


def _fewest_tiles(name: str, spec: LayerSpec, device: Device) -> Tiles:
    """Return the fewest tiles whose input rows and weights the memories of an NP hold."""
    if spec.op_type is OpType.INPUT_CONVOLUTION:
        return Tiles(0, 1)
    if spec.op_type is OpType.FULLY_CONNECTED or not spec.divisible:
        return Tiles(1, 1)
    if spec.op_type is OpType.ATTENTION:
        return Tiles(1, _count_heads(name, spec, device))
    groups = _count_groups(name, spec, device) if spec.filters else 1
    return Tiles(_count_bands(name, spec, device), groups)


def _count_bands(name: str, spec: LayerSpec, device: Device) -> int:
    (x,) = spec.inputs
    height, width, channels = x.shape if len(x.shape) == 3 else (x.shape[0], 1, x.channels)
    column_bits = (spec.frames or 1) * channels * (x.bits or 0)
    memory, tokens = 8 * device.input_memory_bytes, len(x.shape) == 2
    most_rows, overhead = (height, 0) if tokens else (device.max_band_rows, 8 * device.row_overhead_bytes)
    for bands in range(-(-height // most_rows), height + 1):
        rows = -(-height // bands) + (spec.halo if bands > 1 else 0)
        if rows * (width * column_bits + overhead) <= memory:
            return bands
    raise SpicaError(
        f"{name}: {rows} rows of {width}x{channels} {x.bits}-bit inputs need "
        f"{-(-rows * width * column_bits // 8):,} bytes, but an NP of {device.name} holds "
        f"{device.input_memory_bytes:,}; at most {max(memory // rows - overhead, 0) // column_bits} columns would fit"
    )


def _count_heads(name: str, spec: LayerSpec, device: Device) -> int:
    """Return the groups of heads, of which each holds its channels of all queries, keys and values."""
    tokens, memory = spec.inputs[0].shape[0], 8 * device.input_memory_bytes
    head_bits = tokens * spec.group_step * sum(x.bits or 0 for x in spec.inputs)
    if fitting := memory // head_bits:
        return -(-(spec.filters // spec.group_step) // fitting)
    raise SpicaError(
        f"{name}: queries, keys and values of one head over {tokens} tokens need {-(-head_bits // 8):,} bytes, "
        f"but an NP of {device.name} holds {device.input_memory_bytes:,}; use more heads, or larger patches"
    )


def _count_groups(name: str, spec: LayerSpec, device: Device) -> int:
    one, shared = spec.weight_bits_per_filter + 8 * device.filter_overhead_bytes, spec.shared_weight_bits
    channels, memory = spec.input_channels, 8 * device.weight_memory_bytes
    if fitting := max(memory - shared, 0) // one:
        return -(-spec.filters // fitting)
    raise SpicaError(
        f"{name}: one filter over {channels} channels needs {-(-(one + shared) // 8):,} bytes of "
        f"weights, but an NP of {device.name} holds {device.weight_memory_bytes:,}; "
        f"at most {channels * memory // (one + shared)} channels would fit"
    )
