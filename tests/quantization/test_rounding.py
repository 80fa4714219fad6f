"""Grids of weights, biases and scales."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spica.quantization import rounding
from support.networks import SEEDS
from support.profiles import examples


@given(st.floats(1e-9, 1e9), st.integers(1, 8))
def test_scales_become_multipliers_of_full_width(scale, bits):
    multiplier, exponent = rounding.nearest_multiplier(np.float32(scale), bits)
    assert 1 << (bits - 1) <= multiplier < 1 << bits
    assert abs(float(multiplier) * 2.0 ** -float(exponent) / scale - 1) <= 2.0**-bits * 1.001


@given(st.floats(1e-6, 1e3), st.floats(1e-4, 10), st.integers(1, 8))
def test_representable_scales_leave_nothing_to_round(scale, outer, bits):
    scale, outer = np.array([scale], np.float32), np.float32(outer)
    found = rounding.representable(scale, outer, np.array([bits]))
    below, above = (1 - 2.0 ** (1 - bits), 1) if bits == 8 else (1, 1 + 2.0 ** (1 - bits))
    assert below * (1 - 1e-6) <= found[0] / scale[0] <= above * (1 + 1e-6)
    multiplier, exponent = rounding.nearest_multiplier(found * outer, bits)
    np.testing.assert_allclose(multiplier * 2.0 ** -exponent.astype(float), found * np.float64(outer), rtol=1e-6)


@examples(100)
@given(SEEDS, st.sampled_from([1, 2, 4, 8]))
def test_weights_are_rounded_to_the_nearest_integer_in_range(seed, bits):
    kernel = np.random.default_rng(seed).normal(size=(3, 3, 2, 4)).astype(np.float32)
    scale = rounding.weight_scale(kernel, bits)
    integers = rounding.quantize_weights(kernel, bits, scale)
    high = max((1 << (bits - 1)) - 1, 1)
    assert np.abs(integers).max() <= high
    inside = np.abs(kernel / scale) < high
    if bits > 1:
        assert (np.abs(kernel / scale - integers)[inside] <= 0.5 + 1e-5).all()


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=20), st.floats(1e-3, 10))
def test_biases_keep_eight_bits(values, step):
    bias = np.array(values)
    integers = rounding.quantize_bias(bias, np.full(bias.shape, step))
    error = np.abs(integers * step - bias)
    assert (error <= np.maximum(step * 0.51, np.abs(bias) * 2.0**-6)).all()
