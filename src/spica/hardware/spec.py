"""The specification of each layer for hardware, as a typed record: ``specs(net)`` gives those of a network.

``layer_spec`` is a ``functools.singledispatch`` with a rule for each family of layers. A new ``WindowedLayer`` or
``WeightedLayer`` is served by its base class's rule; other layers need one here, or the device refuses them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial, singledispatch
from math import prod
from typing import Any
from weakref import WeakKeyDictionary

from spica.layers import (
    Activation,
    Add,
    Attention,
    BufferTempConv,
    Concatenate,
    ConvTranspose2D,
    Dense,
    DepthwiseBufferTempConv,
    DepthwiseConv2D,
    DepthwiseConvTranspose2D,
    Dequantize,
    Flatten,
    GlobalAverage,
    GlobalAveragePooling2D,
    Input,
    LearningDense,
    LookUp,
    MadNormalization,
    MaxPool,
    MaxPool2D,
    Permute,
    Quantize,
    QuantizeLinear,
    Rescaling,
    Reshape,
    SeparableConv2D,
    StatefulRecurrent,
    Take,
    TokenEmbedding,
    WeightedLayer,
)
from spica.layers.learning import MEMORY_BITS
from spica.layers.transposed import Transposed, padding_name
from spica.layers.weighted import WindowedLayer
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
    OTHER = "other"
    """A layer that has no rule here."""


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerSpec:
    """Everything that hardware must know of one layer in its place in the network. Figures are of one sample.

    Attributes:
        op_type: what it is to the hardware.
        inputs: types of what it reads.
        output_shape: of the values that it sends on.
        output_bits: width of its output; ``None`` where a weighted layer's accumulator leaves as it is.
        reads_samples: whether it reads the network's input, at most rescaled.
        input_height: rows of the image, or tokens, where device rules bound them.
        input_width: columns of the image, where device rules bound them.
        kernel: height and width of its window.
        strides: step of the window down and across.
        padding: "same", "valid" or "custom", whichever way the layer spells it.
        pool: "none", "max" or "global_average".
        pool_size, pool_strides: of max pooling.
        pooled_area: pixels over which a global average is taken.
        activation: "none", "relu" or the name of its table's function.
        weight_bits: width of its weights.
        frames: depth of its buffer of frames.
        macs: multiply-accumulates if no input is zero.
        outputs: values that it makes before pooling and whose potential is looked at.
        fan_out: synapses that one input event reaches (taps x filters).
        weight_bits_per_filter: bits of weight memory that one filter needs.
        shared_weight_bits: bits of weight memory that every group of filters needs again.
        halo: extra input rows that a band of rows needs.
        filters: output channels that can be split over processors; 0 if they cannot.
        group_step: filters that stay together when they are.
        channelwise: whether a filter reads only the channel of its own number.
        divisible: whether several processors can share it.
    """

    op_type: OpType
    inputs: tuple[TensorType, ...]
    output_shape: tuple[int, ...]
    output_bits: int | None
    reads_samples: bool = False
    input_height: int | None = None
    input_width: int | None = None
    kernel: Pair | None = None
    strides: Pair | None = None
    padding: str | None = None
    pool: str = "none"
    pool_size: Pair | None = None
    pool_strides: Pair | None = None
    pooled_area: int | None = None
    activation: str = "none"
    weight_bits: int | None = None
    frames: int | None = None
    macs: int = 0
    outputs: int = 0
    fan_out: int = 0
    weight_bits_per_filter: int = 0
    shared_weight_bits: int = 0
    halo: int = 0
    filters: int = 0
    group_step: int = 1
    channelwise: bool = False
    divisible: bool = False

    @property
    def input_bits(self) -> int | None:
        """Width of what it reads (first)."""
        return self.inputs[0].bits

    @property
    def input_signed(self) -> bool:
        """True where what it reads (first) is signed."""
        return self.inputs[0].signed

    @property
    def input_channels(self) -> int:
        """Channels of what it reads; all values where it is fully connected."""
        x = self.inputs[0]
        return prod(x.shape) if self.op_type is OpType.FULLY_CONNECTED else x.channels

    @property
    def taps(self) -> int:
        """Synapses that an input event reaches in each filter."""
        return self.fan_out // self.filters

    @property
    def weight_memory_bits(self) -> int:
        """Bits of weight memory that all filters need together."""
        return self.weight_bits_per_filter * self.filters + self.shared_weight_bits


# -- the specs of a network ------------------------------------------------------------------------------------------

_SPECS: WeakKeyDictionary[Network, Mapping[str, LayerSpec]] = WeakKeyDictionary()


def specs(net: Network) -> Mapping[str, LayerSpec]:
    """Return what hardware must know of every layer, by name, in order; computed once for each network."""
    found = _SPECS.get(net)
    if found is None:
        found = _SPECS[net] = _specs(net)
    return found


def _specs(net: Network) -> dict[str, LayerSpec]:
    found: dict[str, LayerSpec] = {}
    samples: set[str] = set()  # tensors that hold the network's samples, at most rescaled
    for layer in net:
        inputs = net.input_types(layer)
        spec = layer_spec(layer, inputs, net.types[layer.name])
        reads = bool(layer.inputs) and layer.inputs[0] in samples
        if isinstance(layer, Input) or (reads and isinstance(layer, RESCALING)):
            samples.add(layer.name)
        if reads:
            convolves = spec.op_type is OpType.CONVOLUTION and _is_picture(inputs[0])
            op_type = OpType.INPUT_CONVOLUTION if convolves else spec.op_type
            spec = replace(spec, op_type=op_type, reads_samples=True)
        if inputs and inputs[0].is_float and spec.op_type:
            spec = replace(spec, op_type=OpType.NONE)
        found[layer.name] = spec
    return found


def _is_picture(x: TensorType) -> bool:
    """Return whether the input-convolution unit takes ``x``; other inputs go to the NPs as events."""
    return x.bits == 8 and not x.signed and x.channels in (1, 3)


# -- rules: what each layer is ---------------------------------------------------------------------------------------

DEPTHWISE_MEMORY_BITS = 8
"""Bits that hardware keeps a depthwise weight of a separable layer in, whatever its precision."""

RESCALING = (Rescaling, Quantize, QuantizeLinear)
"""Layers that the host applies to samples before the device has them."""

PLAIN = dict.fromkeys((Input, Flatten, Reshape, Take, *RESCALING, Dequantize), OpType.NONE) | {
    Add: OpType.ADD,
    Concatenate: OpType.CONCATENATE,
    MaxPool2D: OpType.MAX_POOL,
    GlobalAveragePooling2D: OpType.GLOBAL_AVERAGE_POOL,
    TokenEmbedding: OpType.TOKEN_EMBEDDING,
    Permute: OpType.PERMUTE,
}
"""Layers of which only the type matters."""

Types = Sequence[TensorType]


def _spec(layer: Layer, inputs: Types, output: TensorType, op_type: OpType, **own: Any) -> LayerSpec:
    """Return the spec of any layer; ``own`` says what its type adds."""
    common = {"output_shape": output.shape, "output_bits": output.bits, "macs": macs(layer, inputs)}
    return LayerSpec(op_type=op_type, inputs=tuple(inputs), **common | own)


@singledispatch
def layer_spec(layer: Any, inputs: Types, output: TensorType) -> LayerSpec:
    """Return what hardware must know of ``layer``, wherever it stands, given the types of its inputs and its output."""
    return _spec(layer, inputs, output, OpType.OTHER)


for _record, _op_type in PLAIN.items():
    layer_spec.register(_record, partial(_spec, op_type=_op_type))


@layer_spec.register
def _(layer: Activation, inputs: Types, output: TensorType) -> LayerSpec:
    return _spec(layer, inputs, output, OpType.ACTIVATION, activation="relu")


@layer_spec.register
def _(layer: LookUp, inputs: Types, output: TensorType) -> LayerSpec:
    return _spec(layer, inputs, output, OpType.ACTIVATION, activation=layer.function)


def _weighted(layer: Any, inputs: Types, output: TensorType, op_type: OpType, taps: int, **own: Any) -> LayerSpec:
    """Return the spec of a layer whose kernel is ``(taps, C, F)``, or ``(taps, F)`` where it is channelwise."""
    pool, filters, bits = layer.pool, output.channels, layer.weight_bits or 32
    outputs = prod(output.shape if pool is None else infer(replace(layer, pool=None), inputs).shape)
    weighted = {
        "output_bits": output.bits if layer.requantize is not None else None,
        "weight_bits": layer.weight_bits,
        "activation": "none" if layer.activation is None else "relu",
        "fan_out": taps * (1 if own.get("channelwise") else filters),
        "weight_bits_per_filter": layer.kernel.size // filters * bits,
        "outputs": outputs,
        "filters": filters,
        "divisible": True,
    }
    if isinstance(pool, MaxPool):
        weighted |= {"pool": "max", "pool_size": pool.size, "pool_strides": pool.strides}
    elif isinstance(pool, GlobalAverage):
        weighted |= {"pool": "global_average", "pooled_area": outputs // filters}
    return _spec(layer, inputs, output, op_type, **weighted | own)


@layer_spec.register
def _(layer: WeightedLayer, inputs: Types, output: TensorType) -> LayerSpec:
    return _weighted(layer, inputs, output, OpType.OTHER, 1)


@layer_spec.register
def _(layer: Dense, inputs: Types, output: TensorType) -> LayerSpec:
    op_type = OpType.PROJECTION if prod(inputs[0].shape[:-1]) > 1 else OpType.FULLY_CONNECTED
    return _weighted(layer, inputs, output, op_type, 1, outputs=0)  # its measured cost has no term for them


def _windowed(layer: Any, inputs: Types, output: TensorType, op_type: OpType, **own: Any) -> LayerSpec:
    """Return the spec of a layer that slides its kernel over an image."""
    (x,), window, strides = inputs, layer.window, layer.strides
    padding = primitives.resolve_padding(layer.padding, (x.shape[0], x.shape[1]), window, strides, layer.name)
    same = tuple(primitives.same_padding(s, k, t) for s, k, t in zip(x.shape, window, strides))
    own |= {
        "input_height": x.shape[0],
        "input_width": x.shape[1],
        "kernel": window,
        "strides": strides,
        "padding": "same" if padding == same else "valid" if padding == ((0, 0), (0, 0)) else "custom",
        "halo": window[0] - 1,
    }
    # Of a separable layer too: measured on hardware, an event costs as much as in a full convolution.
    return _weighted(layer, inputs, output, op_type, prod(window), **own)


@layer_spec.register
def _(layer: WindowedLayer, inputs: Types, output: TensorType) -> LayerSpec:
    return _windowed(layer, inputs, output, OpType.CONVOLUTION)


@layer_spec.register
def _(layer: DepthwiseConv2D, inputs: Types, output: TensorType) -> LayerSpec:
    return _windowed(layer, inputs, output, OpType.DEPTHWISE_CONVOLUTION, channelwise=True)


@layer_spec.register
def _(layer: SeparableConv2D, inputs: Types, output: TensorType) -> LayerSpec:
    shared = layer.depthwise_kernel.size * DEPTHWISE_MEMORY_BITS
    return _windowed(layer, inputs, output, OpType.SEPARABLE_CONVOLUTION, shared_weight_bits=shared)


def _transposed(layer: Transposed, inputs: Types, output: TensorType, op_type: OpType, **own: Any) -> LayerSpec:
    kernel, padding = layer.kernel.shape[:2], padding_name(layer)
    own |= {"kernel": kernel, "strides": layer.strides[:1] * 2, "padding": padding}  # rules bound the step down alone
    return _weighted(layer, inputs, output, op_type, prod(kernel), **own)


@layer_spec.register
def _(layer: ConvTranspose2D, inputs: Types, output: TensorType) -> LayerSpec:
    return _transposed(layer, inputs, output, OpType.TRANSPOSED_CONVOLUTION)


@layer_spec.register
def _(layer: DepthwiseConvTranspose2D, inputs: Types, output: TensorType) -> LayerSpec:
    return _transposed(layer, inputs, output, OpType.DEPTHWISE_TRANSPOSED_CONVOLUTION, channelwise=True)


def _temporal(layer: Any, inputs: Types, output: TensorType, op_type: OpType, **own: Any) -> LayerSpec:
    return _weighted(layer, inputs, output, op_type, layer.frames, frames=layer.frames, **own)


@layer_spec.register
def _(layer: BufferTempConv, inputs: Types, output: TensorType) -> LayerSpec:
    return _temporal(layer, inputs, output, OpType.TEMPORAL_CONVOLUTION)


@layer_spec.register
def _(layer: DepthwiseBufferTempConv, inputs: Types, output: TensorType) -> LayerSpec:
    return _temporal(layer, inputs, output, OpType.DEPTHWISE_TEMPORAL_CONVOLUTION, channelwise=True)


@layer_spec.register
def _(layer: MadNormalization, inputs: Types, output: TensorType) -> LayerSpec:
    return _spec(
        layer,
        inputs,
        output,
        OpType.NORMALIZATION,
        input_height=inputs[0].shape[0],
        weight_bits=layer.weight_bits,
        outputs=prod(output.shape),
        fan_out=1,
        shared_weight_bits=output.channels * (layer.weight_bits or 32),
        divisible=True,
    )


@layer_spec.register
def _(layer: Attention, inputs: Types, output: TensorType) -> LayerSpec:
    tokens, channels = output.shape
    return _spec(
        layer,
        inputs,
        output,
        OpType.ATTENTION,
        input_height=tokens,
        outputs=tokens * (channels + layer.heads * tokens),
        filters=channels,
        group_step=channels // layer.heads,
        channelwise=True,
        divisible=True,
    )


@layer_spec.register
def _(layer: StatefulRecurrent, inputs: Types, output: TensorType) -> LayerSpec:
    # One part of each complex number leaves.
    return _spec(
        layer, inputs, output, OpType.RECURRENT, output_shape=output.shape[:-1], fan_out=4, filters=inputs[0].channels
    )


@layer_spec.register
def _(layer: LearningDense, inputs: Types, output: TensorType) -> LayerSpec:
    rows, neurons = layer.kernel.shape
    return _spec(
        layer,
        inputs,
        output,
        OpType.FULLY_CONNECTED,
        output_bits=None,
        weight_bits=1,
        outputs=neurons,
        fan_out=neurons,
        weight_bits_per_filter=rows * (1 + (MEMORY_BITS if layer.memory.shape[1] else 0)),
        filters=neurons,
    )
