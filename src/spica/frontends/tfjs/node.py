"""A node of a graph in JSON, as TensorFlow.js has it: its options are values of protocol buffers, text in base 64."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from spica.errors import SpicaError
from spica.frontends.ops.base import refuse
from spica.frontends.ops.weighted import Window
from spica.frontends.tensorflow import node as tensorflow
from spica.network.types import check_size
from spica.semantics.primitives import Pair
from spica.util.files import refuse_damage

WITHOUT_EFFECT = {
    "N": None, "Truncate": None, "data_format": "NHWC", "dilations": [1, 1, 1, 1], "epsilon": None,
    "exponential_avg_factor": None, "incompatible_shape_error": None, "leakyrelu_alpha": None, "num": None,
    "num_args": None, "num_split": None, "use_cudnn_on_gpu": None, "validate_indices": None,
}  # fmt: skip
"""Options that may be left unread: with any value, or with the one given; of others, zero says what holds anyway.

Names of types, and what begins with "_", notes of optimisers, may be left unread too.
"""

NUMPY_TYPES = {
    "DT_BOOL": np.bool_, "DT_DOUBLE": np.float64, "DT_FLOAT": np.float32, "DT_HALF": np.float16,
    "DT_INT32": np.int32, "DT_INT64": np.int64,
}  # fmt: skip
"""Types of tensors, by their names."""

REAL = ("DT_BFLOAT16", "DT_DOUBLE", "DT_FLOAT", "DT_HALF")
"""Types of real numbers."""


def _cast(node: Node, x: Any) -> Any:
    wanted = node.get("DstT")
    refuse(node.at, wanted not in NUMPY_TYPES, f"a cast to {wanted}", "use floats or integers")
    return np.asarray(x).astype(NUMPY_TYPES[wanted])


def _joined(node: Node, *parts: Any) -> Any:
    *values, axis = parts
    return np.concatenate(values, int(axis))


def _taken(node: Node, x: Any, places: Any, axis: Any = 0) -> Any:
    axis, size = int(axis), np.size(places)
    check_size((np.size(x) // max(np.shape(x)[axis], 1), size), node.at)
    refuse(node.at, node.get("batch_dims", 0) != 0, "a gather by samples", "gather along one axis")
    return np.take(x, places, axis)


class Node(tensorflow.Node):
    """A node of a TensorFlow.js graph.

    Attributes:
        asked: names of the options that were read.
    """

    folds: ClassVar = {"Cast": _cast, "ConcatV2": _joined, "GatherV2": _taken}

    def __init__(self, kind: str, at: str, inputs: list[Any], batch: int, options: Mapping[str, Any]) -> None:
        super().__init__(kind, at, inputs, batch)
        self._options = options
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """Return an option, text as ``str``."""
        self.asked.add(name)
        if name not in self._options:
            return default
        with refuse_damage(self.at, f"option {name} of {self.kind} cannot be read; the file is damaged"):
            return value_of(self._options[name])

    def needed(self, name: str) -> Any:
        """Return an option that must be there."""
        if name not in self._options:
            raise SpicaError(f"{self.at}: {self.kind} lacks its option {name}; the file is damaged")
        return self.get(name)

    def window(self) -> Window:
        """Return how a window moves over an image."""
        padding: Any = str(self.needed("padding")).lower()
        if padding == "explicit":
            amounts = self.needed("explicit_paddings")
            known = len(amounts) == 8 and not any((*amounts[:2], *amounts[6:]))
            refuse(self.at, not known, f"padding {amounts}", "pad rows and columns")
            padding = ((amounts[2], amounts[3]), (amounts[4], amounts[5]))
        refuse(self.at, padding not in ("same", "valid") and isinstance(padding, str), f"padding {padding}", "use same")
        strides, dilation = self._in_space("strides"), self._in_space("dilations", [1, 1, 1, 1])
        return Window(strides=strides, padding=padding, dilation=dilation)

    def size(self) -> Pair:
        """Return the rows and columns of a pooling window."""
        return self._in_space("ksize")

    def _in_space(self, name: str, default: list[int] | None = None) -> Pair:
        """Return sizes along the rows and columns of an image, whose other axes have one."""
        values = self.needed(name) if default is None else self.get(name, default)
        self.check_layout()
        whole = isinstance(values, list) and len(values) == 4 and values[0] == values[3] == 1 and min(values) > 0
        refuse(self.at, not whole, f"{name} {values!s:.60}", "use sizes of rows and columns")
        return values[1], values[2]

    def check_layout(self) -> None:
        """Refuse images that have their channels first."""
        layout = self.get("data_format", "NHWC")
        refuse(self.at, layout != "NHWC", f"the layout {layout!s:.20}", "convert the model with NHWC")

    def check_options(self) -> None:
        """Refuse options that nobody read, unless they say what holds anyway."""
        for name, given in self._options.items():
            if name in self.asked or name.startswith("_") or "type" in given:
                continue
            usual, value = WITHOUT_EFFECT.get(name, 0), self.get(name)
            if usual is not None and value != usual and value not in (0, [], ""):
                raise SpicaError(f"{self.at}: option {name} of {self.kind} is not supported; convert without it")


def value_of(given: Mapping[str, Any]) -> Any:
    """Return an option as Python has it: a number, text, the name of a type, a shape, or a list of such."""
    ((kind, value),) = given.items()
    if kind == "list":
        ((kind, values),) = value.items() or (("i", []),)
        return [value_of({kind: inner}) for inner in values]
    if kind == "s":
        return (bytes(value) if isinstance(value, list) else base64.b64decode(value)).decode(errors="replace")
    if kind == "shape":
        return None if value.get("unknownRank") else [int(axis.get("size", 0)) for axis in value.get("dim", [])]
    readers = {"i": int, "f": float, "b": bool, "type": str}
    return readers[kind](value)
