"""Read quantised Keras files of quantizeml (``.h5``, ``.keras``), with an HDF5 reader and JSON alone."""

from __future__ import annotations

import contextlib
import json
import os
import re
import zipfile
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from spica import layers
from spica.errors import SpicaError
from spica.frontends.ops.weighted import dilated
from spica.frontends.quantizeml import fixed_point, spellings
from spica.frontends.quantizeml.fixed_point import BUFFER_BITS, round_and_saturate
from spica.frontends.quantizeml.rules import Graph, finite, input_layer
from spica.frontends.quantizeml.spellings import PlainSpelling, WeightedSpelling
from spica.frontends.registry import Operations
from spica.layers.activation import table_inputs
from spica.network import Layer, Network, TensorType
from spica.util.files import check_readable, open_archive, refuse_damage
from spica.util.hdf5 import open_hdf5

Variables = dict[str, dict[str, NDArray]]
"""Weights and ranges, by their layers' names and by their own in the file."""

op = OPERATIONS = Operations("layer", "has no exact counterpart")


def read_keras(path: str | PathLike[str] | BinaryIO) -> Network:
    """Read a Keras model that quantizeml quantised, each of the file's layers by itself.

    Raises:
        SpicaError: where the file is not such a model, or a layer has no exact counterpart; it is named.
    """
    model, variables = _load(path)
    with refuse_damage(str(path), "its list of layers cannot be read; the file is damaged"):
        _check_quantized(str(path), model)
        return _network(str(path), model, variables)


def _check_quantized(path: str, model: dict) -> None:
    """Refuse a model that quantizeml has not quantised, and say what takes it."""
    kinds = {_class(entry) for entry in model["config"]["layers"]}
    if not any(kind.startswith("Quantized") or kind == "InputQuantizer" for kind in kinds):
        raise SpicaError(
            f"{path}: none of its layers is quantised; load the model with Keras and give it to spica.from_keras, or "
            "quantise it with quantizeml first"
        )


def _network(path: str, model: dict, variables: Variables) -> Network:
    config = model["config"] if "layers" in model["config"] else {"layers": model["config"]}
    functional, graph = model["class_name"] != "Sequential", Graph(path)
    inputs: tuple[str, ...] = ()
    for entry in config["layers"]:
        settings, kind = entry["config"], _class(entry)
        name = settings["name"]
        if functional:
            inputs = _inputs(graph, name, entry.get("inbound_nodes", []))
        elif not inputs and kind != "InputLayer":  # a Sequential file may name its input in its first layer only
            inputs = (f"{name}_input",)
            _input(KerasLayer(graph, inputs[0], (), settings, {}))
        read = OPERATIONS.find(kind, name)
        with refuse_damage(name, f"layer {kind} cannot be read; the file is damaged"):
            read(KerasLayer(graph, name, inputs, settings, variables.get(name, {})))
        inputs = (graph.writer(f"{name}:0"),)
    ends = config["output_layers"] if functional else [(config["layers"][-1]["config"]["name"], 0, 0)]
    return graph.network([f"{name}:{index}" for name, _, index in ends], str(config.get("name", "model")))


def _class(entry: dict) -> str:
    """Return the class of a layer, without its package."""
    return entry["class_name"].rpartition(">")[2]


def _inputs(graph: Graph, name: str, nodes: Any) -> tuple[str, ...]:
    """Return the layers of ``graph`` that a layer of a functional model reads."""
    if len(nodes) > 1:
        raise SpicaError(f"{name}: is used {len(nodes)} times; Spica reads files in which each layer is used once")
    if not nodes:
        return ()
    node = nodes[0] if isinstance(nodes[0][0], list) else [nodes[0]]
    return tuple(graph.writer(f"{source}:{index}") for source, _, index, *_ in node)


# -- the two forms of file -----------------------------------------------------------------------------------------


def _load(source: str | PathLike[str] | BinaryIO) -> tuple[dict, Variables]:
    """Return the model's configuration and its variables."""
    with contextlib.ExitStack() as opened:
        file: Any = source if hasattr(source, "read") else opened.enter_context(open(check_readable(source), "rb"))
        opened.enter_context(refuse_damage(str(source), "is not a Keras .h5 or .keras model; save it with model.save"))
        if zipfile.is_zipfile(file):
            archive = opened.enter_context(open_archive(str(source), file))
            config = json.loads(archive.read("config.json"))
            weights, packed = archive.read("model.weights.h5"), file.seek(0, os.SEEK_END)
            held = opened.enter_context(open_hdf5(str(source), weights, packed))
            return config, _numbered_variables(config, held["layers"])
        file.seek(0)
        held = opened.enter_context(open_hdf5(str(source), file.read()))
        groups = held["model_weights"]
        variables = {
            name: {v.removesuffix(":0"): np.asarray(groups[name][v][()]) for v in _names(groups[name], "weight_names")}
            for name in _names(groups, "layer_names")
        }
        return json.loads(held.attrs["model_config"]), variables


def _numbered_variables(config: dict, groups: Any) -> Variables:
    """Return the variables of a ``.keras`` file, which names layers by class and number, and variables by number."""
    variables: Variables = {}
    seen: Counter[str] = Counter()
    for entry in config["config"]["layers"]:
        kind = _class(entry)
        snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"\W+|(?<=.)([A-Z][a-z]+)", r"_\1", kind)).lower()
        snake = re.sub(r"_+", "_", snake)
        group = groups.get(f"{snake}_{seen[snake]}" if seen[snake] else snake)
        seen[snake] += 1
        if group is None:
            continue
        found = variables.setdefault(entry["config"]["name"], {})
        own = spellings.VARIABLES.get(kind, ("kernel", "bias"))
        for part, names in ((".", own), ("out_quantizer", spellings.OUTPUT_VARIABLES)):
            for index, variable in group[f"{part}/vars"].items() if f"{part}/vars" in group else ():
                found[names[int(index)]] = np.asarray(variable[()])
    return variables


def _names(group: Any, attribute: str) -> list[str]:
    """Return a list of names that Keras keeps in one attribute, or in several where it is long."""
    parts = [k for k in group.attrs if k.removeprefix(attribute).isdigit() or k == attribute]
    found = [name for part in sorted(parts, key=lambda k: (len(k), k)) for name in group.attrs[part]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]


# -- what each layer becomes ---------------------------------------------------------------------------------------


@dataclass
class KerasLayer:
    """A layer of a Keras file, and the graph that takes up what it becomes."""

    graph: Graph
    name: str
    inputs: tuple[str, ...]  # names of Spica's layers that it reads
    config: dict[str, Any]
    variables: dict[str, NDArray]  # weights and ranges, by their names in the file

    @property
    def x(self) -> TensorType:
        """The type of the first input."""
        return self.graph.types[self.inputs[0]]

    @property
    def quantizers(self) -> dict[str, Any]:
        """The settings of the layer's quantizers and buffers."""
        return self.config.get("quant_config") or {}

    def bits(self, quantizer: str) -> int:
        """Return the width to which the layer's quantizer of a bias or a bound rounds."""
        return (self.quantizers.get(quantizer) or {}).get("bitwidth", fixed_point.BIAS_BITS)

    def variable(self, name: str) -> NDArray[np.float32]:
        """Return the layer's one variable of this name."""
        found = [a for key, a in self.variables.items() if key == name or key.endswith(f"/{name}")]
        if len(found) != 1:
            raise SpicaError(f"{self.name}: the file holds {len(found)} weights called {name!r}, not one")
        return finite(self.name, name, np.asarray(found[0], np.float32))

    def require(self, fixed: dict[str, Any]) -> None:
        """Check that images are channels last, and that settings have the values given, the only ones that are read."""
        for key, value in (spellings.CHANNELS_LAST | fixed).items():
            if (found := self.config.get(key, value)) != value:
                raise SpicaError(f"{self.name}: has {key} {found}; only {value} is read")

    def make(self, kind: type[Layer], **fields: Any) -> Any:
        """Return a layer of Spica's with this layer's name and inputs."""
        return kind(name=self.name, inputs=self.inputs, **fields)

    def add(self, made: Layer, index: int = 0) -> TensorType:
        """Add ``made``, which writes an output of this layer, and return its type."""
        return self.graph.add(made, f"{self.name}:{index}")

    def requantize(self, x: TensorType, rectified: bool = False, shift_only: bool = False) -> layers.Requantize | None:
        """Return the requantization of an accumulator ``x``, if the layer has one; see ``requantize_from_range``."""
        quantizer = self.quantizers.get("output_quantizer")
        if not quantizer:
            return None
        range_max, rate = spellings.OUTPUT_VARIABLES
        factor = None if shift_only else self.variable(rate)
        return fixed_point.requantize_from_range(quantizer, self.variable(range_max), factor, x, rectified)

    def add_requantized(self, made: Any, **how: bool) -> TensorType:
        """Add ``made`` with the requantization of this layer, and return its type."""
        return self.add(replace(made, requantize=self.requantize(self.graph.infer(made), **how)))


def _weighted(spelling: WeightedSpelling, layer: KerasLayer) -> None:
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
        real = np.squeeze(np.asarray(value, np.float32))
        fill = fixed_point.quantize_aligned(real, bits - 1, bits, layer.x, accumulator_bits)
        fields |= {"padding_value": np.broadcast_to(fill, (layer.x.channels,)).copy(), "padding": "same"}
    made = layer.make(spelling.layer, **fields)
    if layer.config.get("use_bias"):
        bits, accumulator = layer.bits("bias_quantizer"), layer.graph.infer(made)
        bias = fixed_point.quantize_aligned(layer.variable("bias"), bits - 1, bits, accumulator, accumulator_bits)
        made = replace(made, bias=bias)
    layer.add_requantized(made)


def _kernel(spelling: WeightedSpelling, layer: KerasLayer) -> tuple[NDArray[np.int8], int, NDArray[np.float32]]:
    """Return a kernel's integers in Spica's order of axes, their bits, and their scale."""
    settings = layer.quantizers[spelling.quantizer]
    kernel = spelling.from_keras(layer.variable(spelling.variable), layer.config)
    per_filter = spelling.axis is not None and settings.get("axis", -1) is not None
    integers, scale = fixed_point.quantize_kernel(kernel, settings["bitwidth"], per_filter)
    steps = layer.config.get("dilation_rate", (1, 1)) if kernel.ndim > 2 else (1, 1)
    return dilated(integers, steps, layer.name), settings["bitwidth"], scale


for _spelling in spellings.WEIGHTED:
    op(_spelling.keras)(partial(_weighted, _spelling))


@op("QuantizedStatefulProjection")
def _projection(layer: KerasLayer) -> None:
    step = layer.config.get("subsample", 1)
    if step > 1:
        name, places = f"{layer.name}/subsample", {"start": step - 1, "stop": layer.x.shape[0], "step": step}
        layer.graph.add(layers.Take(name=name, inputs=layer.inputs, axis=0, **places))
        layer = replace(layer, inputs=(name,))
    _weighted(spellings.WEIGHTED_BY_LAYER[layers.Dense], layer)


@op("QuantizedStatefulRecurrent")
def _recurrent(layer: KerasLayer) -> None:
    x, value_bits = layer.x, layer.quantizers["a_quantizer"]["bitwidth"] - 1
    parts = [layer.variable(name) for name in spellings.RECURRENT_VARIABLES]
    exponents = [int(fixed_point.fractional_bits(value_bits, np.abs(a).max())) for a in parts]
    real, imaginary = (round_and_saturate(a * np.exp2(np.float32(e)), value_bits) for a, e in zip(parts, exponents))
    multiplier, exponent = np.ones((), np.int64), np.zeros((), np.int64)
    if (x.scale != 1).any() or x.scale.ndim:
        multiplier, exponent = fixed_point.saturating_multiplier(x.scale, fixed_point.MULTIPLIER_BITS)
    requantize = layer.requantize(TensorType(x.shape, BUFFER_BITS, True), shift_only=True)
    if requantize is None:
        raise SpicaError(f"{layer.name}: has no output quantizer; a state cannot leave it unrounded")
    updated = requantize.frac_bits + exponents[0]
    factors = {"a_real": real, "a_imag": imaginary, "a_frac_bits": tuple(exponents)}
    scaling = {"input_multiplier": multiplier, "input_shift": x.frac_bits + exponent - updated}
    input_bits = layer.quantizers.get("buffer_bitwidth", BUFFER_BITS) - 1
    requantize = replace(requantize, shift=updated - requantize.frac_bits)
    layer.add(layer.make(layers.StatefulRecurrent, **factors, **scaling, input_bits=input_bits, requantize=requantize))


@op("QuantizedAdd")
def _addition(layer: KerasLayer) -> None:
    layer.add_requantized(layer.make(layers.Add, average=bool(layer.config.get("average"))), shift_only=True)


@op("QuantizedReLU")
def _relu(layer: KerasLayer) -> None:
    bound, bits = layer.config.get("max_value"), layer.bits("max_value_quantizer")
    if bound is not None:
        bound = fixed_point.quantize_aligned(np.array(bound, np.float32), bits, bits, layer.x, BUFFER_BITS)
    layer.add_requantized(layer.make(layers.Activation, function=layers.ReLU(max_value=bound)), rectified=True)


@op("QuantizedActivation")
def _lookup(layer: KerasLayer) -> None:
    function = str(layer.config["activation"]).rpartition(">")[2]
    if function not in fixed_point.ACTIVATIONS:
        known = ", ".join(sorted(fixed_point.ACTIVATIONS))
        raise SpicaError(f"{layer.name}: activation {function!r} has no table; Spica knows {known}")
    bits = layer.quantizers.get("lut_bitwidth", fixed_point.TABLE_BITS)
    x = layer.x.to_float(table_inputs(layer.name, layer.x))
    table, scale = fixed_point.activation_table(function, x, layer.config.get("alpha", 0.2), bits)
    layer.add_requantized(layer.make(layers.LookUp, table=table, table_bits=bits, scale=scale, function=function))


@op("QuantizedGlobalAveragePooling2D")
def _global_average(layer: KerasLayer) -> None:
    layer.require({})
    keep = layer.config.get("keepdims", False)
    made = layers.GlobalAveragePooling2D(name=f"{layer.name}/average" if keep else layer.name, inputs=layer.inputs)
    rectified = any(isinstance(x, layers.Activation) for x in layer.graph.layers if x.name == layer.inputs[0])
    output = layer.add_requantized(made, rectified=rectified)
    if keep:
        layer.add(layers.Reshape(name=layer.name, inputs=(made.name,), shape=(1, 1, output.channels)))


@op("Activation", "Softmax")
def _softmax(layer: KerasLayer) -> None:
    function = layer.config.get("activation", "softmax")
    if function != "softmax":
        raise SpicaError(f"{layer.name}: float activation {function!r} is not read; only a final softmax is")
    layer.add(layer.make(layers.Softmax))


def _plain(spelling: PlainSpelling, layer: KerasLayer) -> None:
    layer.require({})
    layer.add(layer.make(spelling.layer, **spelling.read(layer.config, layer.x)))


for _plain_spelling in spellings.PLAIN:
    op(*_plain_spelling.keras)(partial(_plain, _plain_spelling))


@op("Dropout", "QuantizedDropout")
def _identity(layer: KerasLayer) -> None:
    layer.graph.writers[f"{layer.name}:0"] = layer.inputs[0]


@op("InputLayer")
def _input(layer: KerasLayer) -> None:
    _, *shape = layer.config.get("batch_input_shape") or layer.config.get("batch_shape") or (None,)
    layer.add(input_layer(layer.name, tuple(shape), np.dtype(layer.config.get("dtype", "float32"))))


@op("InputQuantizer")
def _input_quantizer(layer: KerasLayer) -> None:
    bits, signed = layer.config["bitwidth"], layer.config["signed"]
    low, high = (layer.variable(name) for name in spellings.INPUT_VARIABLES)
    ranges = np.maximum(np.abs(high), np.abs(low)) if signed else high - low
    frac_bits = fixed_point.fractional_bits(bits - signed, ranges)
    zero = None if signed else round_and_saturate(-low * np.exp2(frac_bits), bits)
    fields = {"bits": bits, "signed": signed, "frac_bits": frac_bits.astype(np.int64), "zero_point": zero}
    layer.add(layer.make(layers.Quantize, **fields))


@op("Dequantizer")
def _dequantizer(layer: KerasLayer) -> None:
    for index, source in enumerate(layer.inputs):
        name = layer.name if len(layer.inputs) == 1 else f"{layer.name}/{index}"
        layer.add(layers.Dequantize(name=name, inputs=(source,)), index)
