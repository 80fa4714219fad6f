"""Activations that come in parts, such as ``x * sigmoid(x)``, recognised by the values that they give.

Exporters write a GELU, a SiLU or a hard-swish as products and sums in many orders. All of them are one function of one
real number, so what its parts compute on a grid tells which function it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spica.layers import Activation, Add, Multiply, Scale, TableActivation
from spica.layers.functions import FUNCTIONS
from spica.network import Layer
from spica.network.layer import forward_float

Values = NDArray[np.float32]

POINTWISE = {Activation, Add, Multiply, Scale, TableActivation}
"""Layers whose every output value is made of the same input value, or pair of them."""

Function = tuple[str, tuple[float, ...]]
"""Name and parameters of a ``TableActivation``."""

GATED: tuple[Function, ...] = (
    ("gelu", ()), ("gelu_tanh", ()), ("silu", ()), ("silu", (1.702,)), ("hard_silu", ()), ("mish", ()), ("power", (2,)),
)  # fmt: skip
"""Functions that are a product of two of their argument's."""

GRID = np.linspace(-8, 8, 1601, dtype=np.float32)[:, None]
TOLERANCE = 4e-6
"""Largest difference to a function, relative to its largest value: what is left of float32 after its parts."""

MOST_PARTS = 16
"""Layers that a function may consist of."""


def gated(layers: Mapping[str, Layer], x: str, y: str) -> tuple[str, Function, float] | None:
    """Return the function that the product of two tensors is, times a factor, and the tensor that it is of.

    Args:
        layers: those so far, by the names of their tensors.
        x: one of the tensors.
        y: the other one, value by value in the same order.
    """
    source: str | None = x
    for _ in range(MOST_PARTS):
        if source is None:
            return None
        values = {source: GRID}
        with np.errstate(all="ignore"):  # a function may have a pole on the grid
            product = _evaluate(layers, x, values), _evaluate(layers, y, values)
        if product[0] is not None and product[1] is not None:
            found = _recognise(product[0] * product[1])
            if found is not None:
                return source, *found
        layer = layers[source]
        source = layer.inputs[0] if type(layer) in POINTWISE and len(layer.inputs) == 1 else None
    return None


def _recognise(values: Values) -> tuple[Function, float] | None:
    for name, parameters in GATED:
        wanted = FUNCTIONS[name](GRID, *parameters)
        factor = float((values * wanted).sum() / (wanted * wanted).sum())
        largest = np.abs(factor * wanted).max()
        if largest and np.abs(values - factor * wanted).max() <= TOLERANCE * largest:
            return (name, parameters), 1.0 if np.isclose(factor, 1, rtol=1e-6) else factor
    return None


def _evaluate(layers: Mapping[str, Layer], name: str, known: dict[str, Values]) -> Values | None:
    """Return what a tensor's values are where those of the source are the grid's; ``None`` where others are read."""
    if name not in known:
        layer = layers[name]
        if type(layer) not in POINTWISE or len(known) > MOST_PARTS:
            return None
        found = [_evaluate(layers, source, known) for source in layer.inputs]
        read = [values for values in found if values is not None]
        if len(read) < len(found):
            return None
        made = forward_float(layer, read)
        if np.ptp(made, axis=1).any():
            return None  # channels have factors of their own
        known[name] = made[:, :1]
    return known[name]
