"""An integer network as an ONNX model with QuantizeLinear and DequantizeLinear, which onnxruntime runs in integers.

Activations are unsigned bytes, weights signed bytes with one scale a filter, biases 32-bit integers. The model means
the same as the network up to the rounding of its scales; a separable layer becomes two convolutions with a rounding
between them, since ONNX has no other.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from spica.layers import (
    Add,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Dequantize,
    GlobalAverage,
    GlobalAveragePooling2D,
    Input,
    SeparableConv2D,
)
from spica.layers.weighted import WeightedLayer
from spica.network import Network
from spica.semantics import primitives

OPSET = 17


class _Graph:
    """Nodes and constants under way, and the scale and zero point of each tensor."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.formats: dict[str, tuple[str, str, float]] = {}

    def constant(self, name: str, values: NDArray) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], f"{output}/{kind}", **attributes))
        return output

    def format(self, name: str, scale: float, zero_point: int) -> None:
        fields = self.constant(f"{name}/scale", np.float32(scale)), self.constant(f"{name}/zero", np.uint8(zero_point))
        self.formats[name] = (*fields, scale)

    def real(self, name: str, reader: str) -> str:
        """Tensor ``name`` de-quantised for one reader."""
        return self.node("DequantizeLinear", [name, *self.formats[name][:2]], f"{name}/for/{reader}")

    def weights(self, name: str, values: NDArray[np.int8], scale: NDArray[np.float32], axis: int) -> str:
        fields = (
            self.constant(f"{name}/weights", values),
            self.constant(f"{name}/weight_scale", scale.astype(np.float32)),
            self.constant(f"{name}/weight_zero", np.zeros(len(scale), np.int8)),
        )
        return self.node("DequantizeLinear", list(fields), f"{name}/real_weights", axis=axis)

    def bias(self, name: str, values: NDArray, scale: NDArray[np.float32]) -> str:
        fields = (
            self.constant(f"{name}/bias", values.astype(np.int32)),
            self.constant(f"{name}/bias_scale", scale.astype(np.float32)),
            self.constant(f"{name}/bias_zero", np.zeros(len(scale), np.int32)),
        )
        return self.node("DequantizeLinear", list(fields), f"{name}/real_bias", axis=0)

    def quantized(self, real: str, name: str, scale: float, zero_point: int) -> str:
        self.format(name, scale, zero_point)
        return self.node("QuantizeLinear", [real, *self.formats[name][:2]], name)


def to_qdq(net: Network, x: NDArray) -> onnx.ModelProto:
    """ONNX model of an integer network; samples ``x`` give the scales of what the network itself does not round.

    The model reads ``(N, C, H, W)`` or ``(N, C)`` unsigned bytes and gives float32.
    """
    graph, kept = _Graph(), net.run(x, keep=[layer.name for layer in net]).tensors
    for layer in net:
        source = layer.inputs[0] if layer.inputs else ""
        if isinstance(layer, Input):
            graph.format(layer.name, 1.0, 0)
        elif isinstance(layer, Dequantize):
            graph.real(source, layer.name)
            output = f"{source}/for/{layer.name}"
        elif isinstance(layer, Add):
            real = graph.node("Add", [graph.real(name, layer.name) for name in layer.inputs], f"{layer.name}/sum")
            if layer.activation is not None:
                real = graph.node("Relu", [real], f"{layer.name}/relu")
            graph.quantized(real, layer.name, *_format(net, layer.name, kept))
        elif isinstance(layer, GlobalAveragePooling2D):
            real = graph.node("GlobalAveragePool", [graph.real(source, layer.name)], f"{layer.name}/mean")
            pooled = graph.quantized(real, f"{layer.name}/pooled", *_format(net, layer.name, kept))
            graph.formats[layer.name] = graph.formats[pooled]
            graph.node("Flatten", [pooled], layer.name)
        elif isinstance(layer, WeightedLayer):
            _neural(graph, net, layer, kept)
        else:
            raise TypeError(f"{layer.name}: {type(layer).__name__} has no ONNX form here")
    shape = net.inputs[0].shape
    reads = helper.make_tensor_value_info(net.inputs[0].name, TensorProto.UINT8, ["N", shape[-1], *shape[:-1]])
    gives = helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", net.types[net.outputs[0]].shape[-1]])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "network", [reads], [gives], graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=9,
    )
    onnx.checker.check_model(model)
    return model


def _format(net: Network, name: str, kept: dict[str, NDArray]) -> tuple[float, int]:
    """Scale and zero point: the network's own where it is fixed point, else what the samples' values need."""
    kind, values = net.types[name], kept[name]
    signed = bool(values.min() < 0)
    if kind.bits is not None and kind.bits <= 8 and kind.per_tensor:
        return float(np.ldexp(1.0, -int(kind.frac_bits))), 128 if signed else 0
    real = kind.to_float(values)
    return float(np.abs(real).max()) / (127 if signed else 255) or 1.0, 128 if signed else 0


def _neural(graph: _Graph, net: Network, layer: WeightedLayer, kept: dict[str, NDArray]) -> None:
    source, name = layer.inputs[0], layer.name
    x_scale = graph.formats[source][2]
    kind = net.types[source]
    weight_scale = np.asarray(layer.weight_scale, np.float64) * (kind.scale if source == net.inputs[0].name else 1)
    if isinstance(layer, SeparableConv2D):
        # The layer knows the product of both scales only: the middle tensor counts in steps of the depthwise weights.
        sums = primitives.convolve_depthwise(
            kept[source],
            layer.depthwise_kernel,
            layer.strides,
            layer.padding_for(*kind.shape[:2]),
            1 << 40,
        )
        steps = max(float(np.abs(sums).max()) / 127, 1e-9)
        pads = layer.padding_for(*kind.shape[:2])
        depthwise = layer.depthwise_kernel.transpose(2, 0, 1)[:, None]
        weights = graph.weights(f"{name}/depthwise", depthwise, np.ones(len(depthwise)), 0)
        real = graph.node(
            "Conv",
            [graph.real(source, f"{name}/depthwise"), weights],
            f"{name}/depthwise/real",
            strides=layer.strides,
            pads=_onnx_pads(pads),
            group=len(depthwise),
        )
        source = graph.quantized(real, f"{name}/depthwise", steps * x_scale, 128)
        x_scale, pads, strides, group = steps * x_scale, ((0, 0), (0, 0)), (1, 1), 1
        kernel = layer.kernel.T[:, :, None, None]
    elif isinstance(layer, Dense):
        kernel = layer.kernel.T
    elif isinstance(layer, DepthwiseConv2D):
        kernel, group = layer.kernel.transpose(2, 0, 1)[:, None], layer.kernel.shape[2]
        pads, strides = layer.padding_for(*kind.shape[:2]), layer.strides
    elif isinstance(layer, Conv2D):
        kernel, group = layer.kernel.transpose(3, 2, 0, 1), 1
        pads, strides = layer.padding_for(*kind.shape[:2]), layer.strides
    else:
        raise TypeError(f"{name}: {type(layer).__name__} has no ONNX form here")
    inputs = [graph.real(source, name), graph.weights(name, np.ascontiguousarray(kernel), weight_scale, 0)]
    if layer.bias is not None:
        # A bias counts in steps of input times weight.
        bias_scale = weight_scale * x_scale
        step = np.asarray(layer.weight_scale, np.float64) * np.ldexp(1.0, -int(kind.frac_bits.max())) * kind.scale
        inputs.append(graph.bias(name, np.rint(layer.bias * (step / bias_scale)), bias_scale))
    if isinstance(layer, Dense):
        real = graph.node("Gemm", inputs, f"{name}/sums", transB=1)
    else:
        real = graph.node("Conv", inputs, f"{name}/sums", strides=strides, pads=_onnx_pads(pads), group=group)
    if layer.activation is not None:
        real = graph.node("Relu", [real], f"{name}/relu")
    if not isinstance(layer.pool, GlobalAverage):
        graph.quantized(real, name, *_format(net, name, kept))
        return
    scale, zero_point = _format(net, name, kept)
    before = graph.quantized(real, f"{name}/before", scale * 4, zero_point)
    real = graph.node("GlobalAveragePool", [graph.real(before, f"{name}/pool")], f"{name}/mean")
    pooled = graph.quantized(real, f"{name}/pooled", scale, zero_point)
    graph.formats[name] = graph.formats[pooled]
    graph.node("Flatten", [pooled], name)


def _onnx_pads(padding: primitives.Padding) -> list[int]:
    return [*[p[0] for p in padding], *[p[1] for p in padding]]
