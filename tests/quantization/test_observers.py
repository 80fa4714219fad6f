"""Histograms, and the ranges chosen from them."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spica.quantization.observers import Histogram


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=50), st.integers(1, 4))
def test_histograms_do_not_depend_on_how_values_arrive(values, parts):
    whole, pieces = Histogram(None), Histogram(None)
    array = np.array(values, np.float32)[:, None]
    whole.update(array)
    for part in np.array_split(array, parts):
        if len(part):
            pieces.update(part)
    np.testing.assert_array_equal(whole.counts, pieces.counts)
    assert whole.step(15, "max") == pieces.step(15, "max") == np.abs(array).max() / np.float64(15)


def test_ranges_see_an_outlier_each_in_its_way():
    random = np.random.default_rng(0)
    histogram = Histogram(None)
    for i in range(20):
        values = random.normal(0, 1, (1000, 1)).astype(np.float32)
        values[0] = 30 if i == 3 else 3
        histogram.update(values)
    tops = {m: 15 * float(histogram.step(15, m)[0]) for m in ("max", "average", "percentile", "mse", "entropy")}
    assert tops["max"] == 30
    assert 3 < tops["average"] < 12
    assert tops["percentile"] < 5 and tops["mse"] < 6 and tops["entropy"] < 6


def test_zeros_of_a_rectifier_do_not_decide_entropy_ranges():
    r = np.random.default_rng(0)
    values = np.maximum(r.normal(size=(1, 20_000)), 0).astype(np.float32)
    values[:, ::2] = 0
    histogram = Histogram(None)
    histogram.update(values[..., None])
    for levels in (15, 255):
        assert histogram.step(levels, "entropy")[0] * levels > 0.5 * values.max()
