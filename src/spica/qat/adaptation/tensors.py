"""Float layers in PyTorch, for training; tensors have their channels second, as PyTorch wants images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

import numpy as np

from spica import layers
from spica.errors import SpicaError
from spica.layers.functions import FUNCTIONS
from spica.layers.weighted import WeightedLayer, WindowedLayer
from spica.network.layer import Layer
from spica.semantics.primitives import resolve_padding

Weights = Mapping[str, Any]
"""A layer's kernels and bias as tensors, by field."""

KNOTS = 4001
"""Points of an activation's curve that training joins by straight lines."""

REACH = 16.0
"""Largest magnitude of an input at which there is such a point; beyond, the last line goes on."""


def load_torch() -> Any:
    """Import PyTorch.

    Raises:
        SpicaError: where it is not installed.
    """
    try:
        import torch
    except ImportError:
        raise SpicaError("adapting trains with PyTorch; run: pip install torch") from None
    return torch


@singledispatch
def forward(layer: Layer, inputs: Sequence[Any], weights: Weights) -> Any:
    """Compute a float layer on tensors ``(N, C, H, W)`` or ``(N, C)``.

    Raises:
        SpicaError: naming a layer that cannot be trained.
    """
    raise _untrainable(layer)


def _untrainable(layer: Layer) -> SpicaError:
    return SpicaError(f"{layer.name}: {type(layer).__name__} cannot be trained by adaptation; leave it to the host")


@forward.register
def _(layer: WeightedLayer, inputs: Sequence[Any], weights: Weights) -> Any:
    acc = accumulate(layer, inputs[0], weights)
    if "bias" in weights:
        acc = acc + weights["bias"].reshape(-1, *[1] * (acc.ndim - 2))
    if isinstance(layer.pool, layers.MaxPool):
        acc = _max_pool(acc, layer.pool, layer.name)
    if layer.activation is not None:
        acc = _rectify(acc, layer.activation)
    return acc.mean(dim=(2, 3)) if isinstance(layer.pool, layers.GlobalAverage) else acc


@singledispatch
def accumulate(layer: Layer, x: Any, weights: Weights) -> Any:
    """Return the accumulators of a layer with weights."""
    raise _untrainable(layer)


@accumulate.register
def _(layer: layers.Dense, x: Any, weights: Weights) -> Any:
    return x @ weights["kernel"]


@accumulate.register
def _(layer: layers.Conv2D, x: Any, weights: Weights) -> Any:
    border = layer.padding_value
    return _convolve(layer, x, weights["kernel"].permute(3, 2, 0, 1), 1, border)


@accumulate.register
def _(layer: layers.DepthwiseConv2D, x: Any, weights: Weights) -> Any:
    return _convolve(layer, x, weights["kernel"].permute(2, 0, 1)[:, None], x.shape[1])


@accumulate.register
def _(layer: layers.SeparableConv2D, x: Any, weights: Weights) -> Any:
    torch = load_torch()
    middle = _convolve(layer, x, weights["depthwise_kernel"].permute(2, 0, 1)[:, None], x.shape[1])
    return torch.nn.functional.conv2d(middle, weights["kernel"].T[:, :, None, None])


def _convolve(layer: WindowedLayer, x: Any, kernel: Any, groups: int, border: Any = None) -> Any:
    functional = load_torch().nn.functional
    (top, bottom), (left, right) = layer.padding_for(*x.shape[2:])
    offset = 0 if border is None else x.new_tensor(np.asarray(border)).reshape(-1, 1, 1)
    x = functional.pad(x - offset, (left, right, top, bottom)) + offset
    return functional.conv2d(x, kernel, stride=layer.strides, groups=groups)


def _max_pool(x: Any, pool: layers.MaxPool, where: str) -> Any:
    functional = load_torch().nn.functional
    (top, bottom), (left, right) = resolve_padding(pool.padding, tuple(x.shape[2:]), pool.size, pool.strides, where)
    x = functional.pad(x, (left, right, top, bottom), value=float("-inf"))
    return functional.max_pool2d(x, pool.size, pool.strides)


def _rectify(x: Any, relu: layers.ReLU) -> Any:
    if relu.max_value is None:
        return x.clamp(min=0)
    top = x.new_tensor(np.asarray(relu.max_value))
    return x.clamp(min=0).minimum(top.reshape(-1, *[1] * (x.ndim - 2)) if top.ndim else top)


@forward.register
def _(layer: layers.MaxPool2D, inputs: Sequence[Any], weights: Weights) -> Any:
    return _max_pool(inputs[0], layer.pool, layer.name)


@forward.register
def _(layer: layers.GlobalAveragePooling2D, inputs: Sequence[Any], weights: Weights) -> Any:
    return inputs[0].mean(dim=(2, 3))


@forward.register
def _(layer: layers.Flatten, inputs: Sequence[Any], weights: Weights) -> Any:
    return inputs[0].movedim(1, -1).flatten(1)


@forward.register
def _(layer: layers.Add, inputs: Sequence[Any], weights: Weights) -> Any:
    total = (inputs[0] + inputs[1]) / (2 if layer.average else 1)
    return total if layer.activation is None else _rectify(total, layer.activation)


@forward.register
def _(layer: layers.Multiply, inputs: Sequence[Any], weights: Weights) -> Any:
    return inputs[0] * inputs[1]


@forward.register
def _(layer: layers.Concatenate, inputs: Sequence[Any], weights: Weights) -> Any:
    return load_torch().cat(list(inputs), dim=1)


@forward.register
def _(layer: layers.Reshape, inputs: Sequence[Any], weights: Weights) -> Any:
    return inputs[0].movedim(1, -1).reshape(-1, *layer.shape).movedim(-1, 1)


@forward.register
def _(layer: layers.Gather, inputs: Sequence[Any], weights: Weights) -> Any:
    torch = load_torch()
    flat = torch.nn.functional.pad(inputs[0].movedim(1, -1).flatten(1), (1, 0))
    places = torch.as_tensor(layer.positions + 1, device=flat.device)
    return flat[:, places].reshape(-1, *layer.shape).movedim(-1, 1)


@forward.register
def _(layer: layers.Scale, inputs: Sequence[Any], weights: Weights) -> Any:
    (x,) = inputs
    scale, offset = (x.new_tensor(v).reshape(-1, *[1] * (x.ndim - 2)) for v in (layer.scale, layer.offset))
    return x * scale + offset


@forward.register
def _(layer: layers.Activation, inputs: Sequence[Any], weights: Weights) -> Any:
    return _rectify(inputs[0], layer.function)


@forward.register
def _(layer: layers.TableActivation, inputs: Sequence[Any], weights: Weights) -> Any:
    """Follow the function's curve by straight pieces, whose slopes are its gradient."""
    (x,) = inputs
    knots = np.linspace(-REACH, REACH, KNOTS)
    values = np.asarray(FUNCTIONS[layer.function](knots, *layer.parameters), np.float32)
    curve, step = x.new_tensor(values), 2 * REACH / (KNOTS - 1)
    index = ((x.detach() + REACH) / step).floor().clamp(0, KNOTS - 2).long()
    share = (x + REACH) / step - index
    return curve[index] + share * (curve[index + 1] - curve[index])
