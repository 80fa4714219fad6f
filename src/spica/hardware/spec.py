"""The specification of each layer for hardware, as a typed record: ``specs(net)`` gives those of a network.

``layer_spec`` is a ``functools.singledispatch`` with a rule for each family of layers. A new ``WindowedLayer`` or
``WeightedLayer`` is served by its base class's rule; other layers need one here, or the device refuses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import singledispatch
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from spica import layers
from spica.layers.learning import MEMORY_BITS
from spica.layers.shape import is_only_moved
from spica.layers.transposed import Transposed, padding_name
from spica.layers.weighted import WeightedLayer, WindowedLayer, is_depthwise, lowered
from spica.network import Layer, Network, TensorType
from spica.network.layer import infer, macs
from spica.semantics import primitives
from spica.semantics.primitives import Pair


class OpType(StrEnum):
    """Type of a layer to the hardware; the values are the names in device files. Only ``NONE`` is falsy."""

    NONE = ""
    """Names or moves values, which routing does for nothing, or belongs to the host."""
    INPUT_CONVOLUTION = "input_convolution"
    CONVOLUTION = "convolution"
    SEPARABLE_CONVOLUTION = "separable_convolution"
    DEPTHWISE_CONVOLUTION = "depthwise_convolution"
    TRANSPOSED_CONVOLUTION = "transposed_convolution"
    DEPTHWISE_TRANSPOSED_CONVOLUTION = "depthwise_transposed_convolution"
    TEMPORAL_CONVOLUTION = "temporal_convolution"
    DEPTHWISE_TEMPORAL_CONVOLUTION = "depthwise_temporal_convolution"
    RECURRENT = "recurrent"
    PROJECTION = "projection"
    ATTENTION = "attention"
    NORMALIZATION = "normalization"
    FULLY_CONNECTED = "fully_connected"
    ADD = "add"
    CONCATENATE = "concatenate"
    ACTIVATION = "activation"
    MAX_POOL = "max_pool"
    GLOBAL_AVERAGE_POOL = "global_average_pool"
    TOKEN_EMBEDDING = "token_embedding"
    PERMUTE = "permute"
    HOST = "host"
    """Computes in real numbers, which only a host does."""
    OTHER = "other"
    """A layer that has no rule here."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerSpec:
    """Everything that hardware must know of one layer in its place in the network. Figures are of one sample."""

    op_type: OpType  # what it is to the hardware
    inputs: tuple[TensorType, ...]  # types of what it reads
    output_shape: tuple[int, ...]  # of the values that it sends on
    output_bits: int | None  # width of its output; None where a weighted layer's accumulator leaves as it is

    # What device rules bound (device/rules.py)
    reads_samples: bool = False  # whether it reads the network's input, at most rescaled
    input_height: int | None = None  # rows of the image, or tokens
    input_width: int | None = None  # columns of the image
    kernel: Pair | None = None  # height and width of its window
    strides: Pair | None = None  # step of the window down and across
    padding: str | None = None  # "same", "valid" or "custom", whichever way the layer spells it
    pool: str = "none"  # "none", "max" or "global_average"
    pool_size: Pair | None = None
    pool_strides: Pair | None = None
    pooled_area: int | None = None  # pixels over which a global average is taken
    weight_bits: int | None = None  # width of its weights
    frames: int | None = None  # depth of its buffer of frames

    # What it computes (cost_model/units.py)
    macs: int = 0  # multiply-accumulates if no input is zero
    outputs: int = 0  # values that it makes before pooling and whose potential is looked at
    fan_out: int = 0  # synapses that one input event reaches (taps x filters)
    weight_density: float = 1.0  # share of its weights that are not zero

    # How it can be cut (mapping/tiling.py)
    weight_bits_per_filter: int = 0  # bits of weight memory that one filter needs
    shared_weight_bits: int = 0  # bits of weight memory that every group of filters needs again
    halo: int = 0  # extra input rows that a band of rows needs
    filters: int = 0  # output channels that can be split over processors; 0 if they cannot
    group_step: int = 1  # filters that stay together when they are
    channelwise: bool = False  # whether a filter reads only the channel of its own number
    divisible: bool = False  # whether several processors can share it

    @property
    def input_channels(self) -> int:
        """Channels of what it reads; all values where it is fully connected."""
        x = self.inputs[0]
        return prod(x.shape) if self.op_type is OpType.FULLY_CONNECTED else x.channels

    @property
    def taps(self) -> int:
        """Synapses that an input event reaches in each filter that it reaches."""
        return self.fan_out if self.channelwise else self.fan_out // self.filters

    @property
    def weight_memory_bits(self) -> int:
        """Bits of weight memory that all filters need together."""
        return self.weight_bits_per_filter * self.filters + self.shared_weight_bits


_SPECS: WeakKeyDictionary[Network, Mapping[str, LayerSpec]] = WeakKeyDictionary()


def specs(net: Network) -> Mapping[str, LayerSpec]:
    """Return what hardware must know of every layer, by name, in order; computed once for each network."""
    if net not in _SPECS:
        _SPECS[net] = dict(_specs(net))
    return _SPECS[net]


def _specs(net: Network) -> Iterator[tuple[str, LayerSpec]]:
    samples: set[str] = set()  # tensors that hold the network's samples, at most rescaled
    reals: set[str] = set()  # tensors of real numbers behind integers
    for layer in net:
        inputs = net.input_types(layer)
        spec = layer_spec(lowered(layer), inputs, net.types[layer.name])
        reads_samples = not samples.isdisjoint(layer.inputs[:1])
        if isinstance(layer, layers.Input) or (reads_samples and isinstance(layer, BY_HOST)):
            samples.add(layer.name)
        op_type = spec.op_type
        if isinstance(layer, layers.Dequantize) or not reals.isdisjoint(layer.inputs):
            reals.add(layer.name)
        if _is_host(layer, net, reals):
            op_type = OpType.HOST
        elif (inputs and inputs[0].is_float) or (
            isinstance(layer, layers.Gather) and (reads_samples or _is_result(layer, net))
        ):
            op_type = OpType.NONE
        elif reads_samples and op_type is OpType.CONVOLUTION and _is_picture(inputs[0]):
            op_type = OpType.INPUT_CONVOLUTION
        yield layer.name, replace(spec, op_type=op_type, reads_samples=reads_samples)


def _is_host(layer: Layer, net: Network, reals: set[str]) -> bool:
    """Return whether a layer computes what only a host does; the host does a softmax of results by the way."""
    if isinstance(layer, layers.Softmax) and is_only_moved(net, layer.name):
        return False
    behind = not reals.isdisjoint(layer.inputs) and not isinstance(layer, layers.Moves)
    return behind or isinstance(layer, layers.HostLayer | layers.Softmax)


def _is_result(layer: Layer, net: Network) -> bool:
    """Return whether only the network's outputs are made of what a layer gives: the host moves those."""
    readers = net.consumers[layer.name]
    return all(isinstance(reader, layers.Dequantize) for reader in readers)


def _is_picture(x: TensorType) -> bool:
    """Return whether the input-convolution unit takes ``x``; other inputs go to the NPs as events."""
    return x.bits == 8 and not x.signed and x.channels in (1, 3)


DEPTHWISE_MEMORY_BITS = 8
"""Bits that hardware keeps a depthwise weight of a separable layer in, whatever its precision."""

RESCALING = (layers.Rescaling, layers.Quantize, layers.QuantizeLinear)
"""Layers that the host applies to samples before the device has them."""

BY_HOST = (*RESCALING, layers.Gather, layers.Reshape)
"""Those, and moves of samples: an image is turned, or cut; a signal becomes an image of one row."""

MOVES = (layers.Input, layers.Flatten, layers.Reshape, layers.Take, *RESCALING, layers.Dequantize)
OP_TYPES: dict[type, OpType] = dict.fromkeys(MOVES, OpType.NONE) | {
    WindowedLayer: OpType.CONVOLUTION,
    layers.SeparableConv2D: OpType.SEPARABLE_CONVOLUTION,
    layers.DepthwiseConv2D: OpType.DEPTHWISE_CONVOLUTION,
    layers.ConvTranspose2D: OpType.TRANSPOSED_CONVOLUTION,
    layers.DepthwiseConvTranspose2D: OpType.DEPTHWISE_TRANSPOSED_CONVOLUTION,
    layers.BufferTempConv: OpType.TEMPORAL_CONVOLUTION,
    layers.DepthwiseBufferTempConv: OpType.DEPTHWISE_TEMPORAL_CONVOLUTION,
    layers.StatefulRecurrent: OpType.RECURRENT,
    layers.Dense: OpType.PROJECTION,
    layers.Attention: OpType.ATTENTION,
    layers.MadNormalization: OpType.NORMALIZATION,
    layers.LearningDense: OpType.FULLY_CONNECTED,
    layers.Add: OpType.ADD,
    layers.Concatenate: OpType.CONCATENATE,
    layers.Activation: OpType.ACTIVATION,
    layers.LookUp: OpType.ACTIVATION,
    layers.MaxPool2D: OpType.MAX_POOL,
    layers.GlobalAveragePooling2D: OpType.GLOBAL_AVERAGE_POOL,
    layers.TokenEmbedding: OpType.TOKEN_EMBEDDING,
    layers.Permute: OpType.PERMUTE,
}
"""Op types of layers by their class, or the nearest of its bases."""

Types = Sequence[TensorType]


def _spec(layer: Layer, inputs: Types, output: TensorType, **own: Any) -> LayerSpec:
    """Return the spec of any layer; ``own`` says what its type adds."""
    op_type = next((OP_TYPES[cls] for cls in type(layer).__mro__ if cls in OP_TYPES), OpType.OTHER)
    common = {"op_type": op_type, "output_shape": output.shape, "output_bits": output.bits, "macs": macs(layer, inputs)}
    return LayerSpec(inputs=tuple(inputs), **common | own)


@singledispatch
def layer_spec(layer: Any, inputs: Types, output: TensorType) -> LayerSpec:
    """Return what hardware must know of ``layer``, wherever it stands, given the types of its inputs and its output."""
    return _spec(layer, inputs, output)


def _weighted(layer: Any, inputs: Types, output: TensorType, taps: int = 1, **own: Any) -> LayerSpec:
    """Return the spec of a layer whose kernel is ``(taps, C, F)``, or ``(taps, F)`` where it is channelwise."""
    pool, filters, channelwise = layer.pool, output.channels, is_depthwise(layer)
    outputs = prod(output.shape if pool is None else infer(replace(layer, pool=None), inputs).shape)
    weighted = {
        "output_bits": output.bits if layer.requantize is not None else None,
        "weight_bits": layer.weight_bits,
        "fan_out": taps * (1 if channelwise else filters),
        "weight_bits_per_filter": layer.kernel.size // filters * (layer.weight_bits or 32),
        "outputs": outputs,
        "weight_density": np.count_nonzero(layer.kernel) / layer.kernel.size,
        "filters": filters,
        "channelwise": channelwise,
        "divisible": True,
    }
    if isinstance(pool, layers.MaxPool):
        weighted |= {"pool": "max", "pool_size": pool.size, "pool_strides": pool.strides}
    elif isinstance(pool, layers.GlobalAverage):
        weighted |= {"pool": "global_average", "pooled_area": outputs // filters}
    return _spec(layer, inputs, output, **weighted | own)


@layer_spec.register
def _(layer: WeightedLayer, inputs: Types, output: TensorType) -> LayerSpec:
    return _weighted(layer, inputs, output)


@layer_spec.register
def _(layer: layers.Dense, inputs: Types, output: TensorType) -> LayerSpec:
    own: dict[str, Any] = {"op_type": OpType.FULLY_CONNECTED} if prod(inputs[0].shape[:-1]) == 1 else {}
    return _weighted(layer, inputs, output, outputs=0, **own)  # its measured cost has no term for outputs


@layer_spec.register
def _windowed(layer: WindowedLayer, inputs: Types, output: TensorType) -> LayerSpec:
    height, width = inputs[0].shape[:2]
    window, strides = layer.window, layer.strides
    padding = primitives.resolve_padding(layer.padding, (height, width), window, strides, layer.name)
    same = tuple(primitives.same_padding(s, k, t) for s, k, t in zip((height, width), window, strides))
    own = {
        "input_height": height,
        "input_width": width,
        "kernel": window,
        "strides": strides,
        "padding": "same" if padding == same else "valid" if padding == ((0, 0), (0, 0)) else "custom",
        "halo": window[0] - 1,
    }
    return _weighted(layer, inputs, output, prod(window), **own)


@layer_spec.register
def _(layer: layers.SeparableConv2D, inputs: Types, output: TensorType) -> LayerSpec:
    # Measured on hardware, an event costs as much as in a full convolution, so its fan-out is that.
    shared = layer.depthwise_kernel.size * DEPTHWISE_MEMORY_BITS
    return replace(_windowed(layer, inputs, output), shared_weight_bits=shared)


@layer_spec.register
def _(layer: Transposed, inputs: Types, output: TensorType) -> LayerSpec:
    kernel, strides = layer.kernel.shape[:2], layer.strides[:1] * 2  # device rules bound the step down alone
    own = {"kernel": kernel, "strides": strides, "padding": padding_name(layer)}
    return _weighted(layer, inputs, output, prod(kernel), **own)


@layer_spec.register
def _(layer: layers.Temporal, inputs: Types, output: TensorType) -> LayerSpec:
    return _weighted(layer, inputs, output, layer.frames, frames=layer.frames)


@layer_spec.register
def _(layer: layers.MadNormalization, inputs: Types, output: TensorType) -> LayerSpec:
    own = {"weight_bits": layer.weight_bits, "shared_weight_bits": output.channels * (layer.weight_bits or 32)}
    own |= {"input_height": output.shape[0], "outputs": prod(output.shape), "fan_out": 1, "divisible": True}
    return _spec(layer, inputs, output, **own)


@layer_spec.register
def _(layer: layers.Attention, inputs: Types, output: TensorType) -> LayerSpec:
    tokens, channels = output.shape
    own = {"filters": channels, "group_step": channels // layer.heads, "channelwise": True, "divisible": True}
    outputs = tokens * (channels + layer.heads * tokens)
    return _spec(layer, inputs, output, input_height=tokens, outputs=outputs, **own)


@layer_spec.register
def _(layer: layers.StatefulRecurrent, inputs: Types, output: TensorType) -> LayerSpec:
    sent = output.shape[:-1]  # one part of each complex number leaves
    return _spec(layer, inputs, output, output_shape=sent, fan_out=4, filters=inputs[0].channels)


@layer_spec.register
def _(layer: layers.LearningDense, inputs: Types, output: TensorType) -> LayerSpec:
    rows, neurons = layer.kernel.shape
    memory = rows * (1 + (MEMORY_BITS if layer.memory.shape[1] else 0))
    own = {"output_bits": None, "weight_bits": 1, "weight_bits_per_filter": memory}
    return _spec(layer, inputs, output, outputs=neurons, fan_out=neurons, filters=neurons, **own)
