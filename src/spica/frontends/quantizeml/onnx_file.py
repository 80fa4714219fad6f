"""Quantised ONNX files of quantizeml to integer networks, with the ``onnx`` package alone.

Such a file holds integers: kernels, biases, multipliers and shifts as the hardware takes them. Each of its nodes calls
a function whose name spells out what it does (``QuantizedConv2DBiasedMaxPoolReLUScaled``). Kernels have absorbed the
scales of the channels they read, so every integer between two layers is read as it stands, on a grid of step one; the
real values come back at the end, with the scales of the de-quantiser.

ONNX keeps images channels first. Networks here are channels last, and so are their inputs and outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.errors import SpicaError
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
    Input,
    LookUp,
    MaxPool,
    QuantizeLinear,
    ReLU,
    Requantize,
    Rescaling,
    Reshape,
    WeightedLayer,
)
from spica.layers.epilogue import AVERAGE_BITS
from spica.layers.weighted import ACCUMULATOR_BITS, WIDEST_ACCUMULATOR, largest
from spica.network import Layer, Network, TensorType
from spica.network.layer import infer

DOMAIN, VERSION = "com.brainchip", 1
BUFFER_BITS = 32
WIDEST_BUFFER = 62
ACTIVATION_BITS = 11
"""Bits of the integers that index an activation's table; its entries have ``TABLE_BITS``."""
TABLE_BITS = 14
IMAGE_LAST = (0, 3, 1, 2)
"""The transposition that takes images from channels last to channels first."""


def read_onnx(path: str | PathLike[str]) -> Network:
    """Read a model that quantizeml quantised and saved as ``.onnx``.

    Raises:
        SpicaError: where the file is not such a model, or a node has no exact counterpart; it is named.
    """
    model = _load(path)
    reader = _Reader(str(path), {f.name: list(f.input) for f in model.functions}, _constants(model))
    (image,) = [i for i in model.graph.input if i.name not in reader.constants]
    reader.add_input(image)
    for node in model.graph.node:
        reader.convert(node)
    return Network(tuple(reader.layers), tuple(reader.name_of(o.name) for o in model.graph.output), model.graph.name)


def _load(path: str | PathLike[str]) -> Any:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        raise SpicaError("reading .onnx files needs onnx; run: pip install 'spica[onnx]'") from None
    try:
        model = onnx.load(path)
    except FileNotFoundError:
        raise SpicaError(f"{path}: does not exist; check the path") from None
    except (OSError, DecodeError, ValueError) as error:
        raise SpicaError(f"{path}: is not an ONNX model ({error})") from None
    if not any(o.domain == DOMAIN and o.version == VERSION for o in model.opset_import):
        raise SpicaError(
            f"{path}: is not a model that quantizeml quantised (it does not use {DOMAIN} version {VERSION}); "
            "quantise it there first"
        )
    return model


def _constants(model: Any) -> dict[str, NDArray]:
    from onnx import numpy_helper

    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def _entries(values: NDArray) -> NDArray:
    """One entry as a scalar, or one for each channel along one axis."""
    return values.reshape(() if values.size == 1 else -1)


@dataclass
class _Node:
    """A node's name, what its function does, and its tensors, constants and attributes by the function's names."""

    name: str
    kind: str
    inputs: list[str]
    outputs: list[str]
    constants: dict[str, NDArray]
    attributes: dict[str, Any]

    def does(self, step: str) -> bool:
        return step in self.kind

    def pair(self, name: str) -> tuple[int, int]:
        first, second = self.attributes[name]
        return int(first), int(second)

    def per_channel(self, name: str) -> NDArray[np.int64]:
        """A constant with one entry, or one for each channel, as int64 of shape () or (F,)."""
        return _entries(self.constants[name].astype(np.int64))


@dataclass
class _Reader:
    """Records made so far, and the types of their tensors."""

    path: str
    functions: dict[str, list[str]]
    constants: dict[str, NDArray]
    layers: list[Layer] = field(default_factory=list)
    raw: Input | None = None
    types: dict[str, TensorType] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    image_of: dict[str, tuple[int, ...]] = field(default_factory=dict)

    # -- graph ------------------------------------------------------------------------------------------------

    def name_of(self, tensor: str) -> str:
        """The record that writes one of the file's tensors."""
        try:
            return self.names[tensor]
        except KeyError:
            raise SpicaError(f"{self.path}: tensor {tensor!r} is read before it is written; it is damaged") from None

    def add(self, layer: Layer, tensor: str | None = None) -> TensorType:
        """Append a record; it writes ``tensor``, if given."""
        self.types[layer.name] = infer(layer, [self.types[i] for i in layer.inputs])
        self.layers.append(layer)
        if tensor is not None:
            self.names[tensor] = layer.name
        return self.types[layer.name]

    def add_input(self, value: Any) -> None:
        shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)[1:]
        if not shape or 0 in shape:
            raise SpicaError(f"{value.name}: input shape {shape} has unknown sizes; save the model with fixed ones")
        from onnx import helper

        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
        bits = 8 * dtype.itemsize if dtype.kind in "iu" else None
        # Held back until the quantiser that reads it tells the order of its axes.
        self.raw = Input(name=value.name, shape=shape, bits=bits, signed=dtype.kind == "i")

    def convert(self, proto: Any) -> None:
        import onnx

        arguments = self.functions.get(proto.op_type, [])
        kind = proto.op_type if proto.domain == DOMAIN else ""
        converter = next((c for prefix, c in CONVERTERS.items() if kind.startswith(prefix)), None)
        if converter is None:
            known = ", ".join(sorted(prefix.removeprefix("Quantized") for prefix in CONVERTERS))
            raise SpicaError(
                f"{proto.name}: node {proto.op_type} has no exact counterpart; Spica reads quantised {known}"
            )
        given = dict(zip(arguments, proto.input))
        node = _Node(
            name=proto.name,
            kind=kind,
            inputs=[i for i in proto.input if i not in self.constants],
            outputs=list(proto.output),
            constants={a: self.constants[i] for a, i in given.items() if i in self.constants},
            attributes={a.name: onnx.helper.get_attribute_value(a) for a in proto.attribute},
        )
        try:
            converter(self, node)
        except KeyError as error:
            raise SpicaError(f"{node.name}: the file lacks its {error}; it is damaged") from None

    def image(self, tensor: str) -> str:
        """The record that writes ``tensor``, as an image of one pixel where a global average made it flat."""
        name = self.name_of(tensor)
        if name in self.image_of:
            shaped = f"{name}/image"
            if shaped not in self.types:
                self.add(Reshape(name=shaped, inputs=(name,), shape=self.image_of[name]))
            return shaped
        return name

    # -- what layers with weights share -----------------------------------------------------------------------

    def neural(self, layer: WeightedLayer, node: _Node, peak: NDArray[np.int64]) -> None:
        """Add ``layer`` with all that follows its sum of products, which is at most ``peak`` in each filter."""
        bias = np.atleast_1d(node.per_channel("bias")) if node.does("Biased") or "bias" in node.constants else None
        if bias is not None:
            peak = peak + np.abs(bias)
        layer = replace(
            layer,
            bias=bias,
            weight_bits=8,
            accumulator_bits=ACCUMULATOR_BITS if peak.max() < 1 << ACCUMULATOR_BITS else WIDEST_ACCUMULATOR,
            pool=_max_pool(node) if node.does("MaxPool") else None,
            activation=_relu(node) if node.does("ReLU") else None,
        )
        pooled = node.does("GlobalAvgPool")
        if node.does("LUT"):
            before = self.output_stage(node, peak, "ActScale", "ActShift", ACTIVATION_BITS)
            layer = replace(layer, name=f"{node.name}/preactivation", requantize=before, weight_scale=_step(before))
            image = self.add(layer)
            table = LookUp(
                name=f"{node.name}/activation" if pooled else node.name,
                inputs=(layer.name,),
                table=np.roll(node.constants["LUT_values"].astype(np.int64), 1 << (ACTIVATION_BITS - 1)),
                table_bits=TABLE_BITS,
                scale=np.ones((), np.float32),
                function="table",
            )
            entry = np.abs(table.table).max()
            if not pooled:
                self.add(replace(table, requantize=self.output_stage(node, entry)), node.outputs[0])
                return
            self.add(table)
            total = entry * np.prod(image.shape[:2])
            average = GlobalAveragePooling2D(
                name=node.name, inputs=(table.name,), requantize=self.output_stage(node, total)
            )
            self.image_of[node.name] = (1, 1, *self.add(average, node.outputs[0]).shape)
            return
        if pooled:
            shape = infer(replace(layer, weight_scale=np.ones((), np.float32)), self.input_types(layer)).shape
            peak = peak * np.prod(shape[:2])
            if peak.max() >= 1 << AVERAGE_BITS:
                raise SpicaError(
                    f"{node.name}: its global average may pass {AVERAGE_BITS} bits, where the hardware saturates and "
                    "the file does not; use a smaller image"
                )
            layer = replace(layer, pool=GlobalAverage())
        stage = self.output_stage(node, peak) if node.does("Scaled") else None
        step = np.ones((), np.float32) if stage is None else _step(stage)
        kind = self.add(replace(layer, requantize=stage, weight_scale=step), node.outputs[0])
        if pooled:
            self.image_of[node.name] = (1, 1, *kind.shape)

    def input_types(self, layer: Layer) -> list[TensorType]:
        return [self.types[i] for i in layer.inputs]

    def peak(self, name: str, kernel: NDArray, axes: tuple[int, ...], least: int = 0) -> NDArray[np.int64]:
        """Largest magnitude of each filter's sum of products; ``axes`` are those that it sums over."""
        return np.abs(kernel.astype(np.int64)).sum(axis=axes) * max(largest(self.types[name]), least)

    def output_stage(
        self, node: _Node, peak: Any, scale: str = "Scale", shift: str = "Shift", bits: int = 8
    ) -> Requantize:
        """``floor(x * scale / shift + 0.5)``, saturated; the buffer is as wide as ``peak`` needs."""
        divisor = node.constants[shift].reshape(-1).astype(np.float64)
        exponent = np.log2(divisor)
        if (exponent != np.rint(exponent)).any():
            raise SpicaError(f"{node.name}: its output shift {divisor} is not a power of two")
        exponent = exponent.astype(np.int64)
        multiplier = node.per_channel(scale) if scale in node.constants else np.ones((), np.int64)
        buffer_bits = max(BUFFER_BITS, int(np.max(peak * multiplier)).bit_length())
        if buffer_bits + max(0, -int(exponent.min())) > WIDEST_BUFFER:
            raise SpicaError(f"{node.name}: its scaled output may pass {WIDEST_BUFFER} bits; no buffer holds it")
        return Requantize(
            multiplier=multiplier,
            shift=_entries(exponent),
            bits=bits,
            signed=True,
            frac_bits=np.zeros((), np.int64),
            buffer_bits=buffer_bits,
        )


def _step(stage: Requantize) -> NDArray[np.float32]:
    """What one step of an accumulator is worth on the grid of step one to which ``stage`` takes it."""
    return np.asarray(np.ldexp(stage.multiplier.astype(np.float64), -stage.shift.astype(int)), np.float32)


def _max_pool(node: _Node) -> MaxPool:
    top, left, bottom, right = (int(p) for p in node.attributes.get("pool_pads", (0, 0, 0, 0)))
    return MaxPool(
        size=node.pair("pool_size"), strides=node.pair("pool_strides"), padding=((top, bottom), (left, right))
    )


def _relu(node: _Node) -> ReLU:
    return ReLU(max_value=node.per_channel("max_value") if node.does("Clipped") else None)


def _padding(pads: ArrayLike) -> tuple[tuple[int, int], tuple[int, int]]:
    """ONNX's beginnings, then ends, of (N, C,) H, W."""
    (top, left), (bottom, right) = np.reshape(pads, (2, -1))[:, -2:].tolist()
    return (top, bottom), (left, right)


# -- one function for each kind of node: (reader, node) ------------------------------------------------------------


def _quantizer(reader: _Reader, node: _Node) -> None:
    image = reader.raw
    if image is None or node.inputs != [image.name]:
        raise SpicaError(f"{node.name}: it does not read the model's one input")
    perm, shape = tuple(node.attributes["perm"]), image.shape
    if perm == (0, 1, 2, 3):
        shape = (*shape[1:], shape[0])
    elif perm not in (IMAGE_LAST, (0, 1)):
        raise SpicaError(
            f"{node.name}: its input's axes are permuted by {perm}; give it images, channels first or last"
        )
    reader.add(replace(image, shape=shape))
    scale, zero = node.constants["scale"], node.constants["zp"]
    signed = zero.dtype.kind == "i"
    if image.bits == 8 and image.signed == signed and (scale == 1).all() and not zero.any():
        reader.names[node.outputs[0]] = image.name  # the raw integers are the quantised ones
        return
    quantize = QuantizeLinear(
        name=node.name,
        inputs=(image.name,),
        bits=8,
        signed=signed,
        scale=_entries(scale.astype(np.float32)),
        zero_point=_entries(zero.astype(np.int64)),
    )
    reader.add(quantize, node.outputs[0])


def _convolution(reader: _Reader, node: _Node) -> None:
    name = reader.image(node.inputs[0])
    kernel, fill = node.constants["W"].transpose(2, 3, 1, 0), node.constants.get("x_pad_value")
    layer = Conv2D(
        name=node.name,
        inputs=(name,),
        kernel=np.ascontiguousarray(kernel),
        strides=node.pair("strides"),
        padding=_padding(node.constants["pads"]),
        padding_value=None if fill is None or not fill.any() else fill.astype(np.int64),
    )
    reader.neural(layer, node, reader.peak(name, kernel, (0, 1, 2), 0 if fill is None else int(fill.max())))


def _depthwise(reader: _Reader, node: _Node) -> None:
    name = reader.image(node.inputs[0])
    kernel = np.ascontiguousarray(node.constants["W"][:, 0].transpose(1, 2, 0))
    padding = _padding(node.constants["pads"])
    layer = DepthwiseConv2D(
        name=node.name, inputs=(name,), kernel=kernel, strides=node.pair("strides"), padding=padding
    )
    reader.neural(layer, node, reader.peak(name, kernel, (0, 1)))


def _transposed(reader: _Reader, node: _Node) -> None:
    name = reader.image(node.inputs[0])
    kernel = np.ascontiguousarray(node.constants["W"].transpose(2, 3, 0, 1))
    settings: Any = {"strides": node.pair("strides"), "padding": _padding(node.attributes["pads"])}
    layer: WeightedLayer
    if node.does("Depthwise"):
        layer = DepthwiseConvTranspose2D(name=node.name, inputs=(name,), kernel=kernel[..., 0], **settings)
        reader.neural(layer, node, reader.peak(name, kernel[..., 0], (0, 1)))
    else:
        layer = ConvTranspose2D(name=node.name, inputs=(name,), kernel=kernel, **settings)
        reader.neural(layer, node, reader.peak(name, kernel, (0, 1, 2)))


def _dense(reader: _Reader, node: _Node) -> None:
    name, kernel = reader.name_of(node.inputs[0]), node.constants["W"]
    shape = reader.types[name].shape
    if node.does("Flatten") and len(shape) == 3:
        rows, columns, channels = shape  # the file flattens (C, H, W), a network here (H, W, C)
        kernel = kernel.reshape(-1, channels, rows, columns).transpose(0, 2, 3, 1).reshape(len(kernel), -1)
        reader.add(Flatten(name=f"{node.name}/flatten", inputs=(name,)))
        name = f"{node.name}/flatten"
    kernel = np.ascontiguousarray(kernel.T)
    reader.neural(Dense(name=node.name, inputs=(name,), kernel=kernel), node, reader.peak(name, kernel, (0,)))


def _temporal(reader: _Reader, node: _Node) -> None:
    name = reader.image(node.inputs[0])
    weights, depth = node.constants["W"], int(node.attributes["fifo_size"])
    kernel = weights.reshape(len(weights), -1, depth).transpose(2, 1, 0)
    reader.neural(
        BufferTempConv(name=node.name, inputs=(name,), kernel=np.ascontiguousarray(kernel)),
        node,
        reader.peak(name, kernel, (0, 1)),
    )


def _depthwise_temporal(reader: _Reader, node: _Node) -> None:
    name = reader.image(node.inputs[0])
    kernel = np.ascontiguousarray(node.constants["W"].reshape(-1, int(node.attributes["fifo_size"])).T)
    layer = DepthwiseBufferTempConv(name=node.name, inputs=(name,), kernel=kernel)
    reader.neural(layer, node, reader.peak(name, kernel, (0,)))


def _add(reader: _Reader, node: _Node) -> None:
    aligned = []
    peak: Any = 0
    for tensor, shift in zip(node.inputs, ("Xs", "Ys")):
        # A left shift brings each input to the other's grid; here that is a finer step on what its integers stand for.
        name, factor = reader.image(tensor), node.per_channel(shift)
        if (factor & (factor - 1)).any() or factor.min() < 1:
            raise SpicaError(f"{node.name}: its input shift {factor} is not a power of two")
        peak = peak + largest(reader.types[name]) * factor
        if (factor != 1).any():
            step = Rescaling(name=f"{node.name}/{shift[0].lower()}", inputs=(name,), scale=factor.astype(np.float32))
            reader.add(step)
            name = step.name
        aligned.append(name)
    stage = reader.output_stage(node, peak, scale="") if node.does("Scaled") else None
    reader.add(Add(name=node.name, inputs=tuple(aligned), requantize=stage), node.outputs[0])


def _concatenate(reader: _Reader, node: _Node) -> None:
    inputs = tuple(reader.image(i) for i in node.inputs)
    reader.add(Concatenate(name=node.name, inputs=inputs), node.outputs[0])


def _dequantizer(reader: _Reader, node: _Node) -> None:
    scales = [value for name, value in node.constants.items() if name.startswith("scale")]
    for tensor, output, scale in zip(node.inputs, node.outputs, scales):
        name = reader.image(tensor)
        rescaled = Rescaling(name=f"{output}/scale", inputs=(name,), scale=_entries(scale.astype(np.float32)))
        reader.add(rescaled)
        reader.add(Dequantize(name=output, inputs=(rescaled.name,)), output)


CONVERTERS = {
    "InputQuantizer": _quantizer,
    "QuantizedInputConv2D": _convolution,
    "QuantizedConv2DTranspose": _transposed,
    "QuantizedDepthwise2DTranspose": _transposed,
    "QuantizedConv2D": _convolution,
    "QuantizedDepthwise2D": _depthwise,
    "QuantizedDense1D": _dense,
    "QuantizedBufferTempConv": _temporal,
    "QuantizedDepthwiseBufferTempConv": _depthwise_temporal,
    "QuantizedAdd": _add,
    "QuantizedConcat": _concatenate,
    "Dequantizer": _dequantizer,
}
"""By the beginning of a function's name; the rest of it names the steps that follow. Longer beginnings come first."""
