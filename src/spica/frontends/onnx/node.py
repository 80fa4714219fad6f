"""A node of an ONNX graph, and the table of the functions that read one: of (graph, the node, its inputs).

Inputs are views, with channels first where they are images, or constant arrays; ``None`` where left out. What moved
from attributes to inputs between opsets is read from wherever it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.frontends import patterns
from spica.frontends.ops.base import refuse
from spica.frontends.registry import Operations
from spica.frontends.view import View
from spica.semantics.primitives import Pair

op = OPERATIONS = Operations("the operation")

WITHOUT_EFFECT = {
    "axis": None, "block_size": None, "consumed_inputs": None, "cubic_coeff_a": None, "exclude_outside": None,
    "extrapolation_value": None, "is_test": None, "kernel_shape": None, "momentum": None, "nearest_mode": None,
    "output_dtype": None, "ratio": None, "saturate": None, "seed": None, "spatial": 1, "stash_type": None,
    "storage_order": None,
}  # fmt: skip
"""Attributes that may be left unread: with any value, or with the one given; of others, zero says what holds anyway."""

TAKES_PARTS = {"Add", "Div", "MatMul", "Mul", "Pow", "ReduceMean", "Reciprocal", "Softmax", "Sqrt", "Sub"}
"""Operations that may be parts of attention or of a layer normalisation."""


class Node:
    """A node of a graph.

    Attributes:
        at: name of the layer that it becomes.
        inputs: what it reads.
        opset: version of ONNX's operations.
        batch: samples that the model was exported for.
        asked: names of the attributes that were read.
    """

    def __init__(self, proto: Any, at: str, inputs: list[Any], opset: int, batch: int) -> None:
        self.proto, self.at, self.inputs, self.opset, self.batch = proto, at, inputs, opset, batch
        self.asked: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, text as ``str``."""
        from onnx import helper

        self.asked.add(name)
        for attribute in self.proto.attribute:
            if attribute.name == name:
                value = helper.get_attribute_value(attribute)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def given(self, name: str, place: int) -> Any:
        """Return what is an attribute in old opsets and an input in new ones; ``None`` where it is left out."""
        value = self.get(name)
        if value is None and len(self.inputs) > place and self.inputs[place] is not None:
            value = self.constant(place)
        return value

    def constant(self, place: int) -> NDArray[Any]:
        """Return an input that must be known."""
        value = self.inputs[place]
        known = value is None or not isinstance(value, View | patterns.Part)
        refuse(
            self.at, not known, f"{self.proto.op_type} with input {place} computed by the network", "make it constant"
        )
        return np.asarray(value)

    def check_options(self) -> None:
        """Refuse attributes that nobody read, unless they say what holds anyway."""
        from onnx import helper

        for attribute in self.proto.attribute:
            usual = WITHOUT_EFFECT.get(attribute.name, 0)
            value = helper.get_attribute_value(attribute)
            if attribute.name not in self.asked and usual is not None and value != usual:
                raise SpicaError(
                    f"{self.at}: option {attribute.name} of {self.proto.op_type} is not supported; export the model "
                    "without it"
                )


def real(value: Any) -> NDArray[np.float32]:
    """Return constants as float32."""
    return np.asarray(value, np.float32)


def pair(values: Any) -> Pair:
    """Return sizes along an image's axes; of a signal, as of an image of one row."""
    sizes = [int(v) for v in values]
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])
