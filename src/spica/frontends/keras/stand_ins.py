"""Stand-ins for a live Keras model, its layers, nodes and tensors, made of what a file describes.

Each class has what a live one has, as far as ``model`` and ``operations`` look at it, so that both come in by one road.
Nothing of a file is executed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from spica.errors import SpicaError

DEFAULTS: dict[str, Any] = {
    "data_format": "channels_last", "dilation_rate": (1, 1), "go_backwards": False, "groups": 1, "invert": False,
    "keepdims": False, "negative_slope": 0.0, "output_padding": None, "reset_after": False, "return_sequences": False,
    "threshold": 0.0, "use_bias": True,
}  # fmt: skip
"""Values of options that files of older versions of Keras do not have."""

MODELS = ("Sequential", "Functional", "Model")
"""Classes of models whose layers a configuration lists."""

ALSO = {"query": "query_dense", "key": "key_dense", "value": "value_dense", "attention_output": "output_dense"}
"""Attributes of layers whose weights Keras 2 names differently."""

CELL = re.compile(r".*_cell(_\d+)?")
"""Names in ``.h5`` files of the part of a recurrence that has its weights."""

OPERATORS = {
    "__operators__.add": "Add", "add": "Add", "divide": "TrueDivide", "math.add": "Add", "math.divide": "TrueDivide",
    "math.multiply": "Multiply", "math.subtract": "Subtract", "math.truediv": "TrueDivide", "multiply": "Multiply",
    "nn.relu": "Relu", "nn.relu6": "Relu6", "nn.sigmoid": "Sigmoid", "nn.silu": "Silu", "nn.softmax": "Softmax",
    "nn.tanh": "Tanh", "subtract": "Subtract", "truediv": "TrueDivide",
}  # fmt: skip
"""Keras 2's names for operators, and Keras 3's."""


class KerasTensor:
    """A tensor of a model in a file; only a live one tells its shape."""

    shape = None


class Layer:
    """A layer of a model in a file; its attributes are its options and weights, under Keras 3's names."""

    def __init__(self, config: Mapping[str, Any], weights: Mapping[str, Any]) -> None:
        self.__dict__.update(DEFAULTS)
        for name, value in config.items():
            setattr(self, name, _plain(value))
        for name, value in weights.items():
            depthwise = name == "depthwise_kernel" and "Depthwise" in type(self).__name__
            setattr(self, "kernel" if depthwise else ALSO.get(name, CELL.sub("cell", name)), value)
        if hasattr(self, "use_bias") and not hasattr(self, "bias"):
            self.bias = None

    def call(self) -> None:
        """Stand for the layer's code, which is Keras' own; ``keras`` asks where it is from."""


class Operation:
    """An operator of a model in a file."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        for name, value in config.items():
            setattr(self, name, _plain(value))


class Arguments:
    """Arguments of a call, by place and by name."""

    def __init__(self, args: list[Any], kwargs: dict[str, Any]) -> None:
        self.args, self.kwargs = args, kwargs


class Node:
    """A call of a layer or an operator."""

    def __init__(self, operation: Any, args: list[Any], kwargs: dict[str, Any], is_input: bool = False) -> None:
        self.operation, self.is_input, self.arguments = operation, is_input, Arguments(args, kwargs)
        self.outputs = [KerasTensor()]
        self.input_tensors = [t for t in _leaves([args, list(kwargs.values())]) if isinstance(t, KerasTensor)]


class Model:
    """A model of a file: its nodes in order, its inputs and outputs.

    Attributes:
        operations: layers and operators, and models as layers, by name.
    """

    def __init__(self, config: Any, weights: Mapping[str, Any], where: str) -> None:
        entries = config["config"]["layers"] if isinstance(config["config"], dict) else config["config"]
        inner = config["config"] if isinstance(config["config"], dict) else {}
        self.name = str(inner.get("name", "model"))
        self.sequential = config["class_name"] == "Sequential"
        self._where, self._calls = where, {}  # type: tuple[str, dict[str, list[Node]]]
        self.nodes: list[Node] = []
        self.operations: dict[str, Any] = {}
        if self.sequential:
            self._chain(entries, weights)
        else:
            self._connect(entries, weights, inner)

    def call(self) -> None:
        """Stand for the model's code, which is Keras' own."""

    @property
    def _nodes_by_depth(self) -> dict[int, list[Node]]:
        return {0: self.nodes}

    def _flatten_layers(self) -> list[Any]:
        found = []
        for operation in self.operations.values():
            found += operation._flatten_layers() if isinstance(operation, Model) else [operation]
        return found

    def _made(self, entry: Any, weights: Mapping[str, Any]) -> Any:
        """Return the layer, operator or model that an entry describes."""
        kind, settings = entry["class_name"].rpartition(">")[2], entry["config"]
        if kind in MODELS:
            return Model(entry, weights, self._where)
        name = name_of(entry)
        if kind == "TFOpLambda":
            called = settings["function"]
            return type(OPERATORS.get(called, called), (Operation,), {})({"name": name})
        if is_operation(entry):
            return type(kind, (Operation,), {})({**settings, "name": name})
        if ">" in entry["class_name"] or not str(entry.get("module", "keras")).startswith("keras"):
            raise SpicaError(
                f"{name}: a layer {entry['class_name']} with code of its own cannot be followed; write what it does "
                "with layers of keras.layers"
            )
        return type(kind, (Layer,), {})(_settings(kind, settings, name), weights)

    def _chain(self, entries: list[Any], weights: Mapping[str, Any]) -> None:
        first = entries[0]["config"]
        if entries[0]["class_name"] != "InputLayer":
            shape = first.get("batch_input_shape") or first.get("batch_shape")
            if shape is None:
                raise SpicaError(f"{self._where}: does not say what its input is; save the model once it is built")
            entries = [
                {"class_name": "InputLayer", "config": {"batch_shape": shape, "name": f"{first['name']}_input"}},
                *entries,
            ]
        tensor = None
        for entry in entries:
            name = entry["config"]["name"]
            made = self.operations[name] = self._made(entry, weights.get(name, {}))
            self.nodes.append(Node(made, [] if tensor is None else [tensor], {}, is_input=tensor is None))
            if tensor is None:
                self.inputs = self.nodes[-1].outputs
                self.inputs[0].shape = made.batch_shape
            tensor = self.nodes[-1].outputs[0]
        assert tensor is not None
        self.outputs = [tensor]

    def _connect(self, entries: list[Any], weights: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        waiting = []
        for entry in entries:
            name = name_of(entry)
            made = self.operations[name] = self._made(entry, weights.get(name, {}))
            if entry["class_name"] == "InputLayer":
                node = Node(made, [], {}, is_input=True)
                node.outputs[0].shape = made.batch_shape
                self._add(name, node)
            waiting += [(name, made, call, i) for i, call in enumerate(entry.get("inbound_nodes", []))]
        while waiting:  # a file may list a layer before what it reads
            left = [item for item in waiting if not self._call(*item)]
            if len(left) == len(waiting):
                raise SpicaError(
                    f"{self._where}: {left[0][0]!r} reads a tensor that nothing makes; the file is damaged"
                )
            waiting = left
        self.inputs = [self._tensor(place) for place in _places(config["input_layers"])]
        self.outputs = [self._tensor(place) for place in _places(config["output_layers"])]

    def _add(self, name: str, node: Node) -> None:
        self.nodes.append(node)
        self._calls.setdefault(name, []).append(node)

    def _call(self, name: str, made: Any, call: Any, number: int) -> bool:
        """Add a call of a layer; return False where it reads what is not there yet."""
        try:
            args, kwargs = self._arguments(made, call)
        except LookupError:
            return False
        if len(self._calls.get(name, [])) != number:
            return False
        node = Node(made, args, kwargs)
        if isinstance(made, Model):
            node.outputs = [KerasTensor() for _ in made.outputs]
        self._add(name, node)
        return True

    def _arguments(self, made: Any, call: Any) -> tuple[list[Any], dict[str, Any]]:
        if isinstance(call, dict):  # Keras 3
            args = [self._value(value) for value in call["args"]]
            return args, {name: self._value(value) for name, value in call["kwargs"].items()}
        several = isinstance(call[0], list)
        tensors = [self._tensor(place) for place in (call if several else [call])]
        kwargs = {
            name: self._old_value(value) for name, value in ((call[0] if several else call)[3:] or [{}])[0].items()
        }
        if isinstance(made, Operation):
            kwargs.pop("name", None)
            return [*tensors, *kwargs.values()], {}
        return ([tensors] if len(tensors) > 1 else tensors), kwargs

    def _value(self, value: Any) -> Any:
        """Return an argument in which a dictionary may stand for a tensor."""
        if isinstance(value, list):
            return [self._value(inner) for inner in value]
        if isinstance(value, dict) and value.get("class_name") == "__keras_tensor__":
            return self._tensor(value["config"]["keras_history"])
        if isinstance(value, dict) and value.get("class_name") == "__numpy__":
            return np.array(value["config"]["value"], value["config"]["dtype"])
        return value

    def _old_value(self, value: Any) -> Any:
        """Return an argument in which a list of a layer's name and two numbers stands for a tensor."""
        named = isinstance(value, list) and len(value) > 2 and isinstance(value[0], str) and value[0] in self.operations
        return self._tensor(value) if named else value

    def _tensor(self, place: Any) -> KerasTensor:
        name, call, number = place[:3]
        return self._calls[name][call].outputs[number]


def name_of(entry: Mapping[str, Any]) -> str:
    """Return the name of the layer, operator or model that an entry describes."""
    return entry.get("name") or entry["config"]["name"]


def is_operation(entry: Mapping[str, Any]) -> bool:
    """Return whether an entry is an operator; of the others, Keras says whether they can be trained."""
    model = entry["class_name"] in (*MODELS, "InputLayer")
    return not model and "trainable" not in entry["config"]


def _settings(kind: str, settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a layer's options under the names that Keras 3 has for them."""
    made = {**settings, "name": name}
    policy = made.pop("dtype", None)
    if isinstance(policy, dict) and policy.get("class_name") == "QuantizedDTypePolicy":
        made["quantization_mode"] = policy["config"].get("mode", "integers")
    if kind == "InputLayer":
        made["batch_shape"] = made.get("batch_shape") or made.get("batch_input_shape")
    if kind == "LeakyReLU" and "negative_slope" not in made:
        made["negative_slope"] = made.pop("alpha", 0.3)
    if kind == "Normalization" and made.get("mean") is not None:
        made |= {"mean": np.array(made["mean"]), "variance": np.array(made["variance"])}
    elif kind == "Normalization":
        made.pop("mean", None), made.pop("variance", None)
    if kind.startswith("UpSampling"):
        made.setdefault("interpolation", "nearest")
    return made


def _plain(value: Any) -> Any:
    """Return an option as a live layer has it: lists as tuples, functions of Keras by their names."""
    if isinstance(value, list):
        return tuple(_plain(inner) for inner in value)
    if isinstance(value, dict) and value.get("class_name") == "function":
        own = str(value.get("module")).startswith("keras")
        return str(value["config"]) if own else f"{value['config']} (not Keras' own)"
    return value


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list | tuple):
        for inner in value:
            yield from _leaves(inner)
    else:
        yield value


def _places(value: Any) -> list[Any]:
    """Return places of tensors, of which a file may give one without a list around it."""
    return [value] if value and isinstance(value[0], str) else list(value)
