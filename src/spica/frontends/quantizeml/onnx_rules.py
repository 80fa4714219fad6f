"""What each node of a quantised ONNX file becomes.

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
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica import layers
from spica.errors import SpicaError
from spica.frontends.quantizeml.fixed_point import TABLE_BITS, requantize_from_integers, step_after
from spica.frontends.quantizeml.rules import Graph, RuleBook
from spica.frontends.quantizeml.spellings import WEIGHTED, WEIGHTED_BY_LAYER, WeightedSpelling
from spica.layers.epilogue import AVERAGE_BITS
from spica.layers.weighted import ACCUMULATOR_BITS, WIDEST_ACCUMULATOR, largest

ONNX = RuleBook()
"""The rules by the names of functions, without the steps that follow the operation."""

ACTIVATION_BITS = 11  # of the integers that index an activation's table
CHANNELS_FIRST, CHANNELS_LAST, FLAT = (0, 1, 2, 3), (0, 3, 1, 2), (0, 1)  # how an input is permuted to channels first
ONE = np.ones((), np.int64)
_WEIGHTED_KIND = re.compile(
    rf"({'|'.join(name for spelling in WEIGHTED for name in spelling.onnx)})"
    r"((?:Flatten|Biased|MaxPool|GlobalAvgPool|ReLU|Clipped|LUT|Scaled)*)"
)


def split_kind(kind: str) -> tuple[str, str]:
    """Return a function's operation, and the names of the steps that follow where the operation has weights."""
    match = _WEIGHTED_KIND.fullmatch(kind)
    return (match[1], match[2]) if match else (kind.rstrip("0123456789"), "")


@dataclass
class OnnxNode:
    """A node of an ONNX file, with its constants and attributes by the names that its function has for them."""

    name: str
    operation: str  # what its function does first
    steps: str  # names of the steps that follow, one after the other
    inputs: list[str]
    outputs: list[str]
    constants: dict[str, NDArray]
    attributes: dict[str, Any]

    def integers(self, name: str) -> NDArray[np.int64]:
        """Return a constant with one entry, or one for each channel, as int64 of shape () or (F,)."""
        return _entries(self.constants[name].astype(np.int64))

    def requantize(
        self, peak: ArrayLike, scale: str = "Scale", shift: str = "Shift", bits: int = 8
    ) -> layers.Requantize:
        """Return the requantization of an accumulator that is at most ``peak``; see ``requantize_from_integers``."""
        multiplier = self.integers(scale) if scale in self.constants else ONE
        return requantize_from_integers(self.name, multiplier, _entries(self.constants[shift]), np.asarray(peak), bits)


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


def _entries(values: NDArray) -> NDArray:
    """Return one entry as a scalar, or one for each channel along one axis."""
    return values.reshape(() if values.size == 1 else -1)


# -- layers with weights -------------------------------------------------------------------------------------------


def _weighted(spelling: WeightedSpelling, graph: OnnxGraph, node: OnnxNode) -> None:
    kernel = np.ascontiguousarray(spelling.from_onnx(node.constants["W"], node.attributes))
    fields: dict[str, Any] = {}
    if spelling.windowed:
        pads = node.constants["pads"] if "pads" in node.constants else node.attributes["pads"]
        fields = {"strides": tuple(node.attributes["strides"]), "padding": _padding(pads)}
    least = 0
    if spelling.layer is layers.Conv2D and (fill := node.constants.get("x_pad_value")) is not None:
        least = int(fill.max())
        fields["padding_value"] = fill.astype(np.int64) if fill.any() else None
    inputs = (graph.image_writer(node.inputs[0]),)
    _add_weighted(graph, node, spelling.layer(name=node.name, inputs=inputs, kernel=kernel, **fields), least)


for _spelling in WEIGHTED:
    ONNX.reads(*_spelling.onnx)(partial(_weighted, _spelling))


@ONNX.reads("QuantizedDense1D")
def _dense(graph: OnnxGraph, node: OnnxNode) -> None:
    name, kernel = graph.writer(node.inputs[0]), node.constants["W"]
    shape = graph.types[name].shape
    if "Flatten" in node.steps and len(shape) == 3:
        rows, columns, channels = shape  # the file flattens (C, H, W), a network here (H, W, C)
        kernel = kernel.reshape(-1, channels, rows, columns).transpose(0, 2, 3, 1).reshape(len(kernel), -1)
        graph.add(layers.Flatten(name=f"{node.name}/flatten", inputs=(name,)))
        name = f"{node.name}/flatten"
    kernel = np.ascontiguousarray(WEIGHTED_BY_LAYER[layers.Dense].from_onnx(kernel, node.attributes))
    _add_weighted(graph, node, layers.Dense(name=node.name, inputs=(name,), kernel=kernel))


def _padding(pads: ArrayLike) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding of rows and columns, given ONNX's beginnings, then ends, of (N, C,) H, W."""
    (top, left), (bottom, right) = np.reshape(pads, (2, -1))[:, -2:].tolist()
    return (top, bottom), (left, right)


def _max_pool(node: OnnxNode) -> layers.MaxPool:
    size, strides = (tuple(node.attributes[name]) for name in ("pool_size", "pool_strides"))
    return layers.MaxPool(size=size, strides=strides, padding=_padding(node.attributes.get("pool_pads", (0, 0, 0, 0))))


def _add_weighted(graph: OnnxGraph, node: OnnxNode, layer: Any, least: int = 0) -> None:
    """Add ``layer`` with the steps that follow its sum of products.

    The kernel reads magnitudes up to those of the layer's input, or of a padding value, ``least``.
    """
    sums = np.abs(layer.kernel.astype(np.int64)).sum(axis=tuple(range(layer.kernel.ndim - 1)))
    peak = sums * max(largest(graph.types[layer.inputs[0]]), least)
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
        graph.averages.add(node.name)
    if "LUT" in node.steps:
        _add_with_table(graph, node, layer, peak)
        return
    if pooled:
        peak = peak * np.prod(graph.infer(layer).shape[:2])
        if peak.max() >= 1 << AVERAGE_BITS:
            raise SpicaError(
                f"{node.name}: its global average may pass {AVERAGE_BITS} bits, where the hardware saturates and "
                "the file does not; use a smaller image"
            )
        layer = replace(layer, pool=layers.GlobalAverage())
    if "Scaled" in node.steps:
        requantize = node.requantize(peak)
        layer = replace(layer, requantize=requantize, weight_scale=step_after(requantize))
    graph.add(layer, node.outputs[0])


def _add_with_table(graph: OnnxGraph, node: OnnxNode, layer: layers.WeightedLayer, peak: NDArray[np.int64]) -> None:
    """Add ``layer``, the table of its activation, and the global average that may follow."""
    before = node.requantize(peak, "ActScale", "ActShift", ACTIVATION_BITS)
    layer = replace(layer, name=f"{node.name}/preactivation", requantize=before, weight_scale=step_after(before))
    image = graph.add(layer)
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
        graph.add(replace(table, requantize=node.requantize(entry)), node.outputs[0])
        return
    graph.add(table)
    requantize = node.requantize(entry * np.prod(image.shape[:2]))
    average = layers.GlobalAveragePooling2D(name=node.name, inputs=(table.name,), requantize=requantize)
    graph.add(average, node.outputs[0])


# -- other nodes ---------------------------------------------------------------------------------------------------


@ONNX.reads("InputQuantizer")
def _input_quantizer(graph: OnnxGraph, node: OnnxNode) -> None:
    image = graph.image
    if image is None or node.inputs != [image.name]:
        raise SpicaError(f"{node.name}: does not read the model's one input; a file has one quantiser, at its start")
    perm, shape = tuple(node.attributes["perm"]), image.shape
    if perm == CHANNELS_FIRST:
        shape = (*shape[1:], shape[0])
    elif perm not in (CHANNELS_LAST, FLAT):
        raise SpicaError(f"{node.name}: permutes its input's axes by {perm}; give images, channels first or last")
    graph.add(replace(image, shape=shape))
    scale, zero = node.constants["scale"], node.constants["zp"]
    signed = zero.dtype.kind == "i"
    if image.bits == 8 and image.signed == signed and (scale == 1).all() and not zero.any():
        graph.writers[node.outputs[0]] = image.name  # the raw integers are the quantised ones
        return
    grid = {"scale": _entries(scale.astype(np.float32)), "zero_point": node.integers("zp")}
    quantize = layers.QuantizeLinear(name=node.name, inputs=(image.name,), bits=8, signed=signed, **grid)
    graph.add(quantize, node.outputs[0])


@ONNX.reads("QuantizedAdd", "QuantizedAddScaled")
def _addition(graph: OnnxGraph, node: OnnxNode) -> None:
    aligned: list[str] = []
    peak: Any = 0
    for tensor, shift in zip(node.inputs, ("Xs", "Ys")):
        # A left shift brings each input to the other's grid; here that is a finer step on what its integers stand for.
        name, factor = graph.image_writer(tensor), node.integers(shift)
        if (factor & (factor - 1)).any() or factor.min() < 1:
            raise SpicaError(f"{node.name}: its input shift {factor} is not a power of two")
        peak = peak + largest(graph.types[name]) * factor
        if (factor != 1).any():
            source, name = name, f"{node.name}/{shift[0].lower()}"
            graph.add(layers.Rescaling(name=name, inputs=(source,), scale=factor.astype(np.float32)))
        aligned.append(name)
    requantize = node.requantize(peak, scale="") if node.operation.endswith("Scaled") else None
    graph.add(layers.Add(name=node.name, inputs=tuple(aligned), requantize=requantize), node.outputs[0])


@ONNX.reads("QuantizedConcat")
def _concatenate(graph: OnnxGraph, node: OnnxNode) -> None:
    inputs = tuple(graph.image_writer(tensor) for tensor in node.inputs)
    graph.add(layers.Concatenate(name=node.name, inputs=inputs), node.outputs[0])


@ONNX.reads("Dequantizer")
def _dequantizer(graph: OnnxGraph, node: OnnxNode) -> None:
    scales = [value for name, value in node.constants.items() if name.startswith("scale")]
    for tensor, output, scale in zip(node.inputs, node.outputs, scales):
        name = graph.image_writer(tensor)
        rescaled = layers.Rescaling(name=f"{output}/scale", inputs=(name,), scale=_entries(scale.astype(np.float32)))
        graph.add(rescaled)
        graph.add(layers.Dequantize(name=output, inputs=(rescaled.name,)), output)
