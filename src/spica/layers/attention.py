"""Layers of vision transformers: token embedding, normalisation and attention.

Tokens are rows: a tensor of ``T`` tokens of ``C`` channels is ``(T, C)``. All arithmetic is of 32-bit integers, exactly
as docs/explanation/arithmetic.md says; no public reference of it exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.layers.activation import softmax
from spica.layers.epilogue import Requantize, output_epilogue, requantized_type, shift_left
from spica.layers.weighted import WeightedLayer, one_input
from spica.network.fields import LARGEST_VALUE, AccumulatorBits, Bounds, Floats, Size, Values
from spica.network.layer import Layer, Ops, forward_float, forward_integer, infer, macs, record
from spica.network.types import TensorType, check_size
from spica.semantics.primitives import NORM_BITS

ACCUMULATOR_BITS = 31


def _tokens(layer: Layer, inputs: Sequence[TensorType]) -> TensorType:
    """Check that the only input is integer tokens ``(T, C)`` with one exponent, and return its type."""
    x = one_input(layer, inputs)
    if len(x.shape) != 2 or not (x.is_float or x.per_tensor):
        raise SpicaError(f"{layer.name}: needs integer tokens (T, C) with one exponent; got {x}")
    return x


def _leaves(layer: Layer, out: Requantize | None, x: TensorType, shape: tuple[int, ...]) -> TensorType:
    if x.is_float:
        return TensorType(shape)
    if out is None:
        raise SpicaError(f"{layer.name}: needs an output stage; quantise the network")
    return requantized_type(layer.name, out, shape)


@record
class TokenEmbedding(Layer):
    """Class token and position embedding: ``(T, C)`` to ``(T + 1, C)``, or to ``(T, C)`` without a class token.

    Attributes:
        class_token: whether there is the token.
        constants: what is added at each place (float32), the token's own value in the first row; integers on the
            grid of the input shifted left by ``extra_bits``.
        extra_bits: how much finer than the input's that grid is.
        requantize: the output epilogue.
    """

    class_token: bool
    constants: Values
    extra_bits: Annotated[int, Bounds(0, 16)] = 0
    requantize: Requantize | None = None


@infer.register
def _(layer: TokenEmbedding, inputs: Sequence[TensorType]) -> TensorType:
    x = _tokens(layer, inputs)
    shape = (x.shape[0] + layer.class_token, x.shape[1])
    if layer.constants.shape != shape:
        raise SpicaError(
            f"{layer.name}: constants have shape {layer.constants.shape}, but the output has {shape} for an input {x}"
        )
    return _leaves(layer, layer.requantize, x, shape)


@forward_float.register
def _(layer: TokenEmbedding, inputs: Sequence[NDArray]) -> NDArray:
    return np.pad(inputs[0], ((0, 0), (int(layer.class_token), 0), (0, 0))) + layer.constants


@forward_integer.register
def _(layer: TokenEmbedding, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    (x,), (kind,), output = inputs, types, infer(layer, types)
    finer = shift_left(x, np.full(kind.channels, layer.extra_bits), ACCUMULATOR_BITS, ops)
    rows = ops.dilate(finer.reshape(len(x), 1, *kind.shape), (1, 1), ((0, 0), (int(layer.class_token), 0)))
    flat = rows.reshape(len(x), -1)  # so that every value of every token has a bias of its own
    epilogue = output_epilogue(layer.requantize, output, value_bits=ACCUMULATOR_BITS, bias=layer.constants.reshape(-1))
    return ops.apply_epilogue(flat, epilogue).reshape(len(x), *output.shape)


@record
class LayerNormalization(Layer):
    """Layer normalisation: ``(x - mean) / deviation * gamma + beta`` for each token. Float only."""

    gamma: Floats
    beta: Floats
    epsilon: Annotated[float, Bounds(0, 1e6)]


@infer.register
def _(layer: LayerNormalization, inputs: Sequence[TensorType]) -> TensorType:
    x = _tokens(layer, inputs)
    if not x.is_float or not layer.gamma.shape == layer.beta.shape == (x.channels,):
        raise SpicaError(
            f"{layer.name}: gamma of shape {layer.gamma.shape} needs float tokens (T, C) with as many channels; got {x}"
        )
    return x


@forward_float.register
def _(layer: LayerNormalization, inputs: Sequence[NDArray]) -> NDArray:
    x = inputs[0] - inputs[0].mean(axis=-1, keepdims=True)
    deviation = np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(layer.epsilon))
    return x / deviation * layer.gamma + layer.beta


@record
class MadNormalization(WeightedLayer):
    """Normalisation by the mean absolute deviation, ``(x - mean) / mad * kernel + bias``. Integer only."""

    KERNELS: ClassVar = {"kernel": "C"}

    kernel: NDArray[np.int8]
    accumulator_bits: AccumulatorBits = ACCUMULATOR_BITS

    def accumulator_shape(self, x: TensorType) -> tuple[int, ...]:
        """Check that the input is integer tokens that 32 bits hold normalised, and return its shape."""
        _tokens(self, [x])
        if x.bits is None or x.bits > 16:
            raise SpicaError(f"{self.name}: needs integer tokens of at most 16 bits; got {x}")
        return x.shape

    def accumulator_grid(self, x: TensorType) -> tuple[NDArray, NDArray]:
        """Return the grid of normalised values, whatever that of the input."""
        return np.array(NORM_BITS), np.ones((), np.float32)

    def accumulate(self, x: NDArray, kind: TensorType, ops: Ops) -> NDArray:
        """Return normalised tokens times the kernel."""
        rows = ops.normalise(x).reshape(len(x), 1, *kind.shape)
        peak = kind.channels << NORM_BITS
        return weighted.convolve(rows, self.kernel[None, None], peak, ops).reshape(len(x), *kind.shape)


@record
class Attention(Layer):
    """Multi-head attention: softmax(queries . keys) over tokens, times values. Its inputs are these three, ``(T, C)``.

    Attributes:
        heads: into how many parts channels are cut.
        multiplier, shift: bring an integer product of a query and a key to powers of two, in 1/256; unused in float.
        requantize: the output epilogue.
    """

    heads: Size
    multiplier: Annotated[int, Bounds(0, LARGEST_VALUE)] = 0
    shift: Annotated[int, Bounds(0, 62)] = 0
    requantize: Requantize | None = None


@infer.register
def _(layer: Attention, inputs: Sequence[TensorType]) -> TensorType:
    if len(inputs) != 3:
        raise SpicaError(f"{layer.name}: attention reads queries, keys and values, but is given {len(inputs)} tensors")
    shapes = [_tokens(layer, [x]).shape for x in inputs]
    if len(set(shapes)) > 1 or layer.heads < 1 or shapes[0][1] % layer.heads:
        raise SpicaError(f"{layer.name}: {layer.heads} heads do not fit queries, keys and values of {shapes}")
    check_size((layer.heads, shapes[0][0], shapes[0][0]), layer.name)
    if any(x.bits is not None and x.bits > 8 for x in inputs):
        raise SpicaError(f"{layer.name}: queries, keys and values have up to 8 bits")
    return _leaves(layer, layer.requantize, inputs[2], shapes[2])


@forward_float.register
def _(layer: Attention, inputs: Sequence[NDArray]) -> NDArray:
    n, tokens, channels = inputs[0].shape
    q, k, v = (x.reshape(n, tokens, layer.heads, -1).transpose(0, 2, 1, 3) for x in inputs)
    mixed = softmax(q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(q.shape[-1]))) @ v
    return mixed.transpose(0, 2, 1, 3).reshape(n, tokens, channels)


@forward_integer.register
def _(layer: Attention, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    q, k, v = inputs
    acc = ops.attend(q, k, v, layer.heads, layer.multiplier, layer.shift)
    return ops.apply_epilogue(acc, output_epilogue(layer.requantize, infer(layer, types), value_bits=ACCUMULATOR_BITS))


@macs.register
def _(layer: Attention, inputs: Sequence[TensorType]) -> int:
    tokens, channels = inputs[0].shape
    return 2 * tokens * tokens * channels
