"""Limits of the arithmetic that programs are made for: 32-bit values, weights of two bytes, exact accumulators."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from spica.program.ir import Accumulate, Attention, Conv, Normalize, SumPixels, Tensor
from spica.semantics.primitives import EXACT_FLOAT64, NORM_BITS

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
TWO_BYTES = (-32640, 32639)
"""Range of weights that split into two signed bytes."""

MOST_PRODUCTS = INT32_MAX // (255 * 128)
"""Products of bytes whose sum fits 32 bits, whatever they are."""

EXACT_FLOAT32 = 1 << 24
MOST_TOKENS, LARGEST_HEAD = 1 << 15, 1024
"""Tokens and channels of a head that attention has room for."""


@singledispatch
def excess(step: Accumulate, inputs: Sequence[Tensor]) -> str | None:
    """Return which limit a step is beyond, given the tensors that it reads; ``None`` where it keeps all."""
    low, high = step.sums
    return None if low >= INT32_MIN and high <= INT32_MAX else f"accumulators {low} to {high} are beyond 32 bits"


@excess.register
def _(step: SumPixels, inputs: Sequence[Tensor]) -> str | None:
    return _not_exact(step)


@excess.register
def _(step: Conv, inputs: Sequence[Tensor]) -> str | None:
    low, high = step.sums
    if low >= INT32_MIN and high <= INT32_MAX:
        return None
    # Beyond 32 bits, bytes are summed plane by plane and put together in 64.
    products = step.kernel.shape[0] * step.kernel.shape[1] * step.kernel.shape[2]
    return f"{products} products of planes are beyond 32 bits" if products > MOST_PRODUCTS else _not_exact(step)


@excess.register
def _(step: Normalize, inputs: Sequence[Tensor]) -> str | None:
    (x,) = inputs
    channels = x.shape[2]
    fits = (x.high - x.low) * channels * max(channels, 1 << NORM_BITS) <= INT32_MAX
    return None if fits else f"a normalisation of {channels} channels of {x.bits} bits is beyond 32 bits"


@excess.register
def _(step: Attention, inputs: Sequence[Tensor]) -> str | None:
    q, k, _ = inputs
    _, tokens, channels = q.shape
    score = max(-q.low, q.high) * max(-k.low, k.high) * (channels // step.heads)
    exact = max(score, step.sums[1]) < EXACT_FLOAT32 and 2 * score * step.multiplier <= INT32_MAX
    fits = exact and tokens <= MOST_TOKENS and 0 <= step.shift < 32 and channels // step.heads <= LARGEST_HEAD
    return None if fits else f"attention over {tokens} tokens of {q.bits} bits is beyond 32 bits"


def _not_exact(step: Accumulate) -> str | None:
    low, high = step.sums
    return None if max(-low, high) < EXACT_FLOAT64 else f"accumulators {low} to {high} are beyond 53 bits"
