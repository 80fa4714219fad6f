"""TensorFlow Lite models to float networks, with the schema of their files (the ``tflite`` package) alone.

Images have their channels last there, as here. A model of integers is read as the real numbers that its integers stand
for: constants by their scales and zeros, activations as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.frontends.tensorflow.walk import Walk
from spica.frontends.tflite.operations import NAMES, OPERATIONS, Node
from spica.frontends.view import View
from spica.network import Network
from spica.util.files import check_readable, refuse_damage

TYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 4: np.int64, 6: np.bool_, 7: np.int16, 9: np.int8,
         10: np.float64, 15: np.uint32, 16: np.uint16}  # fmt: skip
"""Types of tensors by their numbers in the schema."""

FLOATS, INT4 = (0, 1, 10), 17


def from_tflite(path: str | PathLike[str]) -> Network:
    """Take a TensorFlow Lite model as a float network.

    Args:
        path: a ``.tflite`` file with one graph, float or of integers of 4, 8 or 16 bits.

    Returns:
        A float ``Network`` that computes what the model computes, or what it would without rounding to integers.

    Raises:
        SpicaError: where the file is damaged, or naming the first operation that cannot be taken and what would work
            instead.
    """
    try:
        import tflite
    except ImportError:
        raise SpicaError("from_tflite needs tflite; run: pip install 'spica[tflite]'") from None
    data = check_readable(path).read_bytes()
    if data[4:8] != b"TFL3":
        raise SpicaError(f"{path}: is not a TensorFlow Lite model")
    with refuse_damage(str(path), "its graph cannot be read; the file is damaged"):
        model = tflite.Model.GetRootAsModel(data, 0)
        if model.SubgraphsLength() != 1:
            raise SpicaError(
                f"{path}: has {model.SubgraphsLength()} graphs (branches or loops); Spica reads models of one"
            )
        return _Walk(model, tflite, str(path)).followed()


class _Walk(Walk):
    """Follows a graph.

    Attributes:
        values: what each tensor is, by its number: a view, a half-done operation, or a constant.
    """

    def __init__(self, model: Any, schema: Any, where: str) -> None:
        super().__init__(OPERATIONS)
        self.model, self.graph, self.where = model, model.Subgraphs(0), where
        self.values: dict[int, Any] = {-1: None}
        self.names = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
        options = {value: name for name, value in vars(schema.BuiltinOptions).items() if isinstance(value, int)}
        self.options = {value: getattr(schema, name, None) for value, name in options.items() if value}

    def followed(self) -> Network:
        """Return the network of the graph."""
        inputs, outputs = _numbers(self.graph.InputsAsNumpy()), _numbers(self.graph.OutputsAsNumpy())
        if not inputs:
            raise SpicaError(f"{self.where}: has no input; a network needs one")
        for number in inputs:
            self.values[number] = self._source(number)
        for i in range(self.graph.OperatorsLength()):
            self._add(self.graph.Operators(i))
        return self.network([self.output(self._value(number), self._name(number)) for number in outputs], "model")

    def _source(self, number: int) -> View:
        shape = self.graph.Tensors(number).ShapeAsNumpy()
        return self.source(self._name(number), tuple(int(n) for n in shape))

    def _name(self, number: int) -> str:
        text = self.graph.Tensors(number).Name() or b""
        return text.decode(errors="replace").split(";")[0].split(":")[0].strip("/") or f"tensor_{number}"

    def _value(self, number: int) -> Any:
        """Return what a tensor is; its constant where nothing computes it."""
        if number not in self.values:
            self.values[number] = self._constant(number)
        return self.values[number]

    def _constant(self, number: int) -> NDArray[Any]:
        tensor, name = self.graph.Tensors(number), self._name(number)
        data, kind = self.model.Buffers(tensor.Buffer()).DataAsNumpy(), tensor.Type()
        if isinstance(data, int) or not len(data):
            raise SpicaError(f"{name}: nothing makes this tensor, nor is it a constant; the file is damaged")
        shape = tuple(int(n) for n in _numbers(tensor.ShapeAsNumpy()))
        if kind == INT4:  # two in each byte, the first in the lower half
            halves = np.stack([data & 15, data >> 4], -1).reshape(-1)[: int(np.prod(shape))]
            values = ((halves.astype(np.int8) ^ 8) - 8).reshape(shape)
        elif kind in TYPES:
            values = np.frombuffer(data.tobytes(), TYPES[kind]).reshape(shape)
        else:
            raise SpicaError(f"{name}: constants of type {kind} are not supported; use floats or integers")
        return values.astype(np.float32) if kind in FLOATS else _dequantized(values, tensor)

    def _add(self, operator: Any) -> None:
        """Do one operation."""
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        builtin = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        kind = self.names.get(builtin, f"number {builtin}")
        if kind == "CUSTOM":
            kind = (code.CustomCode() or b"custom").decode(errors="replace")
        numbers, outputs = _numbers(operator.InputsAsNumpy()), _numbers(operator.OutputsAsNumpy())
        at, inputs = self._name(outputs[0]), [self._value(number) for number in numbers]
        table, wanted = operator.BuiltinOptions(), self.options.get(operator.BuiltinOptionsType())
        options = wanted() if table is not None and wanted is not None else None
        if options is not None and table is not None:
            options.Init(table.Bytes, table.Pos)
        node = Node(kind, at, inputs, self.batch, options)
        for number, value in zip(outputs, self.outputs_of(node, NAMES.get(kind, kind))):
            self.values[number] = value


def _numbers(values: Any) -> list[int]:
    """Return a vector of the file, for which the schema gives 0 where it is empty."""
    return [] if isinstance(values, int) else [int(value) for value in values]


def _dequantized(values: NDArray[Any], tensor: Any) -> NDArray[Any]:
    """Return the real numbers of a constant, where it has a scale; integers stay as they are."""
    found = tensor.Quantization()
    if found is None or not found.ScaleLength():
        return values
    scale = np.asarray(found.ScaleAsNumpy(), np.float64)
    zero = np.asarray(found.ZeroPointAsNumpy() if found.ZeroPointLength() else np.zeros(len(scale)), np.float64)
    spread = [1] * max(values.ndim, 1)
    if len(scale) > 1:
        spread[found.QuantizedDimension()] = len(scale)
    return np.asarray((values.astype(np.float64) - zero.reshape(spread)) * scale.reshape(spread), np.float32)


__all__: Sequence[str] = ["from_tflite"]
