"""What each layer of a quantised Keras file becomes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica import layers
from spica.errors import SpicaError
from spica.frontends.quantizeml import fixed_point, spellings
from spica.frontends.quantizeml.fixed_point import BUFFER_BITS, round_and_saturate
from spica.frontends.quantizeml.rules import Graph, RuleBook, input_layer
from spica.frontends.quantizeml.spellings import WEIGHTED_BY_LAYER, PlainSpelling, WeightedSpelling
from spica.network import Layer, TensorType

KERAS = RuleBook()
"""The rules by the names of Keras classes."""


def tensor(name: str, index: int = 0) -> str:
    """Return the name of an output of one of the file's layers."""
    return f"{name}:{index}"


@dataclass
class KerasLayer:
    """A layer of a Keras file."""

    name: str
    inputs: tuple[str, ...]  # names of Spica's layers that it reads
    config: dict[str, Any]
    variables: dict[str, NDArray]  # weights and ranges, by their names in the file

    @property
    def quantizers(self) -> dict[str, Any]:
        """The settings of the layer's quantizers and buffers."""
        return self.config.get("quant_config") or {}

    def make(self, kind: type[Layer], **fields: Any) -> Any:
        """Return a layer of Spica's with this layer's name and inputs."""
        return kind(name=self.name, inputs=self.inputs, **fields)

    def bits(self, quantizer: str) -> int:
        """Return the width to which the layer's quantizer of a bias or a bound rounds."""
        return (self.quantizers.get(quantizer) or {}).get("bitwidth", fixed_point.BIAS_BITS)

    def variable(self, name: str) -> NDArray[np.float32]:
        """Return the layer's one variable of this name."""
        found = [a for key, a in self.variables.items() if key == name or key.endswith(f"/{name}")]
        if len(found) != 1:
            raise SpicaError(f"{self.name}: the file holds {len(found)} weights called {name!r}, not one")
        return np.asarray(found[0], np.float32)

    def require(self, fixed: dict[str, Any]) -> None:
        """Check that images are channels last, and that settings have the values given, the only ones that are read."""
        for key, value in (spellings.CHANNELS_LAST | fixed).items():
            if (found := self.config.get(key, value)) != value:
                raise SpicaError(f"{self.name}: has {key} {found}; only {value} is read")

    def requantize(self, x: TensorType, rectified: bool = False, shift_only: bool = False) -> layers.Requantize | None:
        """Return the requantization of an accumulator ``x``, if the layer has one; see ``requantize_from_range``."""
        quantizer = self.quantizers.get("output_quantizer")
        if not quantizer:
            return None
        range_max, rate = spellings.OUTPUT_VARIABLES
        factor = None if shift_only else self.variable(rate)
        return fixed_point.requantize_from_range(quantizer, self.variable(range_max), factor, x, rectified)


def _add(graph: Graph, layer: KerasLayer, made: Layer, index: int = 0) -> TensorType:
    """Add ``made``, which writes the output ``index`` of the file's layer, and return its type."""
    return graph.add(made, tensor(layer.name, index))


def _add_requantized(graph: Graph, layer: KerasLayer, made: Any, **how: bool) -> TensorType:
    """Add ``made`` with the requantization of the file's layer, and return its type."""
    return _add(graph, layer, replace(made, requantize=layer.requantize(graph.infer(made), **how)))


# -- layers with weights -------------------------------------------------------------------------------------------


def _weighted(spelling: WeightedSpelling, graph: Graph, layer: KerasLayer) -> None:
    if (activation := layer.config.get("activation")) not in (None, "linear"):
        raise SpicaError(f"{layer.name}: has the activation {activation!r} inside; export it as a layer of its own")
    layer.require(spelling.fixed)
    accumulator_bits = min(layer.quantizers.get("buffer_bitwidth", BUFFER_BITS), spelling.widest_buffer) - 1
    fields: dict[str, Any] = {"accumulator_bits": accumulator_bits}
    kernel, bits, scale = _kernel(spelling, layer)
    if spelling.first is not None:
        fields["depthwise_kernel"], first_bits, first_scale = _kernel(spelling.first, layer)
        bits, scale = max(bits, first_bits), (first_scale * scale).astype(np.float32)
    fields |= {"kernel": kernel, "weight_bits": bits, "weight_scale": np.broadcast_to(scale, kernel.shape[-1:]).copy()}
    if spelling.windowed:
        fields |= spellings.read_window(layer.config)
    if spelling.layer is layers.Conv2D and (value := layer.config.get("padding_value")) is not None:
        x = graph.types[layer.inputs[0]]
        real = np.squeeze(np.asarray(value, np.float32))
        fill = fixed_point.quantize_aligned(real, bits - 1, bits, x, accumulator_bits)
        fields |= {"padding_value": np.broadcast_to(fill, (x.channels,)).copy(), "padding": "same"}
    made = layer.make(spelling.layer, **fields)
    if layer.config.get("use_bias"):
        bits, accumulator = layer.bits("bias_quantizer"), graph.infer(made)
        bias = fixed_point.quantize_aligned(layer.variable("bias"), bits - 1, bits, accumulator, accumulator_bits)
        made = replace(made, bias=bias)
    _add_requantized(graph, layer, made)


def _kernel(spelling: WeightedSpelling, layer: KerasLayer) -> tuple[NDArray[np.int8], int, NDArray[np.float32]]:
    """Return a kernel's integers in Spica's order of axes, their bits, and their scale."""
    settings = layer.quantizers[spelling.quantizer]
    kernel = spelling.from_keras(layer.variable(spelling.variable), layer.config)
    per_filter = spelling.axis is not None and settings.get("axis", -1) is not None
    integers, scale = fixed_point.quantize_kernel(kernel, settings["bitwidth"], per_filter)
    down, across = layer.config.get("dilation_rate", (1, 1))
    if (down, across) == (1, 1) or kernel.ndim < 3:
        return np.ascontiguousarray(integers), settings["bitwidth"], scale
    height, width, *channels = integers.shape  # a dilated kernel is a plain one with zeros between its weights
    dilated = np.zeros(((height - 1) * down + 1, (width - 1) * across + 1, *channels), np.int8)
    dilated[::down, ::across] = integers
    return dilated, settings["bitwidth"], scale


for _spelling in spellings.WEIGHTED:
    KERAS.reads(_spelling.keras)(partial(_weighted, _spelling))


@KERAS.reads("QuantizedStatefulProjection")
def _projection(graph: Graph, layer: KerasLayer) -> None:
    step, (source,) = layer.config.get("subsample", 1), layer.inputs
    if step > 1:
        name, steps = f"{layer.name}/subsample", graph.types[source].shape[0]
        graph.add(layers.Take(name=name, inputs=(source,), axis=0, start=step - 1, stop=steps, step=step))
        source = name
    _weighted(WEIGHTED_BY_LAYER[layers.Dense], graph, replace(layer, inputs=(source,)))


@KERAS.reads("QuantizedStatefulRecurrent")
def _recurrent(graph: Graph, layer: KerasLayer) -> None:
    x = graph.types[layer.inputs[0]]
    value_bits = layer.quantizers["a_quantizer"]["bitwidth"] - 1
    factors = [layer.variable(name) for name in spellings.RECURRENT_VARIABLES]
    exponents = [int(fixed_point.fractional_bits(value_bits, np.abs(a).max())) for a in factors]
    real, imaginary = (round_and_saturate(a * np.exp2(np.float32(e)), value_bits) for a, e in zip(factors, exponents))
    multiplier, exponent = np.ones((), np.int64), np.zeros((), np.int64)
    if (x.scale != 1).any() or x.scale.ndim:
        multiplier, exponent = fixed_point.saturating_multiplier(x.scale, fixed_point.MULTIPLIER_BITS)
    requantize = layer.requantize(TensorType(x.shape, BUFFER_BITS, True), shift_only=True)
    if requantize is None:
        raise SpicaError(f"{layer.name}: has no output quantizer; a state cannot leave it unrounded")
    updated = requantize.frac_bits + exponents[0]
    made = layer.make(
        layers.StatefulRecurrent,
        a_real=real,
        a_imag=imaginary,
        a_frac_bits=(exponents[0], exponents[1]),
        requantize=replace(requantize, shift=updated - requantize.frac_bits),
        input_multiplier=multiplier,
        input_shift=x.frac_bits + exponent - updated,
        input_bits=layer.quantizers.get("buffer_bitwidth", BUFFER_BITS) - 1,
    )
    _add(graph, layer, made)


# -- sums, activations and averages --------------------------------------------------------------------------------


@KERAS.reads("QuantizedAdd")
def _addition(graph: Graph, layer: KerasLayer) -> None:
    made = layer.make(layers.Add, average=bool(layer.config.get("average")))
    _add_requantized(graph, layer, made, shift_only=True)


@KERAS.reads("QuantizedReLU")
def _relu(graph: Graph, layer: KerasLayer) -> None:
    bound = layer.config.get("max_value")
    if bound is not None:
        bits, x = layer.bits("max_value_quantizer"), graph.types[layer.inputs[0]]
        bound = fixed_point.quantize_aligned(np.array(bound, np.float32), bits, bits, x, BUFFER_BITS)
    made = layer.make(layers.Activation, function=layers.ReLU(max_value=bound))
    _add_requantized(graph, layer, made, rectified=True)


@KERAS.reads("QuantizedActivation")
def _lookup(graph: Graph, layer: KerasLayer) -> None:
    function = str(layer.config["activation"]).rpartition(">")[2]
    if function not in fixed_point.ACTIVATIONS:
        known = ", ".join(sorted(fixed_point.ACTIVATIONS))
        raise SpicaError(f"{layer.name}: activation {function!r} has no table; Spica knows {known}")
    bits = layer.quantizers.get("lut_bitwidth", fixed_point.TABLE_BITS)
    x, alpha = graph.types[layer.inputs[0]], layer.config.get("alpha", 0.2)
    table, scale = fixed_point.activation_table(function, x, alpha, bits)
    made = layer.make(layers.LookUp, table=table, table_bits=bits, scale=scale, function=function)
    _add_requantized(graph, layer, made)


@KERAS.reads("QuantizedGlobalAveragePooling2D")
def _global_average(graph: Graph, layer: KerasLayer) -> None:
    layer.require({})
    keep = layer.config.get("keepdims", False)
    made = layers.GlobalAveragePooling2D(name=f"{layer.name}/average" if keep else layer.name, inputs=layer.inputs)
    rectified = any(isinstance(other, layers.Activation) for other in graph.layers if other.name == layer.inputs[0])
    output = _add_requantized(graph, layer, made, rectified=rectified)
    if keep:
        _add(graph, layer, layers.Reshape(name=layer.name, inputs=(made.name,), shape=(1, 1, output.channels)))


@KERAS.reads("Activation", "Softmax")
def _softmax(graph: Graph, layer: KerasLayer) -> None:
    function = layer.config.get("activation", "softmax")
    if function != "softmax":
        raise SpicaError(f"{layer.name}: float activation {function!r} is not read; only a final softmax is")
    _add(graph, layer, layer.make(layers.Softmax))


# -- layers without weights ----------------------------------------------------------------------------------------


def _plain(spelling: PlainSpelling, graph: Graph, layer: KerasLayer) -> None:
    layer.require({})
    fields = spelling.read(layer.config, graph.types[layer.inputs[0]])
    _add(graph, layer, layer.make(spelling.layer, **fields))


for _plain_spelling in spellings.PLAIN:
    KERAS.reads(*_plain_spelling.keras)(partial(_plain, _plain_spelling))


@KERAS.reads("Dropout", "QuantizedDropout")
def _identity(graph: Graph, layer: KerasLayer) -> None:
    graph.writers[tensor(layer.name)] = layer.inputs[0]


@KERAS.reads("InputLayer")
def _input(graph: Graph, layer: KerasLayer) -> None:
    _, *shape = layer.config.get("batch_input_shape") or layer.config.get("batch_shape") or (None,)
    dtype = np.dtype(layer.config.get("dtype", "float32"))
    _add(graph, layer, input_layer(layer.name, tuple(shape), dtype))


@KERAS.reads("InputQuantizer")
def _input_quantizer(graph: Graph, layer: KerasLayer) -> None:
    bits, signed = layer.config["bitwidth"], layer.config["signed"]
    low, high = (layer.variable(name) for name in spellings.INPUT_VARIABLES)
    ranges = np.maximum(np.abs(high), np.abs(low)) if signed else high - low
    frac_bits = fixed_point.fractional_bits(bits - signed, ranges)
    zero = None if signed else round_and_saturate(-low * np.exp2(frac_bits), bits)
    fields = {"bits": bits, "signed": signed, "frac_bits": frac_bits.astype(np.int64), "zero_point": zero}
    _add(graph, layer, layer.make(layers.Quantize, **fields))


@KERAS.reads("Dequantizer")
def _dequantizer(graph: Graph, layer: KerasLayer) -> None:
    for index, source in enumerate(layer.inputs):
        name = layer.name if len(layer.inputs) == 1 else f"{layer.name}/{index}"
        _add(graph, layer, layers.Dequantize(name=name, inputs=(source,)), index)
