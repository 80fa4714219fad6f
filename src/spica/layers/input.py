"""The input of a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.network.layer import Layer, infer, record
from spica.network.types import TensorType


@record
class Input(Layer):
    """The network's input: samples of ``shape`` (H, W, C) or (C,).

    Attributes:
        bits: width of the integers that an integer network reads; ``None`` for a float network.
        signed: whether those integers are signed.
        scale: real value of one step of them (float32 scalar), as the float network saw its samples.
    """

    shape: tuple[int, ...]
    inputs: tuple[str, ...] = ()
    bits: int | None = None
    signed: bool = False
    scale: NDArray[np.float32] | None = None


@infer.register
def _(layer: Input, inputs: Sequence[TensorType]) -> TensorType:
    if not layer.shape or any(size < 1 for size in layer.shape):
        raise SpicaError(f"{layer.name}: an input of shape {layer.shape} is empty; every axis must be at least 1")
    if layer.bits is not None and not 1 <= layer.bits <= 32:
        raise SpicaError(f"{layer.name}: inputs of {layer.bits} bits are not supported; use 1 to 32")
    if layer.bits is None:
        return TensorType(layer.shape)
    scale = np.ones((), np.float32) if layer.scale is None else layer.scale
    return TensorType(layer.shape, layer.bits, layer.signed, np.zeros((), np.int64), scale)
