"""What vision transformers add: tokens, normalisation by mean absolute deviation, attention, and GELU.

Tokens are rows: a tensor of ``T`` tokens of ``C`` channels is ``(T, C)``. All arithmetic is of 32-bit integers, exactly
as docs/arithmetic.md says; no public reference of it exists.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.layers.epilogue import Requantize, output_epilogue, requantized_type, shift_left
from spica.layers.weighted import WeightedLayer
from spica.network.layer import Facts, Layer, Ops, facts, forward_float, forward_integer, infer, record
from spica.network.types import TensorType
from spica.semantics.primitives import NORM_BITS

ACCUMULATOR_BITS = 31
NO_PADDING = ((0, 0), (0, 0))


def _tokens(layer: Layer, inputs: Sequence[TensorType]) -> TensorType:
    """The first input, which must be tokens, in integers with one step."""
    x = inputs[0]
    if len(x.shape) != 2 or not (x.is_float or x.per_tensor):
        raise SpicaError(f"{layer.name}: reads tokens (T, C) of one step, not {x}")
    return x


def _leaves(layer: Layer, out: Requantize | None, x: TensorType, shape: tuple[int, ...]) -> TensorType:
    if x.is_float:
        return TensorType(shape)
    if out is None:
        raise SpicaError(f"{layer.name}: needs an output stage; quantise the network")
    return requantized_type(layer.name, out, shape)


@record
class TokenEmbedding(Layer):
    """A token before all others, and a vector for each place: ``(T, C)`` to ``(T + 1, C)``, or ``(T, C)`` without it.

    Attributes:
        class_token: whether there is the token.
        constants: what is added at each place (float32), the token's own value in the first row; integers on the
            grid of the input shifted left by ``extra_bits``.
        extra_bits: how much finer than the input's that grid is.
        requantize: the output epilogue.
    """

    class_token: bool
    constants: NDArray
    extra_bits: int = 0
    requantize: Requantize | None = None


@infer.register
def _(layer: TokenEmbedding, inputs: Sequence[TensorType]) -> TensorType:
    x = _tokens(layer, inputs)
    shape = (x.shape[0] + layer.class_token, x.shape[1])
    if layer.constants.shape != shape or (layer.constants.dtype.kind == "f") != x.is_float:
        raise SpicaError(f"{layer.name}: its constants {layer.constants.shape} do not fit {shape}, of {x}")
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
    """Each token less its mean, over its deviation, times ``gamma`` plus ``beta``. Float only."""

    gamma: NDArray[np.float32]
    beta: NDArray[np.float32]
    epsilon: float


@infer.register
def _(layer: LayerNormalization, inputs: Sequence[TensorType]) -> TensorType:
    x = _tokens(layer, inputs)
    if not x.is_float or not layer.gamma.shape == layer.beta.shape == (x.channels,):
        raise SpicaError(f"{layer.name}: its {layer.gamma.shape} factors do not fit real numbers, but {x}")
    return x


@forward_float.register
def _(layer: LayerNormalization, inputs: Sequence[NDArray]) -> NDArray:
    x = inputs[0] - inputs[0].mean(axis=-1, keepdims=True)
    deviation = np.sqrt((x * x).mean(axis=-1, keepdims=True) + np.float32(layer.epsilon))
    return x / deviation * layer.gamma + layer.beta


@record
class MadNormalization(WeightedLayer):
    """Each token less its mean, over its mean absolute deviation, times ``kernel`` (C,) plus a bias: integers only."""

    kernel: NDArray[np.int8]
    accumulator_bits: int = ACCUMULATOR_BITS


@weighted.kernel_axes.register
def _(layer: MadNormalization) -> dict[str, int]:
    return {"kernel": -1}


@infer.register
def _(layer: MadNormalization, inputs: Sequence[TensorType]) -> TensorType:
    x = _tokens(layer, inputs)
    weighted.check_kernel(layer, layer.kernel, 1)
    if layer.kernel.shape != (x.channels,) or x.bits is None or x.bits > 16:
        raise SpicaError(
            f"{layer.name}: its {layer.kernel.shape} factors do not fit integers of up to 16 bits, but {x}"
        )
    one = TensorType(x.shape, x.bits, x.signed)
    return weighted.output_type(layer, one, x.shape, np.array(NORM_BITS), weighted.accumulator_scale(layer, one))


@forward_integer.register
def _(layer: MadNormalization, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    (x,), (kind,) = inputs, types
    tokens, channels = kind.shape
    normal = ops.normalise(x).reshape(len(x), 1, tokens, channels)
    bound = (channels << NORM_BITS) * int(np.abs(layer.kernel).max())
    acc = ops.convolve_depthwise(normal, layer.kernel[None, None], (1, 1), NO_PADDING, bound)
    acc = acc.reshape(len(x), tokens, channels)
    return ops.apply_epilogue(acc, weighted.epilogue_of(layer, acc.shape, infer(layer, types)))


@record
class Attention(Layer):
    """Softmax of the products of queries and keys, over tokens, times values; inputs are these three, ``(T, C)``.

    Attributes:
        heads: into how many parts channels are cut.
        multiplier, shift: bring an integer product of a query and a key to powers of two, in 1/256; unused in float.
        requantize: the output epilogue.
    """

    heads: int
    multiplier: int = 0
    shift: int = 0
    requantize: Requantize | None = None


@infer.register
def _(layer: Attention, inputs: Sequence[TensorType]) -> TensorType:
    if len(inputs) != 3:
        raise SpicaError(f"{layer.name}: attention reads queries, keys and values, but is given {len(inputs)} tensors")
    shapes = [_tokens(layer, [x]).shape for x in inputs]
    if len(set(shapes)) > 1 or layer.heads < 1 or shapes[0][1] % layer.heads:
        raise SpicaError(f"{layer.name}: {layer.heads} heads do not fit queries, keys and values of {shapes}")
    if any(x.bits is not None and x.bits > 8 for x in inputs):
        raise SpicaError(f"{layer.name}: queries, keys and values have up to 8 bits")
    return _leaves(layer, layer.requantize, inputs[2], shapes[2])


@forward_float.register
def _(layer: Attention, inputs: Sequence[NDArray]) -> NDArray:
    n, tokens, channels = inputs[0].shape
    q, k, v = (x.reshape(n, tokens, layer.heads, -1).transpose(0, 2, 1, 3) for x in inputs)
    scores = q @ k.swapaxes(-1, -2) / np.float32(np.sqrt(q.shape[-1]))
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = powers / powers.sum(axis=-1, keepdims=True) @ v
    return mixed.transpose(0, 2, 1, 3).reshape(n, tokens, channels)


@forward_integer.register
def _(layer: Attention, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    q, k, v = inputs
    acc = ops.attend(q, k, v, layer.heads, layer.multiplier, layer.shift)
    return ops.apply_epilogue(acc, output_epilogue(layer.requantize, infer(layer, types), value_bits=ACCUMULATOR_BITS))


def _limits(inputs: Sequence[TensorType], output: TensorType) -> dict:
    """The quantities of a layer on tokens that device rules bound; tokens are rows."""
    x = inputs[0]
    return {
        "input_height": x.shape[0],
        "input_channels": x.channels,
        "input_bits": x.bits,
        "input_signed": x.signed,
        "output_bits": output.bits,
    }


@facts.register
def _(layer: TokenEmbedding, inputs: Sequence[TensorType], output: TensorType) -> Facts:
    return Facts(kind="token_embedding", limits=_limits(inputs, output), outputs=output.shape[0] * output.channels)


@facts.register
def _(layer: MadNormalization, inputs: Sequence[TensorType], output: TensorType) -> Facts:
    values = output.shape[0] * output.channels
    limits = _limits(inputs, output) | {"weight_bits": layer.weight_bits}
    return Facts(
        kind="normalization",
        limits=limits,
        macs=values,
        outputs=values,
        fan_out=1,
        shared_weight_bits=output.channels * (layer.weight_bits or 32),
    )


@facts.register
def _(layer: Attention, inputs: Sequence[TensorType], output: TensorType) -> Facts:
    tokens, channels = output.shape
    return Facts(
        kind="attention",
        limits=_limits(inputs, output),
        macs=2 * tokens * tokens * channels,
        outputs=tokens * (channels + layer.heads * tokens),
        filters=channels,
        group_step=channels // layer.heads,
    )


@record
class Gelu(Layer):
    """``x`` times the share of a normal distribution below it. Float only; quantised, it is a table (``LookUp``)."""


@infer.register
def _(layer: Gelu, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    if not x.is_float:
        raise SpicaError(f"{layer.name}: a GELU of integers is a table; quantise the network")
    return x


@forward_float.register
def _(layer: Gelu, inputs: Sequence[NDArray]) -> NDArray:
    return gelu(inputs[0])


def gelu(x: NDArray) -> NDArray:
    """GELU to 2e-7 (error function after Abramowitz and Stegun, 7.1.26)."""
    z = np.abs(x) / np.sqrt(2)
    t = 1 / (1 + 0.3275911 * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    half = series * np.exp(-z * z) / 2
    return (x * np.where(x >= 0, 1 - half, half)).astype(np.float32)
