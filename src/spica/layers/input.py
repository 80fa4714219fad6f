"""The input of a network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spica.errors import SpicaError
from spica.network.fields import Bits, Scale, Sizes
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

    shape: Sizes
    inputs: tuple[str, ...] = ()
    bits: Bits | None = None
    signed: bool = False
    scale: Scale | None = None


@infer.register
def _(layer: Input, inputs: Sequence[TensorType]) -> TensorType:
    if not layer.shape:
        raise SpicaError(f"{layer.name}: an input needs at least one axis behind the batch")
    if layer.bits is None:
        return TensorType(layer.shape)
    scale = np.ones((), np.float32) if layer.scale is None else layer.scale
    return TensorType(layer.shape, layer.bits, layer.signed, np.zeros((), np.int64), scale)
