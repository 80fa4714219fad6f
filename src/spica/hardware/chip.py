"""A network on a device: runs as the device would, piece by piece, and meters what that costs."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.run import BATCH, Memory, compute, make_ops, walk
from spica.errors import SpicaError
from spica.hardware import energy, timing
from spica.hardware.device import Device
from spica.hardware.partition import Convolution, forward_pieces
from spica.hardware.placement import Placement
from spica.hardware.statistics import LayerCost, Statistics
from spica.network import Layer, Network
from spica.network.graph import accuracy, classes


class MappedNetwork:
    """An integer network placed on a device; ``map_network`` makes it.

    Attributes:
        network: the network; ``forward`` gives its integers, always.
        device: the device.
        placements: where each layer runs, in the network's order.
    """

    def __init__(self, network: Network, device: Device, placements: tuple[Placement, ...]) -> None:
        self.network = network
        self.device = device
        self.placements = placements
        self._statistics: Statistics | None = None

    @property
    def nps(self) -> int:
        """NPs in use; the input-convolution unit is not among them."""
        return sum(len(placement.nps) for placement in self.placements)

    @property
    def statistics(self) -> Statistics:
        """What the last ``forward`` cost.

        Raises:
            SpicaError: before the first.
        """
        if self._statistics is None:
            raise SpicaError(f"{self.network.name}: nothing has run on {self.device.name} yet; call forward first")
        return self._statistics

    def forward(
        self, x: ArrayLike, *, engine: str = "native", threads: int | None = None, batch_size: int = BATCH
    ) -> NDArray | list[NDArray]:
        """Outputs (float32) for a batch, computed band by band and group by group, and metered.

        Args:
            x: samples ``(N, H, W, C)`` or ``(N, C)`` of the input's integer type.
            engine: "native" or "reference".
            threads: threads of the native engine; all processors by default.
            batch_size: samples that go through the layers together.

        Returns:
            As ``Network.forward``, bit for bit.

        Raises:
            SpicaError: where samples do not fit the network's input, or an option is unknown.
        """
        net, ops, meter = self.network, make_ops(engine, threads), Meter(self)
        places = {placement.layer: placement for placement in self.placements}
        memory = Memory(net)

        def step(layer: Layer, read: list[NDArray]) -> NDArray:
            place, types = places.get(layer.name), net.input_types(layer)
            if place is None:
                return compute(layer, read, types, ops, memory)
            meter.count(place, layer, read[0])
            if isinstance(layer, Convolution) and len(place.nps) > 1:
                return forward_pieces(layer, place.bands, place.groups, read[0], types[0], ops)
            return compute(layer, read, types, ops, memory)

        tensors = walk(net, x, step, net.outputs, batch_size)
        self._statistics = meter.statistics(len(tensors[net.outputs[0]]))
        outputs = [net.types[name].to_float(tensors[name]) for name in net.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def predict(self, x: ArrayLike, **options: Any) -> NDArray[np.int64]:
        """Class label of every sample: the index of the largest output; options as ``forward``."""
        return classes(self.network.name, self.forward(x, **options))

    def evaluate(self, x: ArrayLike, labels: ArrayLike, **options: Any) -> float:
        """Fraction of samples whose predicted class is the label, 0 to 1; options as ``forward``."""
        return accuracy(self.predict(x, **options), labels)

    def __repr__(self) -> str:
        name, device = self.network.name, self.device
        return f"<MappedNetwork {name!r} on {device.name}: {self.nps} of {device.nps} NPs>"


class Meter:
    """Sums events and cycles over the batches of one run."""

    def __init__(self, chip: MappedNetwork) -> None:
        self.chip = chip
        self.events: dict[str, int] = defaultdict(int)
        self.cycles: dict[str, float] = defaultdict(float)

    def count(self, place: Placement, layer: Layer, x: NDArray) -> None:
        """Meter a layer that receives ``x``, batch axis first."""
        facts, device = self.chip.network.facts(layer), self.chip.device
        self.events[place.layer] += int(np.count_nonzero(x))
        if place.kind == "input_convolution":
            cycles = len(x) * timing.input_unit_cycles(device, facts.macs, facts.filters)
        elif place.kind == "fully_connected":
            cycles = len(x) * timing.dense_cycles(device, facts.macs, place.external_weights)
        else:
            area, filters = facts.fan_out // facts.filters, max(map(len, place.groups))
            by_row = np.count_nonzero(x, axis=2)
            held = [by_row[:, band.rows.start : band.rows.stop] for band in place.bands]
            by_band = [
                timing.convolution_cycles(
                    device, area, filters, events.sum(axis=(1, 2)), np.count_nonzero(events, axis=(1, 2))
                )
                for events in held
            ]
            cycles = float(np.max(by_band, axis=0).sum())  # the slowest band sets the layer's time
        self.cycles[place.layer] += cycles

    def statistics(self, samples: int) -> Statistics:
        """Averages over ``samples`` samples."""
        net, device = self.chip.network, self.chip.device
        costs = []
        for place in self.chip.placements:
            layer = net[place.layer]
            facts = net.facts(layer)
            events, cycles = self.events[place.layer] / samples, self.cycles[place.layer] / samples
            sops = events * facts.fan_out
            area = facts.fan_out // facts.filters
            costs.append(
                LayerCost(
                    layer=place.layer,
                    kind=place.kind,
                    nps=len(place.nps),
                    events=events,
                    inputs=int(np.prod(net.input_types(layer)[0].shape)),
                    sops=sops,
                    cycles=cycles,
                    latency_ms=cycles / (device.clock_mhz * 1e3),
                    energy_uj=energy.layer_energy(device, place.kind, area, sops, facts.macs),
                )
            )
        return Statistics(network=net.name, device=device, samples=samples, layers=tuple(costs))
