"""Rewrites of layers that a device lacks: separable forms, skip connections, gates, activations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spica.layers import Activation, Add, Conv2D, DepthwiseConv2D, Multiply, ReLU, SeparableConv2D, TableActivation
from spica.layers.weighted import WeightedLayer
from spica.network import Network
from spica.network.edit import redirect, replace_layer
from spica.qat.adaptation.rewrites.base import Case, Proposal, only_reader, rewrite

BOUNDED = ("sigmoid", "hard_sigmoid", "tanh", "softsign")
"""Functions that do not pass one."""


@rewrite("separable_convolution", exact=True)
def split_separable(case: Case) -> Proposal | None:
    """Write a separable convolution as a depthwise one and a 1x1 convolution; integers are rounded between them."""
    layer = case.layer
    if not isinstance(layer, SeparableConv2D):
        return None
    first = DepthwiseConv2D(
        name=f"{layer.name}/depthwise", inputs=layer.inputs, kernel=layer.depthwise_kernel,
        strides=layer.strides, padding=layer.padding,
    )  # fmt: skip
    second = Conv2D(
        name=layer.name, inputs=(first.name,), kernel=layer.kernel[None, None], bias=layer.bias,
        pool=layer.pool, activation=layer.activation,
    )  # fmt: skip
    return case.changed(replace_layer(case.net, layer.name, first, second), "separable -> depthwise, then 1x1")


@rewrite("depthwise_convolution")
def join_separable(case: Case) -> Proposal | None:
    """Join a depthwise convolution and the 1x1 convolution behind it; what was between them goes."""
    layer, net = case.layer, case.net
    behind = only_reader(net, layer)
    if not isinstance(layer, DepthwiseConv2D) or layer.pool is not None or layer.window == (1, 1):
        return None
    if not isinstance(behind, Conv2D) or behind.window != (1, 1) or behind.strides != (1, 1):
        return None
    bias = np.zeros(behind.filters, np.float32) if behind.bias is None else behind.bias
    if layer.bias is not None:
        bias = bias + layer.bias @ behind.kernel[0, 0]
    joined = SeparableConv2D(
        name=behind.name, inputs=layer.inputs, depthwise_kernel=layer.kernel, kernel=behind.kernel[0, 0],
        bias=bias.astype(np.float32), strides=layer.strides, padding=layer.padding, pool=behind.pool,
        activation=behind.activation,
    )  # fmt: skip
    lost = "" if layer.activation is None else "; the ReLU between them goes"
    changed = net.with_layers(joined if r is behind else r for r in net if r is not layer)
    return case.changed(changed, f"depthwise, then 1x1 ({behind.name}) -> separable{lost}")


@rewrite("depthwise_convolution")
def fold_forward(case: Case) -> Proposal | None:
    """Fold a normalisation behind a ReLU into the convolutions that read it; their borders lose its offset."""
    layer, net = case.layer, case.net
    readers = net.consumers[layer.name]
    plain = isinstance(layer, DepthwiseConv2D) and layer.window == (1, 1) and layer.strides == (1, 1)
    if not plain or layer.activation is not None or layer.pool is not None or layer.name in net.outputs:
        return None
    convolutions = [r for r in readers if isinstance(r, Conv2D | SeparableConv2D)]
    if not readers or len(convolutions) < len(readers):
        return None
    scale, offset = layer.kernel[0, 0], layer.bias if layer.bias is not None else np.zeros(layer.filters, np.float32)
    folded = {r.name: shifted_reader(r, offset, scale) for r in convolutions}
    kept = [redirect(folded.get(r.name, r), {layer.name: layer.inputs[0]}) for r in net if r is not layer]
    return case.changed(net.with_layers(kept), "normalisation behind ReLU -> folded into what reads it")


def shifted_reader(layer: WeightedLayer, offset: np.ndarray, scale: np.ndarray | None = None) -> WeightedLayer:
    """Return a convolution, or a dense layer, that sees ``scale * x + offset`` for each channel where it reads x."""
    first = next(iter(layer.KERNELS))
    kernel = getattr(layer, first)
    moved = np.tile(offset, kernel.shape[layer.KERNELS[first].index("C")] // len(offset))
    if isinstance(layer, SeparableConv2D):
        added = (kernel.sum(axis=(0, 1)) * moved) @ layer.kernel
    elif isinstance(layer, DepthwiseConv2D):
        added = kernel.sum(axis=(0, 1)) * moved
    else:
        added = (kernel * moved[:, None]).sum(axis=tuple(range(kernel.ndim - 1)))
    bias = added if layer.bias is None else layer.bias + added
    if scale is not None:
        kernel = kernel * (scale if "F" not in layer.KERNELS[first] else scale[:, None])
    fields = {first: kernel.astype(np.float32), "bias": bias.astype(np.float32)}
    return replace(layer, **fields)


@rewrite("depthwise_convolution", exact=True)
def full_convolution(case: Case) -> Proposal | None:
    """Write a depthwise convolution as a full one, whose other weights are zero and may be learned."""
    layer = case.layer
    if not isinstance(layer, DepthwiseConv2D):
        return None
    kernel = (layer.kernel[..., None] * np.eye(layer.filters, dtype=np.float32)).astype(np.float32)
    full = Conv2D(
        name=layer.name, inputs=layer.inputs, kernel=kernel, bias=layer.bias, strides=layer.strides,
        padding=layer.padding, pool=layer.pool, activation=layer.activation,
    )  # fmt: skip
    return case.changed(replace_layer(case.net, layer.name, full), "depthwise -> full convolution")


@rewrite("add")
def keep_main_branch(case: Case) -> Proposal | None:
    """Leave out the skip connection: of two branches the one with more layers of weights stays."""
    layer, net = case.layer, case.net
    if not isinstance(layer, Add):
        return None
    depths = _depths(net)
    main, other = sorted(layer.inputs, key=lambda name: -depths[name])
    last = net[main]
    kept = net
    if layer.activation is not None and isinstance(last, WeightedLayer) and last.activation is None:
        kept = kept.with_layers(replace(last, activation=layer.activation) if r is last else r for r in kept)
    return case.changed(_without(kept, layer.name, main), f"the skip connection from {other} goes")


def _depths(net: Network) -> dict[str, int]:
    """Return how many layers of weights lead to each tensor, on the longest way."""
    depths: dict[str, int] = {}
    for layer in net:
        before = max((depths[name] for name in layer.inputs), default=0)
        depths[layer.name] = before + isinstance(layer, WeightedLayer)
    return depths


def _without(net: Network, name: str, source: str) -> Network:
    """Return a network without a layer; what read it reads ``source``."""
    kept = [redirect(layer, {name: source}) for layer in net if layer.name != name]
    return net.with_layers(kept, [source if output == name else output for output in net.outputs])


@rewrite("multiply")
def drop_gate(case: Case) -> Proposal | None:
    """Leave out a gate, such as squeeze-and-excite's: what it multiplied goes on as it is."""
    layer = case.layer
    if not isinstance(layer, Multiply):
        return None
    return case.changed(_without(case.net, layer.name, layer.inputs[0]), f"the gate by {layer.inputs[1]} goes")


@rewrite("activation", "order")
def rectify_table(case: Case) -> Proposal | None:
    """Take a ReLU instead of another activation; of one that does not pass one, a ReLU that stops there."""
    layer = case.layer
    if not isinstance(layer, TableActivation):
        return None
    bound = np.array(1, np.float32) if layer.function in BOUNDED else None
    relu = Activation(name=layer.name, inputs=layer.inputs, function=ReLU(max_value=bound))
    to = "ReLU" if bound is None else "ReLU up to 1"
    return case.changed(replace_layer(case.net, layer.name, relu), f"{layer.function} -> {to}")


@rewrite("activation")
def drop_second_rectifier(case: Case) -> Proposal | None:
    """Leave out a ReLU that no layer with weights can take in."""
    layer = case.layer
    if not isinstance(layer, Activation):
        return None
    return case.changed(_without(case.net, layer.name, layer.inputs[0]), "a ReLU on its own goes")
