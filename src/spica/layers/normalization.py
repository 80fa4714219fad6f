"""Float-only layers that passes fold away before quantisation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.network.fields import Floats, Pads
from spica.network.layer import Layer, forward_float, infer, record
from spica.network.types import TensorType


@record
class Scale(Layer):
    """``x * scale + offset`` for each channel: batch normalisation at inference, or input rescaling."""

    scale: Floats
    offset: Floats


@infer.register
def _(layer: Scale, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    for name, values in (("scale", layer.scale), ("offset", layer.offset)):
        if values.shape != (x.channels,):
            raise SpicaError(f"{layer.name}: {name} must be {x.channels} numbers, one for each channel")
    if not x.is_float:
        raise SpicaError(f"{layer.name}: a Scale is float only; fold it with spica.passes.prepare before quantising")
    return x


@forward_float.register
def _(layer: Scale, inputs: Sequence[NDArray]) -> NDArray:
    return inputs[0] * layer.scale + layer.offset


@record
class ZeroPad(Layer):
    """Zero padding around an image, ``((top, bottom), (left, right))``."""

    padding: Pads


@infer.register
def _(layer: ZeroPad, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    weighted.check_rank(layer, x, 3)
    if not x.is_float:
        raise SpicaError(f"{layer.name}: a ZeroPad is float only; fold it with spica.passes.prepare before quantising")
    height, width = (size + sum(pad) for size, pad in zip(x.shape, layer.padding))
    return TensorType((height, width, x.channels))


@forward_float.register
def _(layer: ZeroPad, inputs: Sequence[NDArray]) -> NDArray:
    return np.pad(inputs[0], ((0, 0), *layer.padding, (0, 0)))
