"""Rounding weights by second moments."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spica.quantization.gptq import round_weights
from support.networks import SEEDS
from support.profiles import examples


@examples(30)
@given(SEEDS, st.sampled_from([0, 1, 3, 7]), st.integers(1, 12), st.integers(1, 5))
def test_gptq_rounds_to_the_nearest_where_inputs_are_independent(seed, high, inputs, filters):
    random = np.random.default_rng(seed)
    kernel, scale = random.uniform(-1, 1, (inputs, filters)), random.uniform(0.1, 1, filters)
    moments = np.diag(random.uniform(0.1, 5, inputs))
    nearest = np.clip(np.rint(kernel / scale), -high, high) if high else np.where(kernel >= 0, 1, -1)
    np.testing.assert_array_equal(round_weights(kernel, scale, high, moments), nearest)


def test_gptq_is_better_on_average():
    random = np.random.default_rng(0)
    ratios = []
    for _ in range(50):
        x = np.maximum(random.normal(size=(500, 20)) @ random.normal(size=(20, 20)), 0)
        kernel, scale, moments = random.uniform(-1, 1, (20, 8)), np.full(8, 1 / 7), x.T @ x / len(x)
        errors = [
            float((((kernel - k * scale).T @ moments) * (kernel - k * scale).T).sum())
            for k in (np.rint(kernel / scale), round_weights(kernel, scale, 7, moments))
        ]
        ratios.append(errors[1] / errors[0])
    assert np.mean(ratios) < 0.75
