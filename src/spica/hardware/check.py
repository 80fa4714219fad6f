"""Which of a device's rules a network breaks, where, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

from spica.errors import SpicaError
from spica.hardware.device.rules import QUANTITIES
from spica.hardware.device.schema import Device, load_device
from spica.layers import Conv2D, Dequantize, Flatten, Input, LookUp, Quantize, QuantizeLinear, Rescaling, Reshape, Take
from spica.network import Layer, Network, TensorType
from spica.util.table import table

POOLING = ("convolution", "separable_convolution", "depthwise_convolution")
"""Kinds of layers whose max pooling is done by the NP that reads them."""

MOVES = (Input, Flatten, Reshape, Take, Rescaling, Quantize, QuantizeLinear, Dequantize)
"""Layers that only name or move values, which the device's routing does for nothing, or that belong to the host."""


@dataclass(frozen=True)
class Finding:
    """One broken rule: the layer and its kind, what is wrong, and what to do."""

    layer: str
    kind: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.layer}: {self.reason}; {self.remedy}"


@dataclass(frozen=True)
class Report:
    """What ``check`` found. Iterating over it gives the findings, in the network's order."""

    network: str
    device: str
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether the device can run every layer."""
        return not self.findings

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __str__(self) -> str:
        if self.ok:
            return f"{self.network} keeps every rule of {self.device}"
        rows = [(f.layer, f.kind, f.reason, f.remedy) for f in self.findings]
        broken = f"{len(rows)} rule{'s' if len(rows) > 1 else ''}"
        return f"{self.network} breaks {broken} of {self.device}\n" + table(
            [("layer", "kind", "what is wrong", "what to do"), *rows], left=4
        )

    def to_dict(self) -> dict[str, Any]:
        return {
            "network": self.network,
            "device": self.device,
            "ok": self.ok,
            "findings": [asdict(f) for f in self.findings],
        }


def check(net: Network, device: str | PathLike[str] | Device) -> Report:
    """Hold every layer of an integer network against the rules of a device.

    Args:
        net: an integer network.
        device: a device, its name in the catalogue, or the path of its file.

    Raises:
        SpicaError: for a float network, or an unknown device.
    """
    device = load_device(device)
    if not net.is_integer:
        raise SpicaError(
            f"{net.name}: is a float network, but {device.name} computes with integers; "
            "quantise it first with spica.quantize"
        )
    rules = (_supported, _within_limits, _followed_after_max_pool, _flattened_for_dense, _tables_follow)
    findings = tuple(f for layer in net for rule in rules for f in rule(net, layer, device))
    return Report(net.name, device.name, findings)


def kind_of(net: Network, layer: Layer) -> str:
    """The hardware's name of a layer in its place; "" for one that the device need not compute."""
    if isinstance(layer, MOVES) or net.input_types(layer)[0].is_float:
        return ""
    if isinstance(layer, Conv2D) and _reads_input(net, layer) and _is_picture(net.input_types(layer)[0]):
        return "input_convolution"
    return net.facts(layer).kind or type(layer).__name__.lower()


def _reads_input(net: Network, layer: Layer) -> bool:
    before = net[layer.inputs[0]]
    while isinstance(before, Rescaling | Quantize | QuantizeLinear):
        before = net[before.inputs[0]]
    return isinstance(before, Input)


def _is_picture(x: TensorType) -> bool:
    """Whether the input-convolution unit takes it; other inputs go to the NPs as events."""
    return x.bits == 8 and not x.signed and x.channels in (1, 3)


def _supported(net: Network, layer: Layer, device: Device) -> Iterator[Finding]:
    kind = kind_of(net, layer)
    if kind and kind not in device.kinds:
        remedy = device.unsupported.get(kind, f"use one of {', '.join(sorted(device.kinds))}")
        yield Finding(layer.name, kind, f"{device.name} has no layer of kind {kind}", remedy)


def _within_limits(net: Network, layer: Layer, device: Device) -> Iterator[Finding]:
    kind = kind_of(net, layer)
    for rule in device.rules:
        if rule.kind != kind:
            continue
        where = " and ".join(f"{QUANTITIES[name][0]} {value}" for name, value in rule.when.items())
        condition = f" with {where}" if where else ""
        for name, value, bound in rule.breaches(net.facts(layer).limits):
            words, remedy = QUANTITIES[name]
            if kind == "convolution" and name == "input_bits" and value == 8 and _reads_input(net, layer):
                remedy = "give it pictures of 1 or 3 channels, unsigned, or inputs of a width that is allowed"
            yield Finding(layer.name, kind, f"{words} is {value}, but must be {bound}{condition}", remedy)


def _followed_after_max_pool(net: Network, layer: Layer, device: Device) -> Iterator[Finding]:
    kind = kind_of(net, layer)
    # The input-convolution unit pools by itself; NPs leave pooling to the one that reads them.
    if not device.after_max_pool or kind not in POOLING or net.facts(layer).limits["pool"] != "max":
        return
    readers = [kind_of(net, reader) for reader in net.consumers[layer.name]]
    if not readers or not set(readers) <= set(device.after_max_pool):
        allowed = " or ".join(device.after_max_pool)
        yield Finding(
            layer.name,
            kind,
            f"only {allowed} may follow its max pooling",
            "put a convolution after it, or pool in the convolution before",
        )


def _flattened_for_dense(net: Network, layer: Layer, device: Device) -> Iterator[Finding]:
    if not isinstance(layer, Flatten | Reshape):
        return
    shape, channels = net.types[layer.name].shape, net.input_types(layer)[0].channels
    if shape[:-1] == (1, 1) or (len(shape) == 2 and shape[-1] == channels):  # nothing moves, or pixels become tokens
        return
    for reader in net.consumers[layer.name]:
        if kind_of(net, reader) not in ("", "fully_connected"):
            yield Finding(
                layer.name,
                type(layer).__name__.lower(),
                f"only a dense layer can read reshaped values (1x1xC), but {reader.name} does",
                "remove the reshaping, or use a dense layer",
            )


def _tables_follow(net: Network, layer: Layer, device: Device) -> Iterator[Finding]:
    if not isinstance(layer, LookUp) or kind_of(net, layer) not in device.kinds:
        return
    before = net[layer.inputs[0]]
    kind = kind_of(net, before)
    if kind not in device.tables_after:
        allowed = ", ".join(device.tables_after)
        yield Finding(
            layer.name,
            "activation",
            f"its table follows {before.name}, but must follow one of {allowed}",
            "put a 1x1 convolution before it, or use a ReLU",
        )
    elif net.facts(before).limits["pool"] == "max":
        yield Finding(
            layer.name,
            "activation",
            f"{before.name} pools, and a table cannot follow max pooling",
            "use a ReLU, or pool in a convolution after it",
        )
