"""Random networks for property tests: every shape, bit width and option drawn by hypothesis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from spica.layers import (
    Add,
    BufferTempConv,
    Concatenate,
    Conv2D,
    ConvTranspose2D,
    Dense,
    DepthwiseBufferTempConv,
    DepthwiseConv2D,
    DepthwiseConvTranspose2D,
    Dequantize,
    Flatten,
    GlobalAverage,
    GlobalAveragePooling2D,
    GroupedConv2D,
    Input,
    LookUp,
    MaxPool,
    MaxPool2D,
    Permute,
    ReLU,
    Requantize,
    SeparableConv2D,
    Take,
)
from spica.layers.weighted import WEIGHT_RANGE
from spica.network import Network

KINDS = ["conv", "depthwise", "grouped", "separable", "transposed", "depthwise transposed"]
TEMPORAL = ["temporal", "depthwise temporal"]

SEEDS = st.integers(0, 2**32 - 1)


def weights(random: np.random.Generator, shape: tuple[int, ...], bits: int) -> np.ndarray:
    """Random weights over the whole range of ``bits``."""
    if bits == 1:
        return random.choice(np.array([-1, 1], np.int8), shape)
    low, high = WEIGHT_RANGE[bits]
    return random.integers(low, high, shape, dtype=np.int8, endpoint=True)


@st.composite
def output_stages(draw, random: np.random.Generator, channels: int) -> Requantize:
    """Output stages of which some saturate and some leave almost nothing."""
    bits = draw(st.sampled_from([1, 2, 4, 8]))
    return Requantize(
        multiplier=random.integers(1, 256, channels),
        shift=random.integers(*draw(st.sampled_from([(-2, 3), (4, 12), (8, 20)])), channels),
        bits=bits,
        signed=bits > 1 and draw(st.booleans()),
        frac_bits=random.integers(-2, 5, channels) if draw(st.booleans()) else np.array(2),
        buffer_bits=draw(st.sampled_from([20, 32])),
    )


@st.composite
def integer_layers(draw, random: np.random.Generator, name: str, source: str, channels: int, image: bool, memory: bool):
    """A neural layer that reads ``source`` of ``channels`` channels, and whether it gives an image."""
    bits, filters = draw(st.sampled_from([1, 2, 4, 8])), draw(st.integers(1, 9))
    kind = draw(st.sampled_from(KINDS + TEMPORAL if memory else KINDS)) if image else "dense"
    groups = draw(st.sampled_from([g for g in range(1, channels + 1) if channels % g == 0]))
    if kind.startswith("depthwise"):
        filters = channels
    if kind == "grouped":
        filters = groups * draw(st.integers(1, 3))
    limit = draw(st.sampled_from([6, 12, 27]))
    relu = draw(st.booleans())
    ceiling = random.integers(1, 1 << limit, filters) if relu and draw(st.booleans()) else None
    common = {
        "name": name,
        "inputs": (source,),
        "weight_bits": bits,
        "accumulator_bits": limit,
        "weight_scale": random.uniform(0.01, 1, filters).astype(np.float32),
        "bias": random.integers(-(1 << 10), 1 << 10, filters) if draw(st.booleans()) else None,
        "activation": ReLU(max_value=ceiling) if relu else None,
        "requantize": draw(output_stages(random, filters)),
    }
    if kind == "dense":
        return Dense(kernel=weights(random, (channels, filters), bits), **common), False
    if kind.endswith("temporal"):
        depth = draw(st.integers(1, 4))
        if kind == "depthwise temporal":
            return DepthwiseBufferTempConv(kernel=weights(random, (depth, channels), bits), **common), True
        return BufferTempConv(kernel=weights(random, (depth, channels, filters), bits), **common), True
    size = (draw(st.sampled_from([1, 3, 5])), draw(st.sampled_from([1, 2, 3])))
    common["strides"] = (draw(st.integers(1, 3)), draw(st.integers(1, 2)))
    if kind.endswith("transposed"):
        common["padding"] = draw(st.sampled_from(["same", "valid"]))
        if kind == "depthwise transposed":
            return DepthwiseConvTranspose2D(kernel=weights(random, (*size, channels), bits), **common), True
        return ConvTranspose2D(kernel=weights(random, (*size, channels, filters), bits), **common), True
    common["padding"] = draw(st.sampled_from(["same", ((2, 2), (1, 2))]))
    common["pool"] = draw(
        st.sampled_from(
            [
                None,
                MaxPool(padding="same"),
                MaxPool(size=(3, 2), strides=(1, 2), padding="same"),
                GlobalAverage(),
            ]
        )
    )
    still_image = not isinstance(common["pool"], GlobalAverage)
    if kind == "depthwise":
        return DepthwiseConv2D(kernel=weights(random, (*size, channels), bits), **common), still_image
    if kind == "grouped":
        kernel = weights(random, (*size, channels // groups, filters), bits)
        return GroupedConv2D(kernel=kernel, groups=groups, **common), still_image
    if kind == "separable":
        return SeparableConv2D(
            depthwise_kernel=weights(random, (*size, channels), bits),
            kernel=weights(random, (channels, filters), bits),
            **common,
        ), still_image
    fill = random.integers(0, 4, channels) if draw(st.booleans()) else None
    return Conv2D(kernel=weights(random, (*size, channels, filters), bits), padding_value=fill, **common), still_image


@st.composite
def integer_networks(draw, memory: bool = True) -> tuple[Network, np.ndarray]:
    """A random integer network with a skip connection or a concatenation somewhere, and a batch for it.

    ``memory``: whether some layers may remember frames.
    """
    random = np.random.default_rng(draw(SEEDS))
    shape = (draw(st.integers(3, 9)), draw(st.integers(3, 9)), draw(st.integers(1, 4)))
    bits, signed = draw(st.sampled_from([(8, False), (8, True), (4, False), (1, False)]))
    layers = [Input(name="input", shape=shape, bits=bits, signed=signed)]
    source, channels, image = "input", shape[-1], True
    for depth in range(draw(st.integers(1, 3))):
        layer, image = draw(integer_layers(random, f"layer{depth}", source, channels, image, memory))
        layers.append(layer)
        source, channels = layer.name, len(layer.weight_scale)
        join = draw(st.sampled_from(["none", "add", "concatenate", "pool", "flatten", "lookup", "take", "permute"]))
        here = Network(tuple(layers), (source,)).types[source]
        if join == "add":
            relu = ReLU() if draw(st.booleans()) else None
            stage = draw(output_stages(random, channels))
            layers.append(Add(name=f"add{depth}", inputs=(source, source), activation=relu, requantize=stage))
        elif join == "concatenate":
            layers.append(Concatenate(name=f"joined{depth}", inputs=(source, source)))
            channels *= 2
        elif join == "pool" and image:
            average = draw(st.booleans())
            if average:
                stage = draw(output_stages(random, channels))
                layers.append(GlobalAveragePooling2D(name=f"pool{depth}", inputs=(source,), requantize=stage))
                image = False
            else:
                layers.append(MaxPool2D(name=f"pool{depth}", inputs=(source,), pool=MaxPool(padding="same")))
        elif join == "lookup" and here.per_tensor:
            table = random.integers(-100, 100, here.range[1] - here.range[0] + 1)
            stage = draw(output_stages(random, 1))
            step = np.array(0.3, np.float32)
            layers.append(
                LookUp(
                    name=f"table{depth}",
                    inputs=(source,),
                    table=table,
                    table_bits=8,
                    scale=step,
                    function="random",
                    requantize=replace(
                        stage,
                        multiplier=stage.multiplier[:1].reshape(()),
                        shift=stage.shift[:1].reshape(()),
                        frac_bits=stage.frac_bits.reshape(-1)[:1].reshape(()),
                    ),
                )
            )
        elif join == "take" and image:
            rows = here.shape[0]
            layers.append(Take(name=f"take{depth}", inputs=(source,), axis=0, start=rows // 3, stop=rows, step=2))
        elif join == "permute" and image:
            layers.append(Permute(name=f"permuted{depth}", inputs=(source,), axes=(1, 0, 2)))
        elif join == "flatten" and image:
            layers.append(Flatten(name=f"flat{depth}", inputs=(source,)))
            channels = Network(tuple(layers), (f"flat{depth}",)).types[f"flat{depth}"].channels
            image = False
        source = layers[-1].name
    layers.append(Dequantize(name="output", inputs=(source,)))
    net = Network(tuple(layers), ("output",))
    low, high = net.types["input"].range
    batch = random.integers(low, high, (draw(st.integers(1, 5)), *shape), endpoint=True)
    batch[random.random(batch.shape) < draw(st.sampled_from([0.0, 0.6, 0.95]))] = 0
    return net, batch.astype(net.types["input"].dtype)
