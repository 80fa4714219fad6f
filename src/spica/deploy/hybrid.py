"""Integer networks that a device runs in part: its layers on the chip, the others on the host, integer by integer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.inputs import check_samples
from spica.engine.runner import compute, make_ops
from spica.errors import SpicaError
from spica.hardware import Device, check, load_device, specs
from spica.hardware.spec import OpType
from spica.layers import Input
from spica.network import Layer, Network, TensorType
from spica.network.classification import accuracy, classes, count_classes
from spica.network.edit import subgraph
from spica.quantization.rounding import step_of
from spica.util.table import table

LEAST_SHARE = 0.01
"""Share of the multiply-accumulates below which it is not worth it to send a part's data to the chip and back."""


@dataclass(frozen=True)
class Part:
    """Layers that run together, on the chip or on the host.

    Attributes:
        layers: in order.
        network: for the chip, the layers as an integer network whose inputs are the tensors that they read, to be
            mapped as any other; ``None`` for the host.
        macs: multiply-accumulates of a sample.
        moved_bytes: bytes of a sample that go between chip and host before it, packed as the tensors' bits say.
    """

    layers: tuple[Layer, ...]
    network: Network | None
    macs: int
    moved_bytes: float

    @property
    def on_chip(self) -> bool:
        """Return whether the device runs them."""
        return self.network is not None


@dataclass(frozen=True)
class HybridNetwork:
    """An integer network between a device and its host; ``forward`` gives what the network gives.

    Its last layers may compute with real numbers, behind a ``Dequantize``: those are the host's.

    Attributes:
        network: the whole network.
        device: the device.
        parts: in the order in which they run.
        reasons: why a layer is left to the host, by its name.
    """

    network: Network
    device: Device
    parts: tuple[Part, ...]
    reasons: dict[str, str]

    @cached_property
    def share(self) -> float:
        """Share of the multiply-accumulates that the chip does, 0 to 1."""
        return sum(part.macs for part in self.parts if part.on_chip) / max(sum(part.macs for part in self.parts), 1)

    def forward(
        self, x: ArrayLike, *, engine: str = "native", threads: int | None = None
    ) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """Return what ``Network.forward`` does, part by part: integers bit for bit, real numbers but for rounding.

        Args:
            x: samples as the network reads them; a list where it has several inputs.
            engine: "native" or "reference".
            threads: threads of the native engine; all processors by default.

        Raises:
            SpicaError: where samples do not fit, or an option is unknown.
        """
        tensors: dict[str, NDArray] = dict(check_samples(self.network, x))
        ops = make_ops(engine, threads)
        for part in self.parts:
            if part.network is not None:
                read = [tensors[layer.name] for layer in part.network.inputs]
                given: Any = read if len(read) > 1 else read[0]
                wanted = part.network.outputs
                tensors |= part.network.run(given, keep=wanted, engine=engine, threads=threads).tensors
                continue
            for layer in part.layers:
                types = self.network.input_types(layer)
                tensors[layer.name] = compute(layer, [tensors[name] for name in layer.inputs], types, ops)
        made = [self.network.types[name].to_float(tensors[name]) for name in self.network.outputs]
        return made[0] if len(made) == 1 else made

    def predict(self, x: ArrayLike, **options: Any) -> NDArray[np.int64]:
        """Return the class of every sample, as ``Network.predict``."""
        kind = self.network.types[self.network.outputs[0]]
        return classes(self.network.name, kind, self.forward(x, **options))

    def evaluate(self, x: ArrayLike, labels: ArrayLike, **options: Any) -> float:
        """Return the fraction of samples whose class is the label, as ``Network.evaluate``."""
        kind = self.network.types[self.network.outputs[0]]
        return accuracy(self.predict(x, **options), labels, count_classes(kind))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the whole network to a ``.spica`` file; ``split`` cuts it in the same way again."""
        self.network.save(path)

    def to_dict(self) -> dict[str, Any]:
        """Return the cut as plain values."""
        parts = [
            {"on_chip": p.on_chip, "layers": [layer.name for layer in p.layers], "macs": p.macs,
             "moved_bytes": p.moved_bytes} for p in self.parts
        ]  # fmt: skip
        return {"device": self.device.name, "share": self.share, "parts": parts, "reasons": self.reasons}

    def __str__(self) -> str:
        rows = [("part", "runs on", "layers", "multiply-accumulates", "bytes moved before", "why on the host")]
        for number, part in enumerate(self.parts):
            own = [layer.name for layer in part.layers]
            named = own[0] if len(own) == 1 else f"{own[0]} to {own[-1]} ({len(own)})"
            why = next((self.reasons[name] for name in own if name in self.reasons), "")
            where = self.device.name if part.on_chip else "host"
            rows.append((str(number), where, named, f"{part.macs:,}", f"{part.moved_bytes:,.0f}", why))
        head = f"{self.network.name}: {self.share:.1%} of its multiply-accumulates on {self.device.name}"
        return f"{head}\n{table(rows, left=3)}"


def split_network(net: Network, device: str | PathLike[str] | Device) -> HybridNetwork:
    """Cut an integer network into parts that a device runs and parts that its host runs.

    Layers that break a rule are the host's, and so are parts of the chip that do too little to be worth it.

    Raises:
        SpicaError: for a float network or one with memory, an unknown device, or where nothing is left for the chip.
    """
    device = load_device(device)
    reasons = {finding.layer: finding.reason for finding in check(net, device)}
    if net.stateful_layers:
        raise SpicaError(f"{net.name}: has memory; spica.split cuts networks without")
    while True:
        levels = _levels(net, reasons)
        further = _joined(net, levels)
        if not further:
            parts = list(_parts(net, levels))
            further = _further(parts, device, sum(part.macs for part in parts))
        if not further:
            break
        reasons |= {name: reason for name, reason in further.items() if name not in reasons}
    if not any(part.on_chip and part.macs for part in parts):
        first = next(iter(reasons.items()))
        raise SpicaError(f"{net.name}: nothing is left for {device.name} ({first[0]}: {first[1]})")
    return HybridNetwork(net, device, tuple(parts), reasons)


def _further(parts: list[Part], device: Device, total: int) -> dict[str, str]:
    """Return more layers that are the host's: those that break a rule where a part begins or ends, and small parts."""
    found: dict[str, str] = {}
    for part in parts:
        if part.network is None:
            continue
        found |= {f.layer: f.reason for f in check(part.network, device)}
        if part.macs < LEAST_SHARE * total:
            reason = f"does less than {LEAST_SHARE:.0%} of the multiply-accumulates"
            found |= {layer.name: reason for layer in part.layers if specs(part.network)[layer.name].op_type}
    return found


def _joined(net: Network, levels: dict[str, int]) -> dict[str, str]:
    """Return layers of the chip that read what the host could not send it: channels with exponents of their own."""
    found: dict[str, str] = {}
    for layer in net:
        for name in layer.inputs:
            sent = levels.get(name, levels[layer.name]) != levels[layer.name] and levels[layer.name] % 2 == 0
            if sent and not net.types[name].per_tensor:
                found[layer.name] = f"reads {name} of the host, whose channels have exponents of their own"
    return found


def _levels(net: Network, on_host: dict[str, str]) -> dict[str, int]:
    """Return in which part each layer is: with what it reads, unless another side runs it. Even ones are the chip's."""
    levels: dict[str, int] = {}
    sides: dict[str, bool] = {}
    for layer in net:
        if not layer.inputs:
            continue
        read = [name for name in layer.inputs if name in levels]
        level = max((levels[name] for name in read), default=0)
        neutral = specs(net)[layer.name].op_type is OpType.NONE and layer.name not in on_host
        sides[layer.name] = (
            sides[max(read, key=lambda name: levels[name])] if neutral and read else layer.name not in on_host
        )
        levels[layer.name] = level if level % 2 == (not sides[layer.name]) else level + 1
    return levels


def _parts(net: Network, levels: dict[str, int]) -> Iterator[Part]:
    for level in sorted(set(levels.values())):
        own = [layer for layer in net if levels.get(layer.name) == level]
        yield _part(net, own, on_chip=level % 2 == 0)


def _part(net: Network, own: list[Layer], on_chip: bool) -> Part:
    names = {layer.name for layer in own}
    read = dict.fromkeys(name for layer in own for name in layer.inputs if name not in names)
    given = [name for name in names if name in net.outputs or any(r.name not in names for r in net.consumers[name])]
    ordered = tuple(layer.name for layer in own if layer.name in given)
    moved = sum(prod(net.types[name].shape) * (net.types[name].bits or 32) / 8 for name in read)
    network = None
    if on_chip:
        sources = [net[name] if not net[name].inputs else _source(name, net.types[name]) for name in read]
        network = subgraph(net, ordered, sources)
    return Part(tuple(own), network, sum(net.macs(layer) for layer in own), moved)


def _source(name: str, kind: TensorType) -> Input:
    """Return an input of the integers that another part made."""
    step = np.asarray(step_of(kind), np.float32).reshape(-1)[0]
    return Input(name=name, shape=kind.shape, bits=kind.bits, signed=kind.signed, scale=np.asarray(step, np.float32))
