"""Rounding weights by second moments."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import spica
from spica.layers import Dense, Input
from spica.network import Network
from spica.quantization.gptq import BLOCK, round_weights
from support.networks import SEEDS
from support.profiles import examples


@examples(30)
@given(SEEDS, st.sampled_from([0, 1, 3, 7]), st.integers(1, 12), st.integers(1, 5))
def test_gptq_rounds_to_the_nearest_where_inputs_are_independent(seed, high, inputs, filters):
    random = np.random.default_rng(seed)
    kernel, scale = random.uniform(-1, 1, (inputs, filters)), random.uniform(0.1, 1, filters)
    read = np.diag(random.uniform(0.3, 2, inputs)).astype(np.float32)
    nearest = np.clip(np.rint(kernel / scale), -high, high) if high else np.where(kernel >= 0, 1, -1)
    np.testing.assert_array_equal(round_weights(kernel, scale, high, read), nearest)


def test_gptq_is_better_on_average():
    random = np.random.default_rng(0)
    ratios = []
    for _ in range(50):
        x = np.maximum(random.normal(size=(500, 20)) @ random.normal(size=(20, 20)), 0).astype(np.float32)
        kernel, scale, moments = random.uniform(-1, 1, (20, 8)), np.full(8, 1 / 7), x.T @ x / len(x)
        errors = [
            float((((kernel - k * scale).T @ moments) * (kernel - k * scale).T).sum())
            for k in (np.rint(kernel / scale), round_weights(kernel, scale, 7, x))
        ]
        ratios.append(errors[1] / errors[0])
    assert np.mean(ratios) < 0.75


def test_wide_filters_are_rounded_block_by_block():
    random = np.random.default_rng(1)
    x = np.repeat(random.normal(size=(64, BLOCK)), 2, axis=1).astype(np.float32)  # fewer samples than weights
    kernel, scale = random.uniform(-1, 1, (2 * BLOCK, 4)), np.full(4, 1 / 7)
    rounded = round_weights(kernel, scale, 7, x)
    halves = [round_weights(k, scale, 7, r) for k, r in zip(np.split(kernel, 2), np.split(x, 2, axis=1), strict=True)]
    np.testing.assert_array_equal(rounded, np.concatenate(halves))
    errors = [np.square(x @ (kernel - k * scale)).mean() for k in (np.rint(kernel / scale), rounded)]
    assert errors[1] < errors[0] / 4


def test_weights_are_repaired_only_where_it_helps():
    """Samples held back that say the opposite of the others: each filter keeps what is better on these."""
    random = np.random.default_rng(2)
    kernel = random.uniform(-1, 1, (16, 8)).astype(np.float32)
    net = Network([Input(name="x", shape=(16,)), Dense(name="d", inputs=("x",), kernel=kernel)], ("d",))
    x = np.abs(random.normal(size=(240, 16))).astype(np.float32)
    x[:180] = x[:180, :1]  # where all inputs agree, their errors make up for each other; where they do not, they add
    options = {"weights": 2, "first_layer_weights": 2, "activations": 8}
    error = {}
    for repaired in (True, False):
        qnet = spica.quantize(net, x, **options, reconstruction=repaired, bias_correction=False)
        got = qnet.forward(spica.to_input_integers(qnet, x[180:]))
        error[repaired] = np.square(got - net.forward(x[180:])).mean(axis=0)
    assert (error[True] <= error[False]).all()
