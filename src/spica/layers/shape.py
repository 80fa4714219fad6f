"""Layers that only move values: flatten, reshape, permute, take, concatenate."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.network.layer import Layer, Ops, forward_float, forward_integer, infer, record
from spica.network.types import TensorType
from spica.semantics import primitives


@record
class Flatten(Layer):
    """Flatten ``(H, W, C)`` to ``(H*W*C,)``, row by row, channels last."""


@record
class Reshape(Layer):
    """Reshape to ``shape``, without the batch axis."""

    shape: tuple[int, ...]


def _reshaped(layer: Layer, x: TensorType, shape: tuple[int, ...]) -> TensorType:
    """Return the type of ``x`` in another shape.

    Where channels differ in format and move, every value carries its own.
    """
    if shape[-1] == x.channels or x.per_tensor:
        return TensorType(shape, x.bits, x.signed, x.frac_bits, x.scale)
    if len(shape) > 1:
        raise SpicaError(
            f"{layer.name}: channels of different exponents cannot be reshaped to {shape}; "
            "quantise with per-tensor activations"
        )

    def follow(values: NDArray) -> NDArray:
        return values if values.ndim == 0 else np.broadcast_to(values, x.shape).reshape(shape)

    return TensorType(shape, x.bits, x.signed, follow(x.frac_bits), follow(x.scale))


@infer.register
def _(layer: Flatten, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    return _reshaped(layer, x, (prod(x.shape),))


@infer.register
def _(layer: Reshape, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    if not layer.shape or min(layer.shape) < 1 or prod(layer.shape) != prod(x.shape):
        raise SpicaError(f"{layer.name}: {x.shape} cannot be reshaped to {layer.shape}; the sizes differ")
    return _reshaped(layer, x, layer.shape)


@forward_float.register(Flatten)
def _(layer: Flatten, inputs: Sequence[NDArray]) -> NDArray:
    return inputs[0].reshape(len(inputs[0]), -1)


@forward_float.register(Reshape)
def _(layer: Reshape, inputs: Sequence[NDArray]) -> NDArray:
    return inputs[0].reshape(len(inputs[0]), *layer.shape)


@forward_integer.register(Flatten)
@forward_integer.register(Reshape)
def _(layer: Layer, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    return inputs[0].reshape(len(inputs[0]), *infer(layer, types).shape)


@record
class Concatenate(Layer):
    """Concatenate the channels of several tensors; each keeps its number format."""


@infer.register
def _(layer: Concatenate, inputs: Sequence[TensorType]) -> TensorType:
    if not inputs:
        raise SpicaError(f"{layer.name}: nothing to concatenate")
    if len({x.shape[:-1] for x in inputs}) > 1 or len({x.is_float for x in inputs}) > 1:
        shapes = ", ".join(map(str, inputs))
        raise SpicaError(f"{layer.name}: {shapes} differ in more than their channels and cannot be concatenated")
    shape = (*inputs[0].shape[:-1], sum(x.channels for x in inputs))
    if inputs[0].is_float:
        return TensorType(shape)
    signed = any(x.signed for x in inputs)
    bits = max((x.bits or 0) + (signed and not x.signed) for x in inputs)
    return TensorType(
        shape,
        bits,
        signed,
        _joined([x.frac_bits for x in inputs], inputs),
        _joined([x.scale for x in inputs], inputs),
    )


def _joined(values: list[NDArray], inputs: Sequence[TensorType]) -> NDArray:
    """Join per-channel values into one array, or a scalar where all agree."""
    joined = np.concatenate([np.broadcast_to(v, (x.channels,)) for v, x in zip(values, inputs)])
    return joined[0] if (joined == joined[0]).all() else joined


@forward_float.register
def _(layer: Concatenate, inputs: Sequence[NDArray]) -> NDArray:
    return np.concatenate(inputs, axis=-1)


@forward_integer.register
def _(layer: Concatenate, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    return ops.concatenate(inputs, infer(layer, types).dtype)


@record
class Permute(Layer):
    """Permute axes; ``axes`` counts from 0 and leaves the batch out."""

    axes: tuple[int, ...]


@infer.register
def _(layer: Permute, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    if sorted(layer.axes) != list(range(len(x.shape))):
        raise SpicaError(f"{layer.name}: {layer.axes} does not name each axis of {x.shape} once")
    if not x.per_tensor and layer.axes[-1] != len(x.shape) - 1:
        raise SpicaError(f"{layer.name}: channels of different exponents must stay last; quantise per tensor")
    return TensorType(tuple(x.shape[a] for a in layer.axes), x.bits, x.signed, x.frac_bits, x.scale)


@forward_float.register
def _(layer: Permute, inputs: Sequence[NDArray]) -> NDArray:
    return primitives.permute(inputs[0], layer.axes)


@forward_integer.register
def _(layer: Permute, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    return ops.permute(inputs[0], layer.axes)


@record
class Take(Layer):
    """Take some positions of one axis: a token of a sequence, or every n-th time step.

    Attributes:
        axis: counted from 0, the batch left out; not the channels.
        start, stop, step: as in a slice; ``step`` at least 1.
        keep_axis: whether the axis stays where one position is taken.
    """

    axis: int
    start: int
    stop: int
    step: int = 1
    keep_axis: bool = True


@infer.register
def _(layer: Take, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    if not 0 <= layer.axis < len(x.shape) - (not x.per_tensor):
        raise SpicaError(f"{layer.name}: axis {layer.axis} of {x} cannot be taken from; choose another")
    taken = range(layer.start, layer.stop, layer.step) if layer.step > 0 else range(0)
    if not taken or layer.start < 0 or layer.stop > x.shape[layer.axis] or (len(taken) > 1 and not layer.keep_axis):
        raise SpicaError(
            f"{layer.name}: {layer.start}:{layer.stop}:{layer.step} is not within axis {layer.axis} of {x.shape}"
        )
    kept = (len(taken),) if layer.keep_axis else ()
    shape = (*x.shape[: layer.axis], *kept, *x.shape[layer.axis + 1 :])
    return TensorType(shape, x.bits, x.signed, x.frac_bits, x.scale)


@forward_float.register
def _(layer: Take, inputs: Sequence[NDArray]) -> NDArray:
    taken = primitives.take(inputs[0], layer.axis, range(layer.start, layer.stop, layer.step))
    return taken.reshape(len(taken), *infer(layer, [TensorType(inputs[0].shape[1:])]).shape)


@forward_integer.register
def _(layer: Take, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    taken = ops.take(inputs[0], layer.axis, range(layer.start, layer.stop, layer.step))
    return taken.reshape(len(taken), *infer(layer, types).shape)
