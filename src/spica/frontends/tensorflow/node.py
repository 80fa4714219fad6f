"""A node of a graph of TensorFlow, whichever file it is of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from spica.frontends.ops.base import refuse
from spica.frontends.ops.weighted import Window
from spica.frontends.patterns import Part
from spica.frontends.view import View
from spica.semantics.primitives import Pair


class Node(ABC):
    """An operation of a graph.

    Attributes:
        kind: its name in the file.
        at: name of the layer that it becomes.
        inputs: what it reads: views, half-done operations, constants, or ``None`` where left out.
        batch: samples that the model was made for.
        folds: operations on constants that only this format has in these words, by their names in the file.
    """

    folds: ClassVar[Mapping[str, Callable[..., Any]]] = {}

    def __init__(self, kind: str, at: str, inputs: list[Any], batch: int) -> None:
        self.kind, self.at, self.inputs, self.batch = kind, at, inputs, batch

    @abstractmethod
    def get(self, name: str, default: Any = None) -> Any:
        """Return an option by the name that TensorFlow has for it; the default where the operation has none."""

    @abstractmethod
    def window(self) -> Window:
        """Return how a window moves over an image."""

    @abstractmethod
    def size(self) -> Pair:
        """Return the rows and columns of a pooling window."""

    def constant(self, place: int) -> NDArray[Any]:
        """Return an input that must be known."""
        value = self.inputs[place]
        known = not isinstance(value, View | Part)
        refuse(self.at, not known, f"{self.kind} with input {place} computed by the network", "make it constant")
        return np.asarray(value)

    def integers(self, place: int) -> list[int]:
        """Return a known input of integers."""
        return [int(value) for value in np.atleast_1d(self.constant(place)).reshape(-1)]


def real(value: Any) -> NDArray[np.float32]:
    """Return constants as float32."""
    return np.asarray(value, np.float32)
