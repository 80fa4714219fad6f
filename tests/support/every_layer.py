"""Every layer type, examples of those with weights, and whether a transform knows them.

A transform (a ``singledispatch`` function on layers) is held to all of them by::

    @pytest.mark.parametrize("transform", [my_transform])
    def test_every_layer_type_has_a_rule_or_a_reason(transform):
        assert unanswered(transform) == []
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from inspect import signature
from typing import Any

import numpy as np

import spica.layers  # noqa: F401 (fills the registry)
from spica.layers import (
    BufferTempConv,
    Conv2D,
    ConvTranspose2D,
    Dense,
    DepthwiseBufferTempConv,
    DepthwiseConv2D,
    DepthwiseConvTranspose2D,
    GroupedConv2D,
    ReLU,
    SeparableConv2D,
    WeightedLayer,
)
from spica.network import Layer
from spica.network.layer import RECORDS

CHANNELS, FILTERS = 4, 6


def layer_types() -> list[type[Layer]]:
    """All layer types that a network or its file may hold."""
    return [kind for kind in RECORDS.values() if issubclass(kind, Layer)]


def unanswered(transform: Any, types: Iterable[type[Layer]] | None = None) -> list[str]:
    """Names of the layer types that a transform has neither a rule nor a listed reason for.

    A rule on ``Layer`` itself counts as none: it would answer for types that nobody thought of.
    """
    nobody = transform.dispatch(object)
    found = layer_types() if types is None else types
    return [kind.__name__ for kind in found if transform.dispatch(kind) in (nobody, transform.registry.get(Layer))]


def ask(transform: Any, kind: type[Layer], name: str) -> Any:
    """Call a transform on a layer of a type that has nothing but a name, to see it refused by it."""
    layer = object.__new__(kind)
    object.__setattr__(layer, "name", name)
    return transform(layer, *[None] * (len(signature(transform).parameters) - 1))


def _kernel(random: np.random.Generator, *shape: int) -> np.ndarray:
    return (random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)


KERNELS: dict[type[WeightedLayer], Callable[[np.random.Generator], dict[str, Any]]] = {
    Conv2D: lambda r: {"kernel": _kernel(r, 3, 2, CHANNELS, FILTERS)},
    DepthwiseConv2D: lambda r: {"kernel": _kernel(r, 3, 2, CHANNELS)},
    GroupedConv2D: lambda r: {"kernel": _kernel(r, 3, 2, CHANNELS // 2, FILTERS), "groups": 2},
    SeparableConv2D: lambda r: {
        "depthwise_kernel": _kernel(r, 3, 3, CHANNELS),
        "kernel": _kernel(r, CHANNELS, FILTERS),
    },
    ConvTranspose2D: lambda r: {"kernel": _kernel(r, 3, 3, CHANNELS, FILTERS)},
    DepthwiseConvTranspose2D: lambda r: {"kernel": _kernel(r, 3, 3, CHANNELS)},
    BufferTempConv: lambda r: {"kernel": _kernel(r, 3, CHANNELS, FILTERS)},
    DepthwiseBufferTempConv: lambda r: {"kernel": _kernel(r, 3, CHANNELS)},
    Dense: lambda r: {"kernel": _kernel(r, CHANNELS, FILTERS)},
}


def weighted_example(kind: type[WeightedLayer], seed: int = 0) -> WeightedLayer:
    """A float layer ``layer`` that reads ``x``, of ``CHANNELS`` channels, with a bias and a bounded rectifier."""
    random = np.random.default_rng(seed)
    kernels = KERNELS[kind](random)
    bias = random.normal(0, 0.3, kernels["kernel"].shape[-1]).astype(np.float32)
    bound = ReLU(max_value=np.array(1.5, np.float32))
    return kind(name="layer", inputs=("x",), bias=bias, activation=bound, **kernels)
