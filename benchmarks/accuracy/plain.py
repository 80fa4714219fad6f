"""A prepared float network as a list of single operations, and as the models that other quantisers read."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from spica.layers import (
    Activation,
    Add,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAverage,
    GlobalAveragePooling2D,
    MaxPool,
    MaxPool2D,
    Reshape,
    SeparableConv2D,
)
from spica.network import Layer, Network


@dataclass
class Operation:
    """One of: conv, depthwise, dense, max_pool, relu, average, flatten, add."""

    kind: str
    name: str
    inputs: list[str]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)


def operations(net: Network) -> list[Operation]:
    """The operations of a network that ``spica.passes.prepare`` made; the last of each layer has the layer's name."""
    made: list[Operation] = []
    same: dict[str, str] = {}  # layers that only write one pixel in another shape, and what they write so
    for layer in net:
        if isinstance(layer, Flatten | Reshape) and max(map(prod, _pixels(net, layer))) == 1:
            same[layer.name] = same.get(layer.inputs[0], layer.inputs[0])
        elif layer.inputs:
            steps = _steps(layer)
            for i, step in enumerate(steps):
                step.name = layer.name if i == len(steps) - 1 else f"{layer.name}_{step.kind}"
                step.inputs = [same.get(n, n) for n in layer.inputs] if i == 0 else [steps[i - 1].name]
            made += steps
    return made


def _pixels(net: Network, layer: Layer) -> list[tuple[int, ...]]:
    return [net.types[name].shape[:-1] for name in (layer.name, layer.inputs[0])]


def _steps(layer: Layer) -> list[Operation]:
    if isinstance(layer, Flatten):
        return [Operation("flatten", "", [])]
    if isinstance(layer, MaxPool2D):
        return [_pool(layer.pool)]
    if isinstance(layer, GlobalAveragePooling2D):
        return [Operation("average", "", [])]
    if isinstance(layer, Activation):
        return [Operation("relu", "", [], settings=_bound(layer.function))]
    if isinstance(layer, Add):
        relu = [] if layer.activation is None else [Operation("relu", "", [], settings=_bound(layer.activation))]
        return [Operation("add", "", []), *relu]
    window = {"strides": getattr(layer, "strides", None), "padding": getattr(layer, "padding", None)}
    bias = {} if layer.bias is None else {"bias": layer.bias}
    if isinstance(layer, Dense):
        steps = [Operation("dense", "", [], {"kernel": layer.kernel, **bias})]
    elif isinstance(layer, Conv2D):
        steps = [Operation("conv", "", [], {"kernel": layer.kernel, **bias}, window)]
    elif isinstance(layer, DepthwiseConv2D):
        steps = [Operation("depthwise", "", [], {"kernel": layer.kernel, **bias}, window)]
    elif isinstance(layer, SeparableConv2D):
        point = {"strides": (1, 1), "padding": "same"}
        steps = [
            Operation("depthwise", "", [], {"kernel": layer.depthwise_kernel}, window),
            Operation("conv", "", [], {"kernel": layer.kernel[None, None], **bias}, point),
        ]
    else:
        raise TypeError(f"{layer.name}: the study has no form of {type(layer).__name__} for other quantisers")
    if isinstance(layer.pool, MaxPool):
        steps.append(_pool(layer.pool))
    if layer.activation is not None:
        steps.append(Operation("relu", "", [], settings=_bound(layer.activation)))
    if isinstance(layer.pool, GlobalAverage):
        steps.append(Operation("average", "", []))
    return steps


def _pool(pool: MaxPool) -> Operation:
    return Operation("max_pool", "", [], settings={"size": pool.size, "strides": pool.strides, "padding": pool.padding})


def _bound(relu: Any) -> dict[str, float]:
    return {} if relu.max_value is None else {"max_value": float(relu.max_value)}


def to_onnx(net: Network) -> onnx.ModelProto:
    """The float network as an ONNX model that reads ``(N, C, H, W)``."""
    nodes, weights = [], []
    (source,) = net.inputs

    def constant(name: str, values: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))
        return name

    for op in operations(net):
        arrays = [constant(f"{op.name}/{k}", _onnx_weights(op.kind, k, v)) for k, v in op.arrays.items()]
        pads = (
            {}
            if "padding" not in op.settings
            else {"auto_pad": {"same": "SAME_UPPER", "valid": "VALID"}[op.settings["padding"]]}
        )
        out, read = [op.name], [*op.inputs, *arrays]
        if op.kind in ("conv", "depthwise"):
            group = op.arrays["kernel"].shape[2] if op.kind == "depthwise" else 1
            nodes.append(helper.make_node("Conv", read, out, strides=op.settings["strides"], group=group, **pads))
        elif op.kind == "dense":
            nodes.append(helper.make_node("Gemm", read, out))
        elif op.kind == "max_pool":
            size, strides = op.settings["size"], op.settings["strides"]
            nodes.append(helper.make_node("MaxPool", read, out, kernel_shape=size, strides=strides, **pads))
        elif op.kind == "relu" and op.settings:
            limits = [
                constant(f"{op.name}/{k}", np.array(v)) for k, v in (("low", 0), ("high", op.settings["max_value"]))
            ]
            nodes.append(helper.make_node("Clip", [*read, *limits], out))
        elif op.kind == "average":
            nodes.append(helper.make_node("GlobalAveragePool", read, [f"{op.name}/wide"]))
            nodes.append(helper.make_node("Flatten", [f"{op.name}/wide"], out))
        elif op.kind == "flatten":  # values in the order that NHWC gives them
            nodes.append(helper.make_node("Transpose", read, [f"{op.name}/last"], perm=[0, 2, 3, 1]))
            nodes.append(helper.make_node("Flatten", [f"{op.name}/last"], out))
        else:
            nodes.append(helper.make_node({"relu": "Relu", "add": "Add"}[op.kind], read, out))
    h, w, c = net.types[source.name].shape
    x = helper.make_tensor_value_info(source.name, TensorProto.FLOAT, ["N", c, h, w])
    y = helper.make_tensor_value_info(net.outputs[0], TensorProto.FLOAT, ["N", net.types[net.outputs[0]].channels])
    graph = helper.make_graph(nodes, "plain", [x], [y], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _onnx_weights(kind: str, which: str, values: np.ndarray) -> np.ndarray:
    if which == "bias" or kind == "dense":
        return values
    return values.transpose(3, 2, 0, 1) if kind == "conv" else values.transpose(2, 0, 1)[:, None]
