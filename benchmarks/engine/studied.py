"""The networks of the study: integer networks of seeded weights, and the same at a wished density of events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

import spica
from spica import zoo
from spica.layers import Conv2D, Dense, DepthwiseConv2D, Dequantize, Input, ReLU
from spica.layers.weighted import WeightedLayer
from spica.network import Network

NETWORKS: dict[str, Callable[[], Network]] = {
    "ds_cnn": zoo.ds_cnn,
    "mobilenet_0.25_96": lambda: zoo.mobilenet(0.25, 96, fused=False),
    "resnet8": zoo.resnet8,
    "autoencoder": zoo.autoencoder,
    "akidanet_0.5_160": lambda: zoo.akidanet(0.5, 160, fused=False),
    "akidanet_1_224": lambda: zoo.akidanet(1.0, 224, fused=False),
}
FUSED: dict[str, Callable[[], Network]] = {
    "mobilenet_0.25_96_fused": lambda: zoo.mobilenet(0.25, 96),
    "akidanet_0.5_160_fused": lambda: zoo.akidanet(0.5, 160),
    "akidanet_1_224_fused": lambda: zoo.akidanet(1.0, 224),
}
"""Separable layers whose middle is not rounded. Others' integers have no such layer, so they compute something less."""


def samples(net: Network, count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth random samples of 8 bits: noise at a coarse scale, as most of a picture is."""
    shape = net.inputs[0].shape
    random = np.random.default_rng(seed)
    coarse = random.uniform(0, 255, (count, *(-(-size // 8) for size in shape[:-1]), shape[-1]))
    for axis in range(1, len(shape)):
        coarse = coarse.repeat(8, axis).take(range(shape[axis - 1]), axis)
    return np.clip(coarse + random.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)


def integer(name: str) -> Network:
    """The network called ``name`` with 8-bit weights and activations."""
    net = (NETWORKS | FUSED)[name]()
    return spica.quantize(net, samples(net, 8), ranges="max", bias_correction=False, progress=False)


def at_density(net: Network, x: NDArray, density: float) -> Network:
    """``net`` with the biases of its rectified layers moved, one after the other, so that on samples ``x`` a share
    ``density`` of each layer's outputs is not zero."""
    layers = {layer.name: layer for layer in net}
    for layer in net:
        if not isinstance(layer, WeightedLayer) or layer.activation is None:
            continue
        here = Network(tuple(layers.values()), net.outputs, net.name)
        bare = replace(layer, requantize=None, activation=None, pool=None)
        source = here.run(x, keep=layer.inputs).tensors[layer.inputs[0]]
        alone = Network((_input(here, layer.inputs[0]), replace(bare, inputs=("x",))), (layer.name,))
        sums = alone.run(source, keep=[layer.name]).tensors[layer.name].astype(np.int64)
        cut = np.quantile(sums, 1 - density) if density < 1 else sums.min() - _step(layer)
        if (sums >= cut).mean() > 1.5 * density:  # many sums are the same: those of pixels without events
            cut += 1
        bias = (0 if layer.bias is None else layer.bias) - np.int64(cut) + _step(layer)
        layers[layer.name] = replace(layer, bias=np.broadcast_to(bias, sums.shape[-1:]).astype(np.int64))
    return Network(tuple(layers.values()), net.outputs, f"{net.name} at {density:.0%}")


def single(kind: str, size: int, channels: int, filters: int | None = None) -> Network:
    """One rectified layer on images ``(size, size, channels)`` of 8 bits: conv3x3, conv1x1, depthwise3x3 or dense."""
    filters = filters or channels
    random = np.random.default_rng(0)
    shape = (channels,) if kind == "dense" else (size, size, channels)
    side = 3 if "3x3" in kind else 1
    weights = {"depthwise3x3": (3, 3, channels), "dense": (channels, filters)}.get(
        kind, (side, side, channels, filters)
    )
    record = {"depthwise3x3": DepthwiseConv2D, "dense": Dense}.get(kind, Conv2D)
    kernel = (random.standard_normal(weights) * 0.1).astype(np.float32)
    layer = record(name="layer", inputs=("input",), kernel=kernel, activation=ReLU())
    tail = Dense(name="tail", inputs=("layer",), kernel=np.eye(kernel.shape[-1], dtype=np.float32))
    net = Network((Input(name="input", shape=shape), layer, tail), ("tail",), f"{kind} {size}x{size}x{channels}")
    x = random.integers(0, 256, (4, *shape), np.uint8)
    whole = spica.quantize(net, x, bias_correction=False, progress=False)
    return Network((*whole.layers[:2], Dequantize(name="output", inputs=("layer",))), ("output",), net.name)


def sparse(shape: tuple[int, ...], density: float, seed: int = 0) -> NDArray[np.uint8]:
    """Random values of 8 bits of which a share ``density``, spread at random, is not zero."""
    random = np.random.default_rng(seed)
    return (random.integers(1, 256, shape) * (random.random(shape) < density)).astype(np.uint8)


def densities(net: Network, x: NDArray) -> dict[str, float]:
    """Share of non-zero values that each layer receives."""
    run = net.run(x, count=True)
    return {name: events / run.inputs[name] for name, events in run.events.items()}


def _input(net: Network, name: str) -> Input:
    kind = net.types[name]
    return Input(name="x", shape=kind.shape, bits=kind.bits, signed=kind.signed)


def _step(layer: WeightedLayer) -> int:
    """Smallest sum that leaves the layer's output stage as one."""
    out = layer.requantize
    assert out is not None
    return int(np.ceil(0.5 * 2.0 ** out.shift.max() / max(out.multiplier.min(), 1)))
