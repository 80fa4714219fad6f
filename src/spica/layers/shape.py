"""Layers that only move values: flatten, reshape, permute, take, gather, concatenate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers.weighted import one_input
from spica.network import Network
from spica.network.fields import MOST_VALUES, Bounds, Count, Size, Sizes
from spica.network.layer import Layer, Ops, forward_float, forward_integer, infer, record
from spica.network.types import TensorType
from spica.semantics.reference import Reference


@dataclass(frozen=True, eq=False, kw_only=True)
class Moves(Layer):
    """Layer that only moves values, whatever their type."""


@forward_float.register
def _(layer: Moves, inputs: Sequence[NDArray]) -> NDArray:
    return forward_integer(layer, inputs, [TensorType(x.shape[1:]) for x in inputs], Reference())


def is_only_moved(net: Network, name: str) -> bool:
    """Return whether nothing but layers that move values stands between a tensor and the network's outputs."""
    waiting, moved = [name], {name}
    while waiting:
        for reader in net.consumers[waiting.pop()]:
            if not isinstance(reader, Moves):
                return False
            if reader.name not in moved:
                moved.add(reader.name)
                waiting.append(reader.name)
    return True


@record
class Flatten(Moves):
    """Flatten ``(H, W, C)`` to ``(H*W*C,)``, row by row, channels last."""


@record
class Reshape(Moves):
    """Reshape to ``shape``, without the batch axis."""

    shape: Sizes


@infer.register
def _(layer: Flatten | Reshape, inputs: Sequence[TensorType]) -> TensorType:
    """Change the shape; where channels differ in format and move, every value carries its own."""
    x = one_input(layer, inputs)
    shape = layer.shape if isinstance(layer, Reshape) else (prod(x.shape),)
    if not shape or min(shape) < 1 or prod(shape) != prod(x.shape):
        raise SpicaError(f"{layer.name}: {x.shape} cannot be reshaped to {shape}; the sizes differ")
    if shape[-1] == x.channels or x.per_tensor:
        return replace(x, shape=shape)
    if len(shape) > 1:
        raise SpicaError(
            f"{layer.name}: channels of different exponents cannot be reshaped to {shape}; "
            "quantise with per-tensor activations"
        )

    def follow(values: NDArray) -> NDArray:
        return values if values.ndim == 0 else np.broadcast_to(values, x.shape).reshape(shape)

    return replace(x, shape=shape, frac_bits=follow(x.frac_bits), scale=follow(x.scale))


@forward_integer.register
def _(layer: Flatten | Reshape, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    return inputs[0].reshape(len(inputs[0]), *infer(layer, types).shape)


@record
class Concatenate(Moves):
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
    if len({float(scale) for x in inputs for scale in np.ravel(x.scale)}) > 1:
        inputs = [_with_exponent(x) for x in inputs]
    signed = any(x.signed for x in inputs)
    bits = max((x.bits or 0) + (signed and not x.signed) for x in inputs)
    frac_bits, scale = (_joined([getattr(x, name) for x in inputs], inputs) for name in ("frac_bits", "scale"))
    return TensorType(shape, bits, signed, frac_bits, scale)


def _with_exponent(x: TensorType) -> TensorType:
    """Return a type with its scale, where that is a power of two, in its exponent: sums take those as they differ."""
    exponent = np.log2(x.scale)
    if (exponent != np.rint(exponent)).any():
        return x
    return replace(x, frac_bits=np.asarray(x.frac_bits - exponent.astype(np.int64)), scale=np.ones((), np.float32))


def _joined(values: list[NDArray], inputs: Sequence[TensorType]) -> NDArray:
    """Join per-channel values into one array, or a scalar where all agree."""
    joined = np.concatenate([np.broadcast_to(v, (x.channels,)) for v, x in zip(values, inputs)])
    return joined[0] if (joined == joined[0]).all() else joined


@forward_integer.register
def _(layer: Concatenate, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    return ops.concatenate(inputs, infer(layer, types).dtype)


@record
class Permute(Moves):
    """Permute axes; ``axes`` counts from 0 and leaves the batch out."""

    axes: Annotated[tuple[int, ...], Bounds(0, 8)]


@infer.register
def _(layer: Permute, inputs: Sequence[TensorType]) -> TensorType:
    x = one_input(layer, inputs)
    if sorted(layer.axes) != list(range(len(x.shape))):
        raise SpicaError(f"{layer.name}: {layer.axes} does not name each axis of {x.shape} once")
    if not x.per_tensor and layer.axes[-1] != len(x.shape) - 1:
        raise SpicaError(f"{layer.name}: channels of different exponents must stay last; quantise per tensor")
    return replace(x, shape=tuple(x.shape[a] for a in layer.axes))


@forward_integer.register
def _(layer: Permute, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    return ops.permute(inputs[0], layer.axes)


@record
class Take(Moves):
    """Take some positions of one axis: a token of a sequence, or every n-th time step.

    Attributes:
        axis: counted from 0, the batch left out; not the channels.
        start, stop, step: as in a slice; ``step`` at least 1.
        keep_axis: whether the axis stays where one position is taken.
    """

    axis: Count
    start: Count
    stop: Size
    step: Size = 1
    keep_axis: bool = True


@infer.register
def _(layer: Take, inputs: Sequence[TensorType]) -> TensorType:
    x = one_input(layer, inputs)
    if not 0 <= layer.axis < len(x.shape) - (not x.per_tensor):
        raise SpicaError(f"{layer.name}: axis {layer.axis} of {x} cannot be taken from; choose another")
    taken = range(layer.start, layer.stop, layer.step) if layer.step > 0 else range(0)
    if not taken or layer.start < 0 or layer.stop > x.shape[layer.axis] or (len(taken) > 1 and not layer.keep_axis):
        raise SpicaError(
            f"{layer.name}: {layer.start}:{layer.stop}:{layer.step} is not within axis {layer.axis} of {x.shape}"
        )
    kept = (len(taken),) if layer.keep_axis else ()
    return replace(x, shape=(*x.shape[: layer.axis], *kept, *x.shape[layer.axis + 1 :]))


@forward_integer.register
def _(layer: Take, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    taken = ops.take(inputs[0], layer.axis, range(layer.start, layer.stop, layer.step))
    return taken.reshape(len(taken), *infer(layer, types).shape)


@record
class Gather(Moves):
    """Put any values of a tensor, or zeros, in any order: a crop, a turn, a shuffle of channels, an edge repeated.

    Attributes:
        positions: for each value of the output, in its order, the number of the value that it is; -1 for zero.
        shape: of the output, the batch left out.
    """

    positions: Annotated[NDArray[np.int64], Bounds(-1, MOST_VALUES)]
    shape: Sizes


@infer.register
def _(layer: Gather, inputs: Sequence[TensorType]) -> TensorType:
    x = one_input(layer, inputs)
    if not layer.shape or layer.positions.shape != (prod(layer.shape),):
        raise SpicaError(f"{layer.name}: {layer.positions.shape} positions do not fill an output of {layer.shape}")
    if layer.positions.max() >= prod(x.shape):
        raise SpicaError(f"{layer.name}: position {layer.positions.max()} is not within {x}")
    if x.per_tensor:
        return replace(x, shape=layer.shape)
    channels = np.where(layer.positions < 0, -1, layer.positions % x.channels).reshape(-1, layer.shape[-1])
    own = channels.max(axis=0)
    if ((channels != own) & (channels >= 0)).any():
        raise SpicaError(f"{layer.name}: mixes channels of different exponents; quantise per tensor")
    own = np.maximum(own, 0)
    frac_bits = x.frac_bits[own] if x.frac_bits.ndim else x.frac_bits
    return replace(x, shape=layer.shape, frac_bits=frac_bits, scale=x.scale[own] if x.scale.ndim else x.scale)


@forward_integer.register
def _(layer: Gather, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    return ops.gather(inputs[0], layer.positions, layer.shape)
