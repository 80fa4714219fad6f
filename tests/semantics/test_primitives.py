"""The primitives against loops over Python's integers, which nothing can overflow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica.errors import SpicaError
from spica.layers import Requantize
from spica.layers.epilogue import requantized_type, shift_left
from spica.semantics import primitives
from spica.semantics.primitives import Epilogue
from spica.semantics.reference import Reference
from support.networks import SEEDS
from support.profiles import examples


def attended(q, k, v, heads: int, multiplier: int, shift: int) -> list[list[int]]:
    """One sample of ``attend``, number by number, as docs/explanation/arithmetic.md says."""
    tokens, channels = q.shape
    size = channels // heads
    made = [[0] * channels for _ in range(tokens)]
    for head in range(heads):
        part = range(head * size, (head + 1) * size)
        for i in range(tokens):
            scores = [(sum(int(q[i, c]) * int(k[j, c]) for c in part) * multiplier) >> shift for j in range(tokens)]
            powers = []
            for score in scores:
                below = min(max(scores) - score, 20 * 256)
                powers.append(((512 - below % 256) * 64) >> (below // 256))
            shares = [(2 * power * 1024 + sum(powers)) // (2 * sum(powers)) for power in powers]
            for c in part:
                made[i][c] = sum(share * int(v[j, c]) for j, share in enumerate(shares))
    return made


@examples(30)
@given(SEEDS, st.integers(1, 5), st.sampled_from([1, 2]), st.integers(0, 4000), st.integers(0, 12))
def test_attention_is_what_the_page_of_arithmetic_says(seed, tokens, heads, multiplier, shift):
    q, k, v = np.random.default_rng(seed).integers(-128, 128, (3, 1, tokens, 4))
    got = primitives.attend(q, k, v, heads, multiplier, shift)
    assert got[0].tolist() == attended(q[0], k[0], v[0], heads, multiplier, shift)


@examples(100)
@given(st.integers(-(1 << 40), 1 << 40), st.integers(-30, 62))
def test_a_rounded_shift_is_that_of_whole_numbers(value, shift):
    value = value if shift >= 0 else value % 1000
    (got,) = primitives.shift_round(np.array([value]), np.array(shift))
    assert got == ((value + (1 << shift >> 1)) >> shift if shift >= 0 else value << -shift)


@examples(100)
@given(SEEDS, st.integers(1, 46), st.integers(1, 16), st.integers(0, 62), st.integers(1, 62), st.integers(1, 32))
def test_an_output_stage_is_that_of_whole_numbers(seed, value_bits, multiplier_bits, shift, buffer_bits, bits):
    r = np.random.default_rng(seed)
    value, multiplier = int(r.integers(-(1 << 46), 1 << 46)), int(r.integers(0, 1 << multiplier_bits))
    high = (1 << bits) - 1
    stage = Epilogue(
        value_bits=value_bits,
        multiplier=np.array(multiplier),
        shift=np.array(shift),
        buffer_bits=buffer_bits,
        low=0,
        high=high,
    )
    want = max(min(value, (1 << value_bits) - 1), -(1 << value_bits))
    want = max(min(want * multiplier, (1 << buffer_bits) - 1), -(1 << buffer_bits))
    want = max(min((want + (1 << shift >> 1)) >> shift, high), 0)
    assert primitives.apply_epilogue(np.array([[value]]), stage).item() == want


@examples(50)
@given(st.integers(-(1 << 31), (1 << 31) - 1), st.integers(0, 30), st.integers(4, 31))
def test_a_left_shift_saturates_at_both_ends(value, shift, bits):
    got = shift_left(np.array([[value]]), np.array(shift), bits, Reference())
    assert got.item() == max(min(value << shift, (1 << bits) - 1), -(1 << bits))


def test_left_shifts_leave_the_buffer_less_room():
    def stage(shift: int, buffer_bits: int) -> Requantize:
        return Requantize(
            multiplier=np.array(1),
            shift=np.array(shift),
            bits=8,
            signed=True,
            frac_bits=np.array(0),
            buffer_bits=buffer_bits,
        )

    for shift, most in ((0, 62), (3, 62), (-5, 57), (-30, 32)):
        assert requantized_type("layer", stage(shift, most), (3,)).bits == 8
        if most < 62:
            with pytest.raises(SpicaError, match=f"buffer_bits is {most + 1}, but with these shifts at most {most}"):
                requantized_type("layer", stage(shift, most + 1), (3,))
