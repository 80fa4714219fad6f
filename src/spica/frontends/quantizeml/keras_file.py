"""Quantised Keras files of quantizeml (``.h5``, ``.keras``) to integer networks, with h5py and JSON alone.

Such a file holds float weights and ranges; the integers follow from them by rules that are public. Each rule is
computed here in float32 where the reference does so, since what it rounds to depends on it.
"""

from __future__ import annotations

import io
import json
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.errors import SpicaError
from spica.frontends.quantizeml.onnx_file import read_onnx
from spica.layers import (
    Activation,
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
    GlobalAveragePooling2D,
    Input,
    LookUp,
    MaxPool,
    MaxPool2D,
    Permute,
    Quantize,
    ReLU,
    Requantize,
    Rescaling,
    Reshape,
    SeparableConv2D,
    Softmax,
    StatefulRecurrent,
    Take,
    WeightedLayer,
)
from spica.network import Layer, Network, TensorType
from spica.network.layer import infer
from spica.passes import fuse

SMALLEST_SCALE = np.float32(1e-6)
MULTIPLIER_BITS = 8
BIAS_BITS = 8
TABLE_BITS = 14


def from_quantizeml(path: str | PathLike[str] | BinaryIO) -> Network:
    """Read a model that quantizeml quantised: Keras' ``.h5`` or ``.keras``, or ``.onnx``.

    Args:
        path: the file, or one of Keras that is open: sequential or functional, with any number of inputs and outputs,
            temporal layers included.

    Returns:
        An integer ``Network``. Its ``forward`` takes the model's raw input, channels last whatever the file's order,
        and gives what the model's ``predict`` gives: de-quantised float32, a list where there are several outputs.
        Where layers hold frame buffers, the batch axis is time.

    Raises:
        SpicaError: where the file is not such a model, or a layer has no exact counterpart; it is named.
    """
    return fuse(read(path))


def read(path: str | PathLike[str] | BinaryIO) -> Network:
    """As ``from_quantizeml``, one record for each of the file's layers, nothing fused."""
    if not hasattr(path, "read") and str(path).endswith(".onnx"):
        return read_onnx(path)
    config, weights = _read_file(path)
    model = _Model(str(path), weights)
    entries = config["config"]["layers"] if isinstance(config["config"], dict) else config["config"]
    functional = config["class_name"] != "Sequential"
    previous: list[str] = []
    for entry in entries:
        name, kind = entry["config"]["name"], entry["class_name"].rpartition(">")[2]
        if functional:
            inputs = model.inbound(name, entry.get("inbound_nodes", []))
        elif not previous and kind != "InputLayer":  # a Sequential file may name its input in its first layer only
            model.add_input(f"{name}_input", entry["config"])
            inputs = [f"{name}_input"]
        else:
            inputs = previous
        model.convert(kind, name, inputs, entry["config"])
        previous = [name]
    ends: list[Any] = config["config"]["output_layers"] if functional else [[previous[0], 0, 0]]
    names = [model.tensor(end[0], end[2]) for end in ends]
    return Network(tuple(model.layers), tuple(names), str(config["config"].get("name", "model")))


Weights = dict[str, dict[str, NDArray]]


def _read_file(source: str | PathLike[str] | BinaryIO) -> tuple[dict, Weights]:
    """The model's configuration, and every layer's weights by their names in the file."""
    try:
        import h5py
    except ImportError:
        raise SpicaError("reading .h5 and .keras files needs h5py; run: pip install 'spica[quantizeml]'") from None
    try:
        if zipfile.is_zipfile(source):
            with zipfile.ZipFile(source) as archive:
                config = json.loads(archive.read("config.json"))
                with h5py.File(io.BytesIO(archive.read("model.weights.h5")), "r") as file:
                    return config, _weights_by_class(config, file["layers"])
        with h5py.File(source, "r") as file:
            groups = file["model_weights"]
            weights = {name: _weights(groups[name]) for name in _names(groups, "layer_names")}
            return json.loads(file.attrs["model_config"]), weights
    except FileNotFoundError:
        raise SpicaError(f"{source}: does not exist; check the path") from None
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise SpicaError(f"{source}: is not a Keras .h5 or .keras model ({error}); save it with model.save") from None


def _weights_by_class(config: dict, groups: Any) -> Weights:
    """Weights of a ``.keras`` file, which names layers by class and number, and weights by number."""
    weights: Weights = {}
    seen: Counter[str] = Counter()
    for entry in config["config"]["layers"]:
        kind = entry["class_name"].rpartition(">")[2]
        snake = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"\W+|(?<=.)([A-Z][a-z]+)", r"_\1", kind)).lower()
        snake = re.sub(r"_+", "_", snake)
        group = groups.get(f"{snake}_{seen[snake]}" if seen[snake] else snake)
        seen[snake] += 1
        if group is None:
            continue
        found = weights.setdefault(entry["config"]["name"], {})
        for part, names in ((".", VARIABLES.get(kind, ("kernel", "bias"))), ("out_quantizer", OUTPUT_VARIABLES)):
            for index, variable in group[f"{part}/vars"].items() if f"{part}/vars" in group else ():
                found[names[int(index)]] = np.asarray(variable)
    return weights


OUTPUT_VARIABLES = ("range_max", "rescaling_rate")
VARIABLES = {
    "InputQuantizer": ("range_min", "range_max"),
    "QuantizedDepthwiseConv2D": ("depthwise_kernel", "bias"),
    "QuantizedDepthwiseConv2DTranspose": ("depthwise_kernel", "bias"),
    "QuantizedSeparableConv2D": ("depthwise_kernel", "pointwise_kernel", "bias"),
    "QuantizedStatefulRecurrent": ("A_real", "A_imag"),
}
"""Names of each class's weights in the order in which a ``.keras`` file numbers them."""


def _weights(group: Any) -> dict[str, NDArray]:
    return {name.removesuffix(":0"): np.asarray(group[name]) for name in _names(group, "weight_names")}


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names that Keras keeps in one attribute, or in several where it is long."""
    parts = [k for k in group.attrs if k.removeprefix(attribute).isdigit() or k == attribute]
    found = [name for part in sorted(parts, key=lambda k: (len(k), k)) for name in group.attrs[part]]
    return [name.decode() if isinstance(name, bytes) else str(name) for name in found]


# -- the arithmetic of the file's numbers --------------------------------------------------------------------------


def ceil_log2(x: ArrayLike) -> NDArray[np.float32]:
    """``ceil(log2(x))`` as the reference computes it: a float32 quotient of logarithms, so 2**13 gives 14."""
    with np.errstate(divide="ignore"):
        return np.ceil(np.log(np.asarray(x, np.float32)) / np.log(np.float32(2)))


def fractional_bits(value_bits: int, ranges: ArrayLike, clamp: bool = True) -> NDArray[np.float32]:
    """Fractional bits with which ``value_bits`` hold ``ranges``; infinite for 0 unless clamped to ``value_bits``."""
    bits = np.float32(value_bits) - ceil_log2(ranges)
    return np.minimum(bits, np.float32(value_bits)) if clamp else bits


def rounded(x: NDArray, value_bits: int) -> NDArray[np.int64]:
    """Round half to even, then saturate to ``[-2**value_bits, 2**value_bits - 1]``."""
    return np.clip(np.rint(x), -(1 << value_bits), (1 << value_bits) - 1).astype(np.int64)


def quantize_weights(kernel: NDArray, bits: int, axes: tuple[int, ...] | None) -> tuple[NDArray[np.int8], NDArray]:
    """Integer weights and their float32 scales; ``axes`` are those that share a scale, all where ``None``."""
    ranges = np.abs(kernel).max(axis=axes)
    # The reference's compiled graph divides by a constant by multiplying with its reciprocal.
    scale = np.maximum(np.float32(ranges) * (np.float32(1) / np.float32((1 << (bits - 1)) - 1)), SMALLEST_SCALE)
    spread = scale if axes is None else np.expand_dims(scale, axes)
    return rounded(kernel / spread, bits - 1).astype(np.int8), np.asarray(scale, np.float32)


def quantize_aligned(x: NDArray, value_bits: int, bits: int, other: TensorType, other_bits: int) -> NDArray[np.int64]:
    """Real numbers on the grid of another tensor: rounded to a few bits first, then shifted onto it."""
    scaled = np.asarray(x, np.float32) / other.scale
    ranges = np.abs(np.asarray(x, np.float32)) if bits > 4 else np.abs(x).max()
    with np.errstate(divide="ignore"):
        frac = np.minimum(fractional_bits(value_bits, ranges / other.scale), other.frac_bits)
    integers = rounded(scaled * np.exp2(frac), value_bits)
    shift = (other.frac_bits - frac).astype(np.int64)
    return np.clip(integers << shift, -(1 << other_bits), (1 << other_bits) - 1)


@dataclass
class _Model:
    """Records made so far, and the types of their tensors."""

    path: str
    weights: dict[str, dict[str, NDArray]]
    layers: list[Layer] = field(default_factory=list)
    types: dict[str, TensorType] = field(default_factory=dict)
    tensors: dict[tuple[str, int], str] = field(default_factory=dict)

    # -- graph ------------------------------------------------------------------------------------------------

    def tensor(self, name: str, index: int = 0) -> str:
        """The record that writes an output of one of the file's layers."""
        try:
            return self.tensors[name, index]
        except KeyError:
            raise SpicaError(f"{self.path}: layer {name!r} is read before it is defined; the file is damaged") from None

    def inbound(self, name: str, nodes: Any) -> list[str]:
        if len(nodes) > 1:
            raise SpicaError(f"{name}: is used {len(nodes)} times; Spica reads files in which each layer is used once")
        if not nodes:
            return []
        node = nodes[0] if isinstance(nodes[0][0], list) else [nodes[0]]
        return [self.tensor(source, index) for source, _, index, *_ in node]

    def add(self, layer: Layer, outputs_of: str | None = None, index: int = 0) -> TensorType:
        """Append a record; it writes the output ``index`` of the file's layer ``outputs_of`` (its own name if none)."""
        self.types[layer.name] = infer(layer, [self.types[i] for i in layer.inputs])
        self.layers.append(layer)
        self.tensors[outputs_of or layer.name, index] = layer.name
        return self.types[layer.name]

    def convert(self, kind: str, name: str, inputs: list[str], config: dict) -> None:
        converter = CONVERTERS.get(kind)
        if converter is None:
            raise SpicaError(
                f"{name}: layer {kind} has no exact counterpart; Spica reads {', '.join(sorted(CONVERTERS))}"
            )
        if config.get("activation") not in (None, "linear") and kind not in ("QuantizedActivation", "Activation"):
            raise SpicaError(
                f"{name}: has the activation {config['activation']!r} inside; export it as a layer of its own"
            )
        if config.get("data_format", "channels_last") != "channels_last":
            raise SpicaError(f"{name}: is channels_first; only channels_last is read")
        converter(self, name, tuple(inputs), config)

    def add_input(self, name: str, config: dict, index: int = 0) -> None:
        shape = config.get("batch_input_shape") or config.get("batch_shape")
        if shape is None or any(size is None for size in shape[1:]):
            raise SpicaError(f"{name}: input shape {shape} has unknown sizes; save the model with fixed ones")
        dtype = np.dtype(config.get("dtype", "float32"))
        bits = 8 * dtype.itemsize if dtype.kind in "iu" else None
        self.add(Input(name=name, shape=tuple(shape[1:]), bits=bits, signed=dtype.kind == "i"))

    # -- weights ----------------------------------------------------------------------------------------------

    def weight(self, layer: str, name: str) -> NDArray[np.float32]:
        found = [a for key, a in self.weights.get(layer, {}).items() if key == name or key.endswith(f"/{name}")]
        if len(found) != 1:
            raise SpicaError(f"{layer}: the file holds {len(found)} weights called {name!r}, not one")
        return np.asarray(found[0], np.float32)

    def neural(self, layer: WeightedLayer, config: dict) -> None:
        """Add a layer with weights: its bias on the accumulator's grid, and its output stage."""
        settings = config.get("quant_config") or {}
        accumulator = infer(layer, [self.types[i] for i in layer.inputs])
        changes: dict[str, Any] = {}
        if config.get("use_bias"):
            bits = (settings.get("bias_quantizer") or {}).get("bitwidth", BIAS_BITS)
            bias = self.weight(layer.name, "bias")
            changes["bias"] = quantize_aligned(bias, bits - 1, bits, accumulator, layer.accumulator_bits)
        changes["requantize"] = self.output_stage(layer.name, settings, accumulator)
        self.add(replace(layer, **changes))

    def output_stage(
        self, name: str, settings: dict, x: TensorType, rectified: bool = False, fixed_point: bool = False
    ) -> Requantize | None:
        """The output quantizer of a layer whose accumulator is ``x``, if it has one.

        A rectified accumulator may be unsigned. A fixed-point one has no scale and is only shifted.
        """
        quantizer = settings.get("output_quantizer")
        if not quantizer:
            return None
        bits, signed = quantizer.get("bitwidth", 8), quantizer.get("signed", True)
        value_bits = bits - signed
        frac_bits = fractional_bits(value_bits, self.weight(name, "range_max")).astype(np.int64)
        multiplier, exponent = np.ones((), np.int64), np.zeros((), np.int64)
        if not fixed_point:
            rate = self.weight(name, "rescaling_rate")
            multiplier, exponent = quantize_scale(x.scale * rate, quantizer.get("scale_bits") or MULTIPLIER_BITS)
        return Requantize(
            multiplier=multiplier,
            shift=x.frac_bits + exponent - frac_bits,
            # What is not rectified may be negative: the reference saturates it to both signs of its value bits.
            bits=bits if signed or rectified else bits + 1,
            signed=signed or not rectified,
            frac_bits=frac_bits,
            buffer_bits=min(quantizer.get("buffer_bitwidth", 32), 32),
        )


def quantize_scale(scale: NDArray, bits: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A float scale as ``multiplier * 2**-exponent``; 1.0 becomes 255 of 256, as 256 does not fit eight bits."""
    exponent = fractional_bits(bits, scale, clamp=False)
    return rounded(scale * np.exp2(exponent), bits), exponent.astype(np.int64)


# -- one function for each of the file's layers: (model, name, inputs, configuration) ------------------------------

Inputs = tuple[str, ...]


def _quantized_kernel(
    model: _Model,
    name: str,
    config: dict,
    weight: str,
    axes: Callable[[int], tuple[int, ...]],
    quantizer: str = "weight_quantizer",
) -> dict[str, Any]:
    """Fields of a neural record that its kernel gives; ``axes`` says which share a scale, by the kernel's rank."""
    settings = (config.get("quant_config") or {})[quantizer]
    kernel = model.weight(name, weight)
    bits = settings["bitwidth"]
    shared = None if settings.get("axis", -1) is None else axes(kernel.ndim)
    integers, scale = quantize_weights(kernel, bits, shared)
    return {"kernel": integers, "weight_bits": bits, "weight_scale": scale}


def _all_but_last(rank: int) -> tuple[int, ...]:
    return tuple(range(rank - 1))


def _accumulator_bits(config: dict, limit: int = 28) -> int:
    return min((config.get("quant_config") or {}).get("buffer_bitwidth", 32), limit) - 1


def _common(name: str, inputs: Inputs, config: dict, limit: int = 28) -> dict[str, Any]:
    return {"name": name, "inputs": inputs, "accumulator_bits": _accumulator_bits(config, limit)}


def _per_filter(fields: dict[str, Any], filters: int) -> dict[str, Any]:
    """One scale a filter, also where the file has one for all."""
    return fields | {"weight_scale": np.broadcast_to(fields["weight_scale"], (filters,)).copy()}


def _dilated(kernel: NDArray, rates: Sequence[int]) -> NDArray:
    """A dilated kernel as a plain one with zeros between its weights."""
    if tuple(rates) == (1, 1):
        return kernel
    kh, kw = kernel.shape[:2]
    wide = np.zeros(((kh - 1) * rates[0] + 1, (kw - 1) * rates[1] + 1, *kernel.shape[2:]), kernel.dtype)
    wide[:: rates[0], :: rates[1]] = kernel
    return wide


def _conv2d(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    if config.get("groups", 1) != 1:
        raise SpicaError(f"{name}: convolves in {config['groups']} groups; only one is read")
    fields = _per_filter(_quantized_kernel(model, name, config, "kernel", _all_but_last), config["filters"])
    fields["kernel"] = _dilated(fields["kernel"], config.get("dilation_rate", (1, 1)))
    padding, common = config["padding"], _common(name, inputs, config)
    if (value := config.get("padding_value")) is not None:
        x = model.types[inputs[0]]
        bits = fields["weight_bits"]
        real = np.asarray(value, np.float32).reshape(-1)
        real = real[0] if real.size == 1 else real
        fill = quantize_aligned(real, bits - 1, bits, x, common["accumulator_bits"])
        fields["padding_value"], padding = np.broadcast_to(fill, (x.channels,)).copy(), "same"
    model.neural(Conv2D(**common, **fields, strides=tuple(config["strides"]), padding=padding), config)


def _depthwise(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    _require_plain(name, config)
    fields = _quantized_kernel(model, name, config, "depthwise_kernel", lambda _: (0, 1, 3))
    fields["kernel"] = _dilated(fields["kernel"][..., 0], config.get("dilation_rate", (1, 1)))
    fields = _per_filter(fields, fields["kernel"].shape[-1])
    strides = tuple(config["strides"])
    model.neural(
        DepthwiseConv2D(**_common(name, inputs, config), **fields, strides=strides, padding=config["padding"]), config
    )


def _require_plain(name: str, config: dict) -> None:
    if config.get("depth_multiplier", 1) != 1:
        raise SpicaError(f"{name}: has a depth multiplier of {config['depth_multiplier']}; only 1 is read")


def _separable(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    _require_plain(name, config)
    inner = _quantized_kernel(model, name, config, "depthwise_kernel", lambda _: (0, 1, 2, 3), "dw_weight_quantizer")
    outer = _quantized_kernel(model, name, config, "pointwise_kernel", _all_but_last, "pw_weight_quantizer")
    kernel = _dilated(inner["kernel"][..., 0], config.get("dilation_rate", (1, 1)))
    layer = SeparableConv2D(
        **_common(name, inputs, config, limit=32),
        depthwise_kernel=kernel,
        kernel=outer["kernel"][0, 0],
        weight_bits=max(inner["weight_bits"], outer["weight_bits"]),
        weight_scale=(inner["weight_scale"] * outer["weight_scale"]).astype(np.float32),
        strides=tuple(config["strides"]),
        padding=config["padding"],
    )
    model.neural(layer, config)


def _dense(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    fields = _per_filter(_quantized_kernel(model, name, config, "kernel", _all_but_last), config["units"])
    model.neural(Dense(**_common(name, inputs, config), **fields), config)


def _projection(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    step = config.get("subsample", 1)
    if step > 1:
        steps = model.types[inputs[0]].shape[0]
        model.add(Take(name=f"{name}/subsample", inputs=inputs, axis=0, start=step - 1, stop=steps, step=step))
        inputs = (f"{name}/subsample",)
    _dense(model, name, inputs, config)


def _conv_transpose(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    if config.get("output_padding") is not None or tuple(config.get("dilation_rate", (1, 1))) != (1, 1):
        raise SpicaError(f"{name}: has an output padding or a dilation; neither is read")
    fields = _quantized_kernel(model, name, config, "kernel", lambda _: (0, 1, 3))
    fields = _per_filter(fields, config["filters"])
    fields["kernel"] = np.ascontiguousarray(fields["kernel"].transpose(0, 1, 3, 2))
    layer = ConvTranspose2D(
        **_common(name, inputs, config), **fields, strides=tuple(config["strides"]), padding=config["padding"]
    )
    model.neural(layer, config)


def _depthwise_transpose(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    fields = _quantized_kernel(model, name, config, "depthwise_kernel", lambda _: (0, 1, 2, 3))
    fields["kernel"] = fields["kernel"][..., 0]
    fields = _per_filter(fields, fields["kernel"].shape[-1])
    layer = DepthwiseConvTranspose2D(
        **_common(name, inputs, config), **fields, strides=tuple(config["strides"]), padding=config["padding"]
    )
    model.neural(layer, config)


def _buffer_temp_conv(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    fields = _per_filter(_quantized_kernel(model, name, config, "kernel", _all_but_last), config["filters"])
    fields["kernel"] = fields["kernel"].reshape(config["kernel_size"], -1, config["filters"])
    model.neural(BufferTempConv(**_common(name, inputs, config, limit=32), **fields), config)


def _depthwise_buffer_temp_conv(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    fields = _quantized_kernel(model, name, config, "kernel", _all_but_last)
    fields = _per_filter(fields, fields["kernel"].shape[-1])
    model.neural(DepthwiseBufferTempConv(**_common(name, inputs, config, limit=32), **fields), config)


def _recurrent(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    settings, x = config["quant_config"], model.types[inputs[0]]
    value_bits = settings["a_quantizer"]["bitwidth"] - 1
    factors = [model.weight(name, part) for part in ("A_real", "A_imag")]
    exponents = [int(fractional_bits(value_bits, np.abs(a).max())) for a in factors]
    real, imaginary = (rounded(a * np.exp2(np.float32(e)), value_bits) for a, e in zip(factors, exponents))
    multiplier, exponent = np.ones((), np.int64), np.zeros((), np.int64)
    if (x.scale != 1).any() or x.scale.ndim:
        multiplier, exponent = quantize_scale(x.scale, MULTIPLIER_BITS)
    state = TensorType(x.shape, 32, True)
    out = model.output_stage(name, settings, state, fixed_point=True)
    assert out is not None
    updated = out.frac_bits + exponents[0]
    out = replace(out, shift=updated - out.frac_bits)
    model.add(
        StatefulRecurrent(
            name=name,
            inputs=inputs,
            a_real=real,
            a_imag=imaginary,
            a_frac_bits=(exponents[0], exponents[1]),
            requantize=out,
            input_multiplier=multiplier,
            input_shift=x.frac_bits + exponent - updated,
            input_bits=settings.get("buffer_bitwidth", 32) - 1,
        )
    )


def _add(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    layer = Add(name=name, inputs=inputs, average=bool(config.get("average")))
    total = infer(layer, [model.types[i] for i in inputs])
    stage = model.output_stage(name, config.get("quant_config") or {}, total, fixed_point=True)
    model.add(replace(layer, requantize=stage))


def _concatenate(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    if config.get("axis", -1) not in (-1, len(model.types[inputs[0]].shape)):
        raise SpicaError(f"{name}: concatenates along axis {config['axis']}; only channels are read")
    model.add(Concatenate(name=name, inputs=inputs))


def _relu(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    settings, x = config.get("quant_config") or {}, model.types[inputs[0]]
    ceiling = None
    if config.get("max_value") is not None:
        bits = (settings.get("max_value_quantizer") or {}).get("bitwidth", BIAS_BITS)
        ceiling = quantize_aligned(np.array(config["max_value"], np.float32), bits, bits, x, 32)
    layer = Activation(name=name, inputs=inputs, function=ReLU(max_value=ceiling))
    stage = model.output_stage(name, settings, infer(layer, [x]), rectified=True)
    model.add(replace(layer, requantize=stage))


def _lookup(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    settings, x = config.get("quant_config") or {}, model.types[inputs[0]]
    function = str(config["activation"]).rpartition(">")[2]
    if function not in FUNCTIONS:
        raise SpicaError(f"{name}: activation {function!r} has no table; Spica knows {', '.join(sorted(FUNCTIONS))}")
    low, high = x.range
    real = x.to_float(np.arange(low, high + 1))
    y = FUNCTIONS[function](real, np.float32(config.get("alpha", 0.2))).astype(np.float32)
    value_bits = settings.get("lut_bitwidth", TABLE_BITS) - 1
    scale = np.asarray(np.abs(y).max() / np.float32((1 << value_bits) - 1), np.float32)
    layer = LookUp(
        name=name,
        inputs=inputs,
        table=rounded(y / scale, value_bits),
        table_bits=value_bits + 1,
        scale=scale,
        function=function,
    )
    stage = model.output_stage(name, settings, infer(layer, [x]))
    model.add(replace(layer, requantize=stage))


def _gelu(x: NDArray, alpha: np.float32) -> NDArray:
    return x * 0.5 * (1 + np.array([math.erf(v / math.sqrt(2)) for v in x.tolist()]))


def _swish(x: NDArray, alpha: np.float32) -> NDArray:
    return x * (np.float32(1) / (np.float32(1) + np.exp(-x)))


def _hard_silu(x: NDArray, alpha: np.float32) -> NDArray:
    return x * np.clip(x + np.float32(3), 0, 6) / np.float32(6)


def _leaky_relu(x: NDArray, alpha: np.float32) -> NDArray:
    return np.where(x > 0, x, x * alpha)


FUNCTIONS = {"gelu": _gelu, "swish": _swish, "silu": _swish, "hard_silu": _hard_silu, "leaky_relu": _leaky_relu}


def _max_pool(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    pool = MaxPool(size=tuple(config["pool_size"]), strides=tuple(config["strides"]), padding=config["padding"])
    model.add(MaxPool2D(name=name, inputs=inputs, pool=pool))


def _global_average(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    keep = config.get("keepdims", False)
    layer = GlobalAveragePooling2D(name=f"{name}/average" if keep else name, inputs=inputs)
    total = infer(layer, [model.types[i] for i in inputs])
    rectified = any(isinstance(other, Activation) for other in model.layers if other.name == inputs[0])
    stage = model.output_stage(name, config.get("quant_config") or {}, total, rectified)
    kind = model.add(replace(layer, requantize=stage))
    if keep:
        model.add(Reshape(name=name, inputs=(layer.name,), shape=(1, 1, kind.channels)))


def _flatten(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    model.add(Flatten(name=name, inputs=inputs))


def _reshape(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    target = list(config["target_shape"])
    if -1 in target:
        target[target.index(-1)] = math.prod(model.types[inputs[0]].shape) // -math.prod(target)
    model.add(Reshape(name=name, inputs=inputs, shape=tuple(target)))


def _permute(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    model.add(Permute(name=name, inputs=inputs, axes=tuple(d - 1 for d in config["dims"])))


def _extract_token(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    rank = len(model.types[inputs[0]].shape)
    axis = config.get("axis", 1) % (rank + 1) - 1
    token = config["token"] % model.types[inputs[0]].shape[axis]
    model.add(Take(name=name, inputs=inputs, axis=axis, start=token, stop=token + 1, keep_axis=False))


def _rescaling(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    if np.any(np.asarray(config.get("offset", 0)) != 0):
        raise SpicaError(f"{name}: has an offset; the reference reads rescalings without one")
    model.add(Rescaling(name=name, inputs=inputs, scale=np.asarray(config["scale"], np.float32)))


def _input_quantizer(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    bits, signed = config["bitwidth"], config["signed"]
    low, high = model.weight(name, "range_min"), model.weight(name, "range_max")
    ranges = np.maximum(np.abs(high), np.abs(low)) if signed else high - low
    frac_bits = fractional_bits(bits - signed, ranges)
    zero = None if signed else rounded(-low * np.exp2(frac_bits), bits)
    model.add(
        Quantize(
            name=name, inputs=inputs, bits=bits, signed=signed, frac_bits=frac_bits.astype(np.int64), zero_point=zero
        )
    )


def _input(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    model.add_input(name, config)


def _dequantizer(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    for index, source in enumerate(inputs):
        label = name if len(inputs) == 1 else f"{name}/{index}"
        model.add(Dequantize(name=label, inputs=(source,)), outputs_of=name, index=index)


def _identity(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    model.tensors[name, 0] = inputs[0]


def _float_activation(model: _Model, name: str, inputs: Inputs, config: dict) -> None:
    if config.get("activation", "softmax") != "softmax":
        raise SpicaError(f"{name}: float activation {config['activation']!r} is not read; only a final softmax is")
    model.add(Softmax(name=name, inputs=inputs))


CONVERTERS: dict[str, Callable[[_Model, str, Inputs, dict], None]] = {
    "Activation": _float_activation,
    "Dequantizer": _dequantizer,
    "Dropout": _identity,
    "Flatten": _flatten,
    "InputLayer": _input,
    "InputQuantizer": _input_quantizer,
    "QuantizedActivation": _lookup,
    "QuantizedAdd": _add,
    "QuantizedBufferTempConv": _buffer_temp_conv,
    "QuantizedConcatenate": _concatenate,
    "QuantizedConv2D": _conv2d,
    "QuantizedConv2DTranspose": _conv_transpose,
    "QuantizedDense": _dense,
    "QuantizedDepthwiseBufferTempConv": _depthwise_buffer_temp_conv,
    "QuantizedDepthwiseConv2D": _depthwise,
    "QuantizedDepthwiseConv2DTranspose": _depthwise_transpose,
    "QuantizedDropout": _identity,
    "QuantizedExtractToken": _extract_token,
    "QuantizedFlatten": _flatten,
    "QuantizedGlobalAveragePooling2D": _global_average,
    "QuantizedMaxPool2D": _max_pool,
    "QuantizedPermute": _permute,
    "QuantizedReLU": _relu,
    "QuantizedRescaling": _rescaling,
    "QuantizedReshape": _reshape,
    "QuantizedSeparableConv2D": _separable,
    "QuantizedStatefulProjection": _projection,
    "QuantizedStatefulRecurrent": _recurrent,
    "Permute": _permute,
    "Reshape": _reshape,
    "Softmax": _float_activation,
}
