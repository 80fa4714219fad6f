"""Changes to a network that make it keep a device's rules and leave every integer of its outputs as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from os import PathLike

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.hardware.check import Report, check, kind_of
from spica.hardware.device.load import load_device
from spica.hardware.device.schema import Device
from spica.layers import (
    Conv2D,
    Dense,
    DepthwiseConv2D,
    GlobalAverage,
    GlobalAveragePooling2D,
    LookUp,
    MaxPool,
    MaxPool2D,
    Requantize,
    WeightedLayer,
    weighted,
)
from spica.network import Layer, Network, TensorType
from spica.semantics import primitives

SAMPLES = 16
"""Random samples on which a changed network is compared with the one it was."""


@dataclass(frozen=True)
class Fixed:
    """A network after ``fix``.

    Attributes:
        network: with the changes.
        changes: each in words, in order.
        report: what is still wrong.
        largest_difference: between its outputs and those before, over ``samples`` samples.
    """

    network: Network
    changes: tuple[str, ...]
    report: Report
    largest_difference: float
    samples: int

    def __str__(self) -> str:
        lines = [f"changed: {change}" for change in self.changes] or ["nothing could be changed safely"]
        same = "equal" if self.largest_difference == 0 else f"up to {self.largest_difference:g} apart"
        lines.append(f"outputs before and after are {same} on {self.samples} samples")
        return "\n".join([*lines, str(self.report)])


def fix(net: Network, device: str | PathLike[str] | Device, samples: ArrayLike | None = None) -> Fixed:
    """Apply every safe change that brings a network nearer to a device's rules.

    Args:
        net: an integer network.
        device: a device, its name in the catalogue, or the path of its file.
        samples: inputs on which outputs before and after are compared; random ones by default.

    Raises:
        SpicaError: for a float network, or an unknown device.
    """
    device = load_device(device)
    fixed, changes = net, []
    while (step := _next_change(fixed, device)) is not None:
        fixed, change = step
        changes.append(change)
    x = _random_samples(net) if samples is None else samples
    before, after = (_as_list(n.forward(x)) for n in (net, fixed))
    apart = max((float(np.abs(a - b).max()) for a, b in zip(before, after) if a.size), default=0.0)
    return Fixed(fixed, tuple(changes), check(fixed, device), apart, len(before[0]))


def _next_change(net: Network, device: Device) -> tuple[Network, str] | None:
    """The network after the first remedy that helps, and the change in words."""
    found = check(net, device).findings
    for finding in found:
        for remedy in REMEDIES:
            changed = remedy(net, net[finding.layer], device)
            if changed is not None and len(check(changed[0], device).findings) < len(found):
                return changed
    return None


def _as_list(y: NDArray | list[NDArray]) -> list[NDArray]:
    return y if isinstance(y, list) else [y]


def _random_samples(net: Network) -> NDArray | list[NDArray]:
    generator = np.random.default_rng(0)
    drawn = []
    for layer in net.inputs:
        kind = net.types[layer.name]
        shape = (SAMPLES, *kind.shape)
        if kind.is_float:
            drawn.append(generator.standard_normal(shape, np.float32))
        else:
            low, high = kind.range
            drawn.append(generator.integers(low, high, shape, endpoint=True).astype(kind.dtype))
    return drawn if len(drawn) > 1 else drawn[0]


# -- remedies: (network, layer, device) -> network and change, or None ---------------------------------------------


def _grow_kernel(net: Network, layer: Layer, device: Device) -> tuple[Network, str] | None:
    """Rows and columns of zeros make an even kernel odd, and padding that is PyTorch's that of "same"."""
    if not isinstance(layer, Conv2D | DepthwiseConv2D):
        return None
    sizes = layer.kernel.shape[:2]
    odd = (sizes[0] + 1 - sizes[0] % 2, sizes[1] + 1 - sizes[1] % 2)
    before = [f for f in check(net, device) if f.layer == layer.name]
    for grown in dict.fromkeys([odd, (sizes[0] + 1, sizes[1] + 1), (sizes[0] + 2, sizes[1] + 2)]):
        changed = None if grown == sizes else _grown(net, layer, grown)
        if changed is None:
            continue
        grows = _with(net, layer.name, [changed])
        if len([f for f in check(grows, device) if f.layer == layer.name]) < len(before):
            return grows, f"{layer.name}: kernel {sizes[0]}x{sizes[1]} -> {grown[0]}x{grown[1]}, filled with zeros"
    return None


def _grown(net: Network, layer: Conv2D | DepthwiseConv2D, grown: tuple[int, int]) -> Conv2D | DepthwiseConv2D | None:
    """The layer with a larger kernel that pads as "same"; none where it would not give what it gave."""
    (x,) = net.input_types(layer)
    sizes = layer.kernel.shape[:2]
    padding = weighted.padding_of(layer, layer.kernel, x)
    wanted = tuple(primitives.same_padding(s, k, t) for s, k, t in zip(x.shape, grown, layer.strides))
    zeros = [(new[0] - old[0], size - have - (new[0] - old[0])) for new, old, size, have in
             zip(wanted, padding, grown, sizes)]  # fmt: skip
    if min(min(pair) for pair in zeros) < 0:
        return None
    kernel = np.pad(layer.kernel, (*zeros, *[(0, 0)] * (layer.kernel.ndim - 2)))
    changed = replace(layer, kernel=kernel, padding="same")
    if weighted.convolved_shape(changed, x, grown, layer.strides, "same") != weighted.convolved_shape(
        layer, x, sizes, layer.strides, layer.padding
    ):
        return None
    return changed


def _narrow_weights(net: Network, layer: Layer, device: Device) -> tuple[Network, str] | None:
    """Weights that are small enough are held in fewer bits."""
    if not isinstance(layer, WeightedLayer) or layer.weight_bits is None:
        return None
    kernels = [getattr(layer, name) for name in ("kernel", "depthwise_kernel") if hasattr(layer, name)]
    for bits in (1, 2, 4):
        low, high = weighted.WEIGHT_RANGE[bits]
        fits = all(low <= k.min() and k.max() <= high and (bits > 1 or (k != 0).all()) for k in kernels)
        if bits < layer.weight_bits and fits:
            changed = _with(net, layer.name, [replace(layer, weight_bits=bits)])
            if not any("weight bits" in f.reason for f in check(changed, device) if f.layer == layer.name):
                return changed, f"{layer.name}: weights held in {bits} bits instead of {layer.weight_bits}; all fit"
    return None


def _follow_pooling(net: Network, layer: Layer, device: Device) -> tuple[Network, str] | None:
    """A convolution that pools is followed by one that changes nothing."""
    if not isinstance(layer, WeightedLayer) or not isinstance(layer.pool, MaxPool):
        return None
    if any(isinstance(reader, LookUp) for reader in net.consumers[layer.name]):
        return None
    name = f"{layer.name}/identity"
    identity = _identity(name, layer.name, net.types[layer.name], device)
    if identity is None or name in net.types:
        return None
    moved = _insert_after(net, layer.name, identity)
    return moved, f"{name}: inserted after {layer.name}, which pools"


def _carry_pooling(net: Network, layer: Layer, device: Device) -> tuple[Network, str] | None:
    """Pooling on its own is fused into a convolution that changes nothing."""
    if not isinstance(layer, MaxPool2D | GlobalAveragePooling2D):
        return None
    identity = _identity(layer.name, layer.inputs[0], net.types[layer.inputs[0]], device)
    if identity is None:
        return None
    if isinstance(layer, MaxPool2D):
        carrier = replace(identity, pool=layer.pool)
    else:
        carrier = replace(identity, pool=GlobalAverage(), requantize=layer.requantize)
    return _with(net, layer.name, [carrier]), f"{layer.name}: fused into an identity convolution that carries it"


def _project_by_convolution(net: Network, layer: Layer, device: Device) -> tuple[Network, str] | None:
    """A dense layer over every pixel of an image is a 1x1 convolution."""
    if (
        not isinstance(layer, Dense)
        or kind_of(net, layer) != "projection"
        or len(net.types[layer.inputs[0]].shape) != 3
    ):
        return None
    shared = {name: getattr(layer, name) for name in vars(layer) if name != "kernel"}
    convolution = Conv2D(**shared, kernel=layer.kernel[None, None])
    return _with(net, layer.name, [convolution]), f"{layer.name}: dense layer over pixels -> 1x1 convolution"


def _pool_after_table(net: Network, layer: Layer, device: Device) -> tuple[Network, str] | None:
    """Max pooling before a table that never falls moves behind it, into a convolution that changes nothing."""
    if not isinstance(layer, LookUp) or (np.diff(layer.table) < 0).any():
        return None
    before = net[layer.inputs[0]]
    stage = layer.requantize
    if not isinstance(before, WeightedLayer) or not isinstance(before.pool, MaxPool) or stage is None:
        return None
    if stage.multiplier.min() < 0 or len(net.consumers[before.name]) > 1:
        return None
    moved = _with(net, before.name, [replace(before, pool=None)])
    table_name = f"{layer.name}/table"
    identity = _identity(layer.name, table_name, moved.types[layer.name], device)
    if identity is None:
        return None
    carrier = replace(identity, pool=before.pool)
    changed = _with(moved, layer.name, [replace(layer, name=table_name), carrier])
    return changed, f"{layer.name}: max pooling moved from before its table to after it, which never falls"


REMEDIES: tuple[Callable[[Network, Layer, Device], tuple[Network, str] | None], ...] = (
    _grow_kernel,
    _narrow_weights,
    _follow_pooling,
    _carry_pooling,
    _project_by_convolution,
    _pool_after_table,
)


# -- pieces --------------------------------------------------------------------------------------------------------


def _identity(name: str, source: str, x: TensorType, device: Device) -> Conv2D | None:
    """A 1x1 convolution that gives what it reads, in the narrowest weights that the device's rules allow."""
    if len(x.shape) != 3 or x.bits is None or (x.scale != 1).any():
        return None
    allowed = [
        bound.allowed
        for rule in device.rules
        for quantity, bound in rule.bounds.items()
        if rule.op_type == "convolution" and quantity == "weight_bits" and bound.allowed
    ]
    bits = min((b for values in allowed for b in values if b > 1), default=8)
    stage = Requantize(
        multiplier=np.ones((), np.int64),
        shift=weighted.input_shift(x),
        bits=x.bits,
        signed=x.signed,
        frac_bits=x.frac_bits,
    )
    return Conv2D(
        name=name,
        inputs=(source,),
        kernel=np.eye(x.channels, dtype=np.int8)[None, None],
        weight_bits=bits,
        weight_scale=np.ones((), np.float32),
        requantize=stage,
    )


def _with(net: Network, name: str, layers: list[Layer]) -> Network:
    """The network with the layer ``name`` replaced by others, the last of which has its readers."""
    found = [new for layer in net for new in (layers if layer.name == name else [layer])]
    return Network(tuple(found), net.outputs, net.name)


def _insert_after(net: Network, name: str, layer: Layer) -> Network:
    """The network with ``layer``, which reads ``name``, read in its place by all of its readers."""

    def redirect(other: Layer) -> Layer:
        return replace(other, inputs=tuple(layer.name if i == name else i for i in other.inputs))

    found: list[Layer] = []
    for other in net:
        found.append(redirect(other))
        if other.name == name:
            found.append(layer)
    outputs = tuple(layer.name if output == name else output for output in net.outputs)
    return Network(tuple(found), outputs, net.name)
