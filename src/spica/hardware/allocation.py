"""How many NPs each layer gets: the fewest that hold it, or more so that it is faster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from spica.errors import SpicaError
from spica.hardware.activity import Activity
from spica.hardware.compatibility import kind_of
from spica.hardware.device import Device
from spica.hardware.partition import Convolution, cut_rows, split
from spica.hardware.timing import DENSE, INPUT, layer_cycles
from spica.layers import BufferTempConv, DepthwiseBufferTempConv
from spica.network import Layer, Network


@dataclass(frozen=True)
class Pieces:
    """Bands of rows and groups of filters that a layer is cut into; none in the input-convolution unit."""

    bands: int
    groups: int

    @property
    def nps(self) -> int:
        return self.bands * self.groups


@dataclass
class Allocation:
    """Pieces of every layer that the device computes, in loads that fit it, and what they take by the model.

    Attributes:
        loads: names of the layers that are on a device together, in the network's order.
        pieces: of each layer.
    """

    net: Network
    device: Device
    activity: Mapping[str, Activity]
    pieces: dict[str, Pieces] = field(default_factory=dict)
    loads: list[list[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kinds = {layer.name: kind for layer in self.net if (kind := kind_of(self.net, layer))}
        self.kinds = {name: kind for name, kind in self.kinds.items() if kind not in self.device.beside}
        self.fewest = {name: fewest_pieces(self.net, self.net[name], self.device) for name in self.kinds}
        self._cycles: dict[tuple[str, Pieces], float] = {}

    def cycles(self, name: str, pieces: Pieces) -> float:
        """Mean cycles of a layer in so many pieces."""
        key = name, pieces
        if key not in self._cycles:
            layer = self.net[name]
            facts = self.net.facts(layer)
            rows = band_rows(self.net, layer, pieces.bands)
            filters = max(map(len, split(facts.filters, pieces.groups)))
            found = layer_cycles(self.device, self.kinds[name], facts, rows, filters, self.activity[name])
            self._cycles[key] = float(found.mean())
        return self._cycles[key]

    def convolution_nps(self, names: Sequence[str], pieces: Mapping[str, Pieces]) -> int:
        return sum(pieces[name].nps for name in names if self.kinds[name] not in DENSE)

    def fits(self, names: Sequence[str], pieces: Mapping[str, Pieces]) -> bool:
        """Whether layers fit the device together: some of its NPs take fully connected layers only."""
        return (
            sum(pieces[name].nps for name in names) <= self.device.nps
            and self.convolution_nps(names, pieces) <= self.device.nps - self.device.dense_nps
        )

    def fill(self, names: Sequence[str]) -> dict[str, Pieces]:
        """Pieces of layers that are on the device together, doubled in groups, the slowest layer first.

        It ends when the slowest layer cannot be doubled: the rule that gives the published NPs of every network
        measured in the mode that uses all of them.
        """
        pieces = {name: self.fewest[name] for name in names}
        growing = [name for name in names if self.kinds[name] not in (*DENSE, INPUT)]
        while growing:
            slowest = max(growing, key=lambda name: self.cycles(name, pieces[name]))
            now = pieces[slowest]
            more = pieces | {slowest: Pieces(now.bands, 2 * now.groups)}
            if 2 * now.groups > self.net.facts(self.net[slowest]).filters or not self.fits(names, more):
                break
            pieces = more
        return pieces

    def pack(self) -> list[list[str]]:
        """Layers in the fewest loads, in order, with the fewest NPs each."""
        loads: list[list[str]] = [[]]
        for name in self.kinds:
            if not self.fits([name], self.fewest):
                raise SpicaError(self.too_large(name))
            if not self.fits([*loads[-1], name], self.fewest):
                loads.append([])
            loads[-1].append(name)
        return loads

    def too_large(self, name: str) -> str:
        need, device = self.fewest[name], self.device
        most = device.nps - device.dense_nps
        return (
            f"{name}: needs {need.nps} NPs by itself ({need.bands} bands of rows x {need.groups} groups of filters), "
            f"but {device.name} has {most} for convolutions, {need.nps - most} too few; use fewer filters, "
            f"smaller images, or a device of {-(-(need.nps + device.dense_nps) // device.nps_per_node)} nodes"
        )

    def fastest_cut(self, count: int) -> list[list[str]]:
        """Layers in ``count`` loads, each filled, so that their cycles are least: by dynamic programming.

        best[p][j] is the least of cutting the first j layers into p loads.
        """
        names = list(self.kinds)
        best: list[dict[int, tuple[float, int]]] = [{0: (0.0, 0)}]
        spans: dict[tuple[int, int], float] = {}
        for start in range(len(names)):
            for stop in range(start + 1, len(names) + 1):
                span = names[start:stop]
                if not self.fits(span, self.fewest):
                    break
                spans[start, stop] = sum(self.cycles(name, p) for name, p in self.fill(span).items())
        for p in range(count):
            row: dict[int, tuple[float, int]] = {}
            for (start, stop), cycles in spans.items():
                if start in best[p]:
                    total = best[p][start][0] + cycles
                    if stop not in row or total < row[stop][0]:
                        row[stop] = total, start
            best.append(row)
        if len(names) not in best[count]:
            raise SpicaError(f"{self.net.name}: {len(names)} layers cannot be cut into {count} loads that fit")
        loads, stop = [], len(names)
        for p in range(count, 0, -1):
            start = best[p][stop][1]
            loads.append(names[start:stop])
            stop = start
        return loads[::-1]


def fewest_pieces(net: Network, layer: Layer, device: Device) -> Pieces:
    """The fewest pieces whose input rows and weights the memories of an NP hold.

    Raises:
        SpicaError: where not even one row, or one filter, fits.
    """
    kind = kind_of(net, layer)
    if kind == INPUT:
        return Pieces(0, 1)
    if kind in DENSE or not isinstance(layer, Convolution):
        return Pieces(1, 1)
    return Pieces(_count_bands(net, layer, device), _count_groups(net, layer, device))


def band_rows(net: Network, layer: Layer, bands: int) -> tuple[range, ...]:
    """Input rows of each band; all of them where the layer is not cut."""
    (x, *_) = net.input_types(layer)
    height = x.shape[0] if len(x.shape) == 3 else 1
    if bands < 2 or not isinstance(layer, Convolution):
        return (range(height),)
    return tuple(band.rows for band in cut_rows(layer, x, bands))


def _count_bands(net: Network, layer: Layer, device: Device) -> int:
    (x,) = net.input_types(layer)
    height, width, channels = x.shape
    frames = len(layer.kernel) if isinstance(layer, BufferTempConv | DepthwiseBufferTempConv) else 1
    column_bits = frames * channels * (x.bits or 0)
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
