"""Read quantised ONNX files of quantizeml, with the ``onnx`` package alone.

Such a file holds integers: kernels, biases, multipliers and shifts as the hardware takes them. Each of its nodes calls
a function whose name spells out what it does (``QuantizedConv2DBiasedMaxPoolReLUScaled``). Kernels have absorbed the
scales of the channels they read, so every integer between two layers is read as it stands, on a grid of step one; the
real values come back at the end, with the scales of the de-quantiser.

ONNX keeps images channels first. Networks here are channels last, and so are their inputs and outputs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica import layers
from spica.errors import SpicaError
from spica.frontends.quantizeml.fixed_point import TABLE_BITS, requantize_from_integers, step_after
from spica.frontends.quantizeml.rules import Graph, finite, input_layer
from spica.frontends.quantizeml.spellings import WEIGHTED, WEIGHTED_BY_LAYER, WeightedSpelling
from spica.frontends.registry import Operations
from spica.layers.epilogue import AVERAGE_BITS
from spica.layers.weighted import ACCUMULATOR_BITS, largest
from spica.network import Network
from spica.network.fields import WIDEST_ACCUMULATOR
from spica.util.files import check_readable, refuse_damage

DOMAIN, VERSION = "com.brainchip", 1
ACTIVATION_BITS = 11  # of the integers that index an activation's table
CHANNELS_FIRST, CHANNELS_LAST, FLAT = (0, 1, 2, 3), (0, 3, 1, 2), (0, 1)  # how an input is permuted to channels first
ONE = np.ones((), np.int64)
_WEIGHTED_KIND = re.compile(
    rf"({'|'.join(name for spelling in WEIGHTED for name in spelling.onnx)})"
    r"((?:Flatten|Biased|MaxPool|GlobalAvgPool|ReLU|Clipped|LUT|Scaled)*)"
)

op = OPERATIONS = Operations("node", "has no exact counterpart")


def read_onnx(path: str | PathLike[str]) -> Network:
    """Read a model that quantizeml quantised and saved as ``.onnx``, each of the file's nodes by itself.

    Raises:
        SpicaError: where the file is not such a model, or a node has no exact counterpart; it is named.
    """
    model = _load(path)
    with refuse_damage(str(path), "its graph cannot be read; the file is damaged"):
        return _network(str(path), model)


def split_kind(kind: str) -> tuple[str, str]:
    """Return a function's operation, and the names of the steps that follow where the operation has weights."""
    match = _WEIGHTED_KIND.fullmatch(kind)
    return (match[1], match[2]) if match else (kind.rstrip("0123456789"), "")


def _load(path: str | PathLike[str]) -> Any:
    try:
        import onnx
    except ImportError:
        raise SpicaError("reading .onnx files needs onnx; run: pip install 'spica[onnx]'") from None
    source = check_readable(path)
    with refuse_damage(str(path), "is not an ONNX model"):
        model = onnx.load(source)
    if not any(o.domain == DOMAIN and o.version == VERSION for o in model.opset_import):
        raise SpicaError(
            f"{path}: is not a model that quantizeml quantised (it does not use {DOMAIN} version {VERSION}); "
            "quantise it there first"
        )
    return model


def _network(path: str, model: Any) -> Network:
    from onnx import helper, numpy_helper

    tensors = model.graph.initializer
    constants = {tensor.name: finite(path, tensor.name, numpy_helper.to_array(tensor)) for tensor in tensors}
    arguments = {function.name: function.input for function in model.functions}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise SpicaError(f"{path}: has {len(inputs)} inputs; Spica reads ONNX models of one")
    kind = inputs[0].type.tensor_type
    shape, dtype = tuple(d.dim_value for d in kind.shape.dim)[1:], helper.tensor_dtype_to_np_dtype(kind.elem_type)
    graph = OnnxGraph(path, image=input_layer(inputs[0].name, shape, np.dtype(dtype)))
    for proto in model.graph.node:
        known = proto.domain == DOMAIN
        operation, steps = split_kind(proto.op_type) if known else (f"{proto.domain}:{proto.op_type}", "")
        named = zip(arguments.get(proto.op_type, ()), proto.input)
        node = OnnxNode(
            graph=graph,
            name=proto.name,
            operation=operation,
            steps=steps,
            inputs=[tensor for tensor in proto.input if tensor not in constants],
            outputs=list(proto.output),
            constants={argument: constants[tensor] for argument, tensor in named if tensor in constants},
            attributes={a.name: helper.get_attribute_value(a) for a in proto.attribute},
        )
        read = OPERATIONS.find(operation, node.name)
        with refuse_damage(node.name, f"node {proto.op_type} cannot be read; the file is damaged"):
            read(node)
    return graph.network([output.name for output in model.graph.output], model.graph.name)


@dataclass
class OnnxGraph(Graph):
    """A graph of a model with one input, whose order of axes the quantiser that reads it tells."""

    image: layers.Input | None = None
    averages: set[str] = field(default_factory=set)  # layers whose output is a flat global average

    def image_writer(self, tensor: str) -> str:
        """Return the layer that writes ``tensor``, as an image of one pixel where a global average made it flat."""
        name = self.writer(tensor)
        if name not in self.averages:
            return name
        shaped = f"{name}/image"
        if shaped not in self.types:
            self.add(layers.Reshape(name=shaped, inputs=(name,), shape=(1, 1, *self.types[name].shape)))
        return shaped


@dataclass
class OnnxNode:
    """A node of an ONNX file, with its constants and attributes by the names that its function has for them."""

    graph: OnnxGraph
    name: str
    operation: str  # what its function does first
    steps: str  # names of the steps that follow, one after the other
    inputs: list[str]
    outputs: list[str]
    constants: dict[str, NDArray]
    attributes: dict[str, Any]

    def add(self, layer: Any) -> None:
        """Add a layer that writes the node's first output."""
        self.graph.add(layer, self.outputs[0])

    def integers(self, name: str) -> NDArray[np.int64]:
        """Return a constant with one entry, or one for each channel, as int64 of shape () or (F,)."""
        return _entries(self.constants[name].astype(np.int64))

    def requantize(
        self, peak: ArrayLike, scale: str = "Scale", shift: str = "Shift", bits: int = 8
    ) -> layers.Requantize:
        """Return the requantization of an accumulator that is at most ``peak``; see ``requantize_from_integers``."""
        multiplier = self.integers(scale) if scale in self.constants else ONE
        return requantize_from_integers(self.name, multiplier, _entries(self.constants[shift]), np.asarray(peak), bits)


def _entries(values: NDArray) -> NDArray:
    """Return one entry as a scalar, or one for each channel along one axis."""
    return values.reshape(() if values.size == 1 else -1)


# -- layers with weights -------------------------------------------------------------------------------------------


def _weighted(spelling: WeightedSpelling, node: OnnxNode) -> None:
    kernel = np.ascontiguousarray(spelling.from_onnx(node.constants["W"], node.attributes))
    fields: dict[str, Any] = {}
    if spelling.windowed:
        pads = node.constants["pads"] if "pads" in node.constants else node.attributes["pads"]
        fields = {"strides": tuple(node.attributes["strides"]), "padding": _padding(pads)}
    least = 0
    if spelling.layer is layers.Conv2D and (fill := node.constants.get("x_pad_value")) is not None:
        least = int(fill.max())
        fields["padding_value"] = fill.astype(np.int64) if fill.any() else None
    inputs = (node.graph.image_writer(node.inputs[0]),)
    _add_weighted(node, spelling.layer(name=node.name, inputs=inputs, kernel=kernel, **fields), least)


for _spelling in WEIGHTED:
    op(*_spelling.onnx)(partial(_weighted, _spelling))


@op("QuantizedDense1D")
def _dense(node: OnnxNode) -> None:
    name, kernel = node.graph.writer(node.inputs[0]), node.constants["W"]
    shape = node.graph.types[name].shape
    if "Flatten" in node.steps and len(shape) == 3:
        rows, columns, channels = shape  # the file flattens (C, H, W), a network here (H, W, C)
        kernel = kernel.reshape(-1, channels, rows, columns).transpose(0, 2, 3, 1).reshape(len(kernel), -1)
        node.graph.add(layers.Flatten(name=f"{node.name}/flatten", inputs=(name,)))
        name = f"{node.name}/flatten"
    kernel = np.ascontiguousarray(WEIGHTED_BY_LAYER[layers.Dense].from_onnx(kernel, node.attributes))
    _add_weighted(node, layers.Dense(name=node.name, inputs=(name,), kernel=kernel))


def _padding(pads: ArrayLike) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding of rows and columns, given ONNX's beginnings, then ends, of (N, C,) H, W."""
    (top, left), (bottom, right) = np.reshape(pads, (2, -1))[:, -2:].tolist()
    return (top, bottom), (left, right)


def _max_pool(node: OnnxNode) -> layers.MaxPool:
    size, strides = (tuple(node.attributes[name]) for name in ("pool_size", "pool_strides"))
    return layers.MaxPool(size=size, strides=strides, padding=_padding(node.attributes.get("pool_pads", (0, 0, 0, 0))))


def _add_weighted(node: OnnxNode, layer: Any, least: int = 0) -> None:
    """Add ``layer`` with the steps that follow its sum of products.

    The kernel reads magnitudes up to those of the layer's input, or of a padding value, ``least``.
    """
    sums = np.abs(layer.kernel.astype(np.int64)).sum(axis=tuple(range(layer.kernel.ndim - 1)))
    peak = sums * max(largest(node.graph.types[layer.inputs[0]]), least)
    bias = np.atleast_1d(node.integers("bias")) if "Biased" in node.steps else None
    if bias is not None:
        peak = peak + np.abs(bias)
    bound = node.integers("max_value") if "Clipped" in node.steps else None
    layer = replace(
        layer,
        bias=bias,
        weight_bits=8,
        accumulator_bits=ACCUMULATOR_BITS if peak.max() < 1 << ACCUMULATOR_BITS else WIDEST_ACCUMULATOR,
        pool=_max_pool(node) if "MaxPool" in node.steps else None,
        activation=layers.ReLU(max_value=bound) if "ReLU" in node.steps else None,
        weight_scale=ONE.astype(np.float32),
    )
    pooled = "GlobalAvgPool" in node.steps
    if pooled:
        node.graph.averages.add(node.name)
    if "LUT" in node.steps:
        _add_with_table(node, layer, peak)
        return
    if pooled:
        peak = peak * np.prod(node.graph.infer(layer).shape[:2])
        if peak.max() >= 1 << AVERAGE_BITS:
            raise SpicaError(
                f"{node.name}: its global average may pass {AVERAGE_BITS} bits, where the hardware saturates and "
                "the file does not; use a smaller image"
            )
        layer = replace(layer, pool=layers.GlobalAverage())
    if "Scaled" in node.steps:
        requantize = node.requantize(peak)
        layer = replace(layer, requantize=requantize, weight_scale=step_after(requantize))
    node.add(layer)


def _add_with_table(node: OnnxNode, layer: layers.WeightedLayer, peak: NDArray[np.int64]) -> None:
    """Add ``layer``, the table of its activation, and the global average that may follow."""
    before = node.requantize(peak, "ActScale", "ActShift", ACTIVATION_BITS)
    layer = replace(layer, name=f"{node.name}/preactivation", requantize=before, weight_scale=step_after(before))
    image = node.graph.add(layer)
    pooled = "GlobalAvgPool" in node.steps
    table = layers.LookUp(
        name=f"{node.name}/activation" if pooled else node.name,
        inputs=(layer.name,),
        table=np.roll(node.constants["LUT_values"].astype(np.int64), 1 << (ACTIVATION_BITS - 1)),
        table_bits=TABLE_BITS,
        scale=np.ones((), np.float32),
        function="table",
    )
    entry = np.abs(table.table).max()
    if not pooled:
        node.add(replace(table, requantize=node.requantize(entry)))
        return
    node.graph.add(table)
    requantize = node.requantize(entry * np.prod(image.shape[:2]))
    node.add(layers.GlobalAveragePooling2D(name=node.name, inputs=(table.name,), requantize=requantize))


# -- other nodes ---------------------------------------------------------------------------------------------------


@op("InputQuantizer")
def _input_quantizer(node: OnnxNode) -> None:
    image = node.graph.image
    if image is None or node.inputs != [image.name]:
        raise SpicaError(f"{node.name}: does not read the model's one input; a file has one quantiser, at its start")
    perm, shape = tuple(node.attributes["perm"]), image.shape
    if perm == CHANNELS_FIRST:
        shape = (*shape[1:], shape[0])
    elif perm not in (CHANNELS_LAST, FLAT):
        raise SpicaError(f"{node.name}: permutes its input's axes by {perm}; give images, channels first or last")
    node.graph.add(replace(image, shape=shape))
    scale, zero = node.constants["scale"], node.constants["zp"]
    signed = zero.dtype.kind == "i"
    if image.bits == 8 and image.signed == signed and (scale == 1).all() and not zero.any():
        node.graph.writers[node.outputs[0]] = image.name  # the raw integers are the quantised ones
        return
    grid = {"scale": _entries(scale.astype(np.float32)), "zero_point": node.integers("zp")}
    node.add(layers.QuantizeLinear(name=node.name, inputs=(image.name,), bits=8, signed=signed, **grid))


@op("QuantizedAdd", "QuantizedAddScaled")
def _addition(node: OnnxNode) -> None:
    aligned: list[str] = []
    peak: Any = 0
    for tensor, shift in zip(node.inputs, ("Xs", "Ys")):
        # A left shift brings each input to the other's grid; here that is a finer step on what its integers stand for.
        name, factor = node.graph.image_writer(tensor), node.integers(shift)
        if (factor & (factor - 1)).any() or factor.min() < 1:
            raise SpicaError(f"{node.name}: its input shift {factor} is not a power of two")
        peak = peak + largest(node.graph.types[name]) * factor
        if (factor != 1).any():
            source, name = name, f"{node.name}/{shift[0].lower()}"
            node.graph.add(layers.Rescaling(name=name, inputs=(source,), scale=factor.astype(np.float32)))
        aligned.append(name)
    requantize = node.requantize(peak, scale="") if node.operation.endswith("Scaled") else None
    node.add(layers.Add(name=node.name, inputs=tuple(aligned), requantize=requantize))


@op("QuantizedConcat")
def _concatenate(node: OnnxNode) -> None:
    node.add(layers.Concatenate(name=node.name, inputs=tuple(map(node.graph.image_writer, node.inputs))))


@op("Dequantizer")
def _dequantizer(node: OnnxNode) -> None:
    scales = [value for name, value in node.constants.items() if name.startswith("scale")]
    for tensor, output, scale in zip(node.inputs, node.outputs, scales):
        name, scale = node.graph.image_writer(tensor), _entries(scale.astype(np.float32))
        rescaled = layers.Rescaling(name=f"{output}/scale", inputs=(name,), scale=scale)
        node.graph.add(rescaled)
        node.graph.add(layers.Dequantize(name=output, inputs=(rescaled.name,)), output)
