"""Integer networks with random weights, built from records, for the tests of the virtual chip."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from spica.layers import Conv2D, Dense, DepthwiseConv2D, Flatten, Input, MaxPool, ReLU, Requantize, SeparableConv2D
from spica.network import Layer, Network, TensorType
from spica.network.layer import infer

Maker = Callable[[str, str, TensorType, np.random.Generator], Layer]


def network(shape: tuple[int, ...], *makers: Maker, bits: int = 8, signed: bool = False, seed: int = 0) -> Network:
    """A chain of layers named ``layer_1`` and so on, each reading the one before."""
    generator = np.random.default_rng(seed)
    layers: list[Layer] = [Input(name="input", shape=shape, bits=bits, signed=signed)]
    kind = infer(layers[0], [])
    for i, make in enumerate(makers, start=1):
        layers.append(make(f"layer_{i}", layers[-1].name, kind, generator))
        kind = infer(layers[-1], [kind])
    return Network(tuple(layers), (layers[-1].name,), "chain")


def conv(
    filters: int, kernel=3, strides=1, padding="same", pool=None, weights=4, activations=4, bounded=False
) -> Maker:
    def make(name, source, x, generator):
        window = pair(kernel)
        return Conv2D(
            name=name,
            inputs=(source,),
            strides=pair(strides),
            padding=padding,
            pool=pool,
            kernel=integers(generator, weights, *window, x.channels, filters),
            **neural(x, generator, filters, window, weights, activations, bounded),
        )

    return make


def separable(
    filters: int, kernel=3, strides=1, padding="same", pool=None, weights=4, activations=4, bounded=False
) -> Maker:
    def make(name, source, x, generator):
        window = pair(kernel)
        return SeparableConv2D(
            name=name,
            inputs=(source,),
            strides=pair(strides),
            padding=padding,
            pool=pool,
            depthwise_kernel=integers(generator, weights, *window, x.channels),
            kernel=integers(generator, weights, x.channels, filters),
            **neural(x, generator, filters, window, 2 * weights, activations, bounded) | {"weight_bits": weights},
        )

    return make


def depthwise(kernel=3, strides=1, padding="same", pool=None, weights=4, activations=4, bounded=False) -> Maker:
    def make(name, source, x, generator):
        window = pair(kernel)
        return DepthwiseConv2D(
            name=name,
            inputs=(source,),
            strides=pair(strides),
            padding=padding,
            pool=pool,
            kernel=integers(generator, weights, *window, x.channels),
            **neural(x, generator, x.channels, window, weights, activations, bounded),
        )

    return make


def dense(units: int, weights=4, activations=None) -> Maker:
    """Potentials as they are, unless ``activations`` says how many bits they are rounded to."""

    def make(name, source, x, generator):
        fields = neural(x, generator, units, (1, 1), weights, activations or 4, False)
        if activations is None:
            fields |= {"requantize": None, "activation": None}
        kernel = integers(generator, weights, x.channels, units)
        return Dense(name=name, inputs=(source,), kernel=kernel, **fields)

    return make


def flatten() -> Maker:
    return lambda name, source, x, generator: Flatten(name=name, inputs=(source,))


def max_pool(size=2, strides=2, padding="valid") -> MaxPool:
    return MaxPool(size=pair(size), strides=pair(strides), padding=padding)


def pair(value) -> tuple[int, int]:
    return value if isinstance(value, tuple) else (value, value)


def integers(generator, bits: int, *shape: int) -> np.ndarray:
    if bits == 1:
        return generator.choice([-1, 1], shape).astype(np.int8)
    return generator.integers(-(1 << (bits - 1)), 1 << (bits - 1), shape).astype(np.int8)


def neural(x: TensorType, generator, filters: int, window, weights: int, activations: int, bounded: bool) -> dict:
    """Return the epilogue of a layer, scaled so that about half of the outputs are events."""
    spread = 0.3 * 2 ** (x.bits + weights) * math.sqrt(window[0] * window[1] * x.channels) / 4
    shift = max(round(math.log2(spread)) - activations, 0)
    ceiling = generator.integers(1, int(spread) + 2, filters) if bounded else None
    return {
        "bias": generator.integers(-int(spread) // 2 - 1, int(spread) // 2 + 1, filters),
        "activation": ReLU(max_value=ceiling),
        "weight_bits": weights,
        "weight_scale": np.ones(filters, np.float32),
        "requantize": Requantize(
            multiplier=generator.integers(1, 4, filters),
            shift=np.full(filters, shift),
            bits=activations,
            signed=False,
            frac_bits=np.zeros((), np.int64),
        ),
    }


def quantized(net: Network, seed: int = 0) -> Network:
    """A float network of the zoo with its kernels replaced by random 4-bit integers; 8-bit input."""
    generator = np.random.default_rng(seed)
    makers = {Conv2D: conv, SeparableConv2D: separable}
    layers: list[Layer] = [replace(net.layers[0], bits=8)]
    kind = infer(layers[0], [])
    for layer in net.layers[1:]:
        filters = layer.kernel.shape[-1]
        if isinstance(layer, Dense):
            make = dense(filters)
        else:
            make = makers[type(layer)](filters, strides=layer.strides, pool=layer.pool)
        layers.append(make(layer.name, layer.inputs[0], kind, generator))
        kind = infer(layers[-1], [kind])
    return Network(tuple(layers), net.outputs, net.name)
