"""Check a network against a device's rules: which it breaks, where, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import singledispatch
from os import PathLike
from typing import Any

from numpy.typing import ArrayLike

from spica.engine.saturation import saturated_shares
from spica.errors import SpicaError
from spica.hardware.device.load import load_device
from spica.hardware.device.rules import QUANTITIES
from spica.hardware.device.schema import Device
from spica.hardware.spec import OpType, specs
from spica.layers import Flatten, LookUp, Reshape
from spica.network import Layer, Network
from spica.network.graph import check_network
from spica.util.renamed import renamed
from spica.util.table import table

POOLING = (OpType.CONVOLUTION, OpType.SEPARABLE_CONVOLUTION, OpType.DEPTHWISE_CONVOLUTION)
"""Layers whose max pooling is done by the NP that reads them; the input-convolution unit pools by itself."""


@dataclass(frozen=True)
class Finding:
    """One broken rule: the layer and its op type, what is wrong, what to do, and which rule it is.

    ``rule`` is "kind" for a layer that the device lacks, a quantity that is bound, "after_max_pool" or "order".
    """

    layer: str
    op_type: str
    reason: str
    remedy: str
    rule: str = "kind"

    kind = renamed("op_type")

    def __str__(self) -> str:
        return f"{self.layer}: {self.reason}; {self.remedy}"


@dataclass(frozen=True)
class Report:
    """The findings of ``check``. Iterating over it gives them, in the network's order.

    Attributes:
        network, device: their names.
        findings: the broken rules.
        saturated: share of the sums that saturate on the samples, by layer; only layers where any does.
    """

    network: str
    device: str
    findings: tuple[Finding, ...]
    saturated: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True where the device can run every layer."""
        return not self.findings

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __str__(self) -> str:
        lost = "".join(f"\n{name}: {share:.2%} of its sums saturate on these samples" for name, share in
                       self.saturated.items())  # fmt: skip
        if lost:
            lost += "\nquantise the network again with samples as large as these"
        if self.ok:
            return f"{self.network} keeps every rule of {self.device}{lost}"
        rows = [("layer", "kind", "what is wrong", "what to do")]
        rows += [(f.layer, f.op_type, f.reason, f.remedy) for f in self.findings]
        broken = f"{len(self.findings)} rule{'s' if len(self.findings) > 1 else ''}"
        return f"{self.network} breaks {broken} of {self.device}\n" + table(rows, left=4) + lost

    def to_dict(self) -> dict[str, Any]:
        """Return the findings as plain data; "kind" is the old name of "op_type", kept until version 0.3."""
        findings = [asdict(f) | {"kind": f.op_type} for f in self.findings]
        known = {"network": self.network, "device": self.device, "ok": self.ok, "findings": findings}
        return known | {"saturated": dict(self.saturated)}


def check(net: Network, device: str | PathLike[str] | Device, samples: ArrayLike | None = None) -> Report:
    """Check every layer of an integer network against the rules of a device.

    Args:
        net: an integer network.
        device: a device, its name in the catalogue, or the path of its file.
        samples: what the network reads, to count the sums that saturate on them; that breaks no rule.

    Raises:
        SpicaError: for a float network, an unknown device, or samples that do not fit.
    """
    device = load_device(device)
    check_network(net)
    if not net.is_integer:
        hosted = next((layer.name for layer in net if specs(net)[layer.name].op_type is OpType.HOST), None)
        raise SpicaError(
            f"{net.name}: is a float network, but {device.name} computes with integers; "
            + (
                f"{hosted} stays on the host: spica.split(net, device, samples)"
                if hosted
                else "quantise it first with spica.quantize"
            )
        )
    rules = (_supported, _within_limits, _followed_after_max_pool, _order)
    findings = tuple(f for layer in net for rule in rules for f in rule(layer, net, device))
    shares = {} if samples is None else saturated_shares(net, samples)
    return Report(net.name, device.name, findings, {name: share for name, share in shares.items() if share})


def _supported(layer: Layer, net: Network, device: Device) -> Iterator[Finding]:
    op_type = specs(net)[layer.name].op_type
    if op_type is OpType.HOST:
        yield Finding(
            layer.name, op_type, "computes in real numbers, which only a host does", "use spica.split(net, device)"
        )
    elif op_type and op_type not in device.op_types:
        name = type(layer).__name__.lower() if op_type is OpType.OTHER else op_type
        remedy = device.unsupported.get(name, f"use one of {', '.join(sorted(device.op_types))}")
        yield Finding(layer.name, name, f"{device.name} has no layer of kind {name}", remedy)


def _within_limits(layer: Layer, net: Network, device: Device) -> Iterator[Finding]:
    spec = specs(net)[layer.name]
    for rule in device.rules:
        where = " and ".join(f"{QUANTITIES[name].words} {value}" for name, value in rule.when.items())
        condition = f" with {where}" if where else ""
        for name, value, bound in rule.breaches(spec):
            words, remedy, _ = QUANTITIES[name]
            if spec.op_type is OpType.CONVOLUTION and name == "input_bits" and value == 8 and spec.reads_samples:
                remedy = "give it pictures of 1 or 3 channels, unsigned, or inputs of a width that is allowed"
            yield Finding(layer.name, spec.op_type, f"{words} is {value}, but must be {bound}{condition}", remedy, name)


def _followed_after_max_pool(layer: Layer, net: Network, device: Device) -> Iterator[Finding]:
    spec, allowed = specs(net)[layer.name], device.after_max_pool
    readers = {specs(net)[reader.name].op_type for reader in net.consumers[layer.name]}
    if allowed and spec.op_type in POOLING and spec.pool == "max" and not (readers and readers <= set(allowed)):
        remedy = "put a convolution after it, or pool in the convolution before"
        yield Finding(
            layer.name,
            spec.op_type,
            f"only {' or '.join(allowed)} may follow its max pooling",
            remedy,
            "after_max_pool",
        )


@singledispatch
def _order(layer: Any, net: Network, device: Device) -> Iterable[Finding]:
    """Check what may stand before and after a layer; most can stand anywhere."""
    return ()


@_order.register
def _(layer: Flatten | Reshape, net: Network, device: Device) -> Iterator[Finding]:
    shape, channels = net.types[layer.name].shape, net.input_types(layer)[0].channels
    if net.input_types(layer)[0].is_float:  # the host's
        return
    if shape[:-1] == (1, 1) or (len(shape) == 2 and shape[-1] == channels):  # nothing moves, or pixels become tokens
        return
    if isinstance(layer, Reshape) and specs(net)[layer.name].reads_samples:  # the host gives them in that shape
        return
    name, remedy = type(layer).__name__.lower(), "remove the reshaping, or use a dense layer"
    for reader in net.consumers[layer.name]:
        if specs(net)[reader.name].op_type not in (OpType.NONE, OpType.FULLY_CONNECTED):
            reason = f"only a dense layer can read reshaped values (1x1xC), but {reader.name} does"
            yield Finding(layer.name, name, reason, remedy, "order")


@_order.register
def _(layer: LookUp, net: Network, device: Device) -> Iterator[Finding]:
    (before,) = layer.inputs
    spec = specs(net)[before]
    if OpType.ACTIVATION not in device.op_types:
        return
    if spec.op_type not in device.tables_after:
        reason = f"its table follows {before}, but must follow one of {', '.join(device.tables_after)}"
        yield Finding(layer.name, OpType.ACTIVATION, reason, "put a 1x1 convolution before it, or use a ReLU", "order")
    elif spec.pool == "max":
        reason = f"{before} pools, and a table cannot follow max pooling"
        yield Finding(layer.name, OpType.ACTIVATION, reason, "use a ReLU, or pool in a convolution after it", "order")
