"""Read quantised ONNX files of quantizeml, with the ``onnx`` package alone."""

from __future__ import annotations

from os import PathLike
from typing import Any

import numpy as np

from spica.errors import SpicaError
from spica.frontends.quantizeml.onnx_rules import ONNX, OnnxGraph, OnnxNode, split_kind
from spica.frontends.quantizeml.rules import input_layer, refuse_damage
from spica.network import Network

DOMAIN, VERSION = "com.brainchip", 1


def read_onnx(path: str | PathLike[str]) -> Network:
    """Read a model that quantizeml quantised and saved as ``.onnx``, each of the file's nodes by itself.

    Raises:
        SpicaError: where the file is not such a model, or a node has no exact counterpart; it is named.
    """
    model = _load(path)
    with refuse_damage(str(path), "its graph"):
        return _network(str(path), model)


def _network(path: str, model: Any) -> Network:
    from onnx import helper, numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    arguments = {function.name: function.input for function in model.functions}
    inputs = [value for value in model.graph.input if value.name not in constants]
    if len(inputs) != 1:
        raise SpicaError(f"{path}: has {len(inputs)} inputs; Spica reads ONNX models of one")
    kind = inputs[0].type.tensor_type
    shape, dtype = tuple(d.dim_value for d in kind.shape.dim)[1:], helper.tensor_dtype_to_np_dtype(kind.elem_type)
    graph = OnnxGraph(path, image=input_layer(inputs[0].name, shape, np.dtype(dtype)))
    for proto in model.graph.node:
        operation, steps = split_kind(proto.op_type) if proto.domain == DOMAIN else ("", "")
        named = zip(arguments.get(proto.op_type, ()), proto.input)
        node = OnnxNode(
            name=proto.name,
            operation=operation,
            steps=steps,
            inputs=[tensor for tensor in proto.input if tensor not in constants],
            outputs=list(proto.output),
            constants={argument: constants[tensor] for argument, tensor in named if tensor in constants},
            attributes={a.name: helper.get_attribute_value(a) for a in proto.attribute},
        )
        ONNX.apply(operation, graph, node, f"node {proto.op_type}")
    return graph.network([output.name for output in model.graph.output], model.graph.name)


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
