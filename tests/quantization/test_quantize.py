"""Quantisation: grids, bit widths, options; and that it keeps what the float network computes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import spica
from spica.layers import DepthwiseConv2D
from spica.quantization import rounding
from spica.quantization.equalize import equalize
from spica.quantization.gptq import round_weights, second_moments
from spica.quantization.observers import Histogram
from support.float_networks import SAMPLES, float_network
from support.networks import SEEDS


def signal_to_noise(wanted, got):
    return 10 * np.log10(np.mean(wanted**2) / np.mean((wanted - got) ** 2))


@pytest.mark.parametrize(("bits", "least"), [(8, 25), (4, 8)])
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_integer_network_stays_near_the_float_one(bits, least, per_channel):
    net = float_network()
    real = (SAMPLES / 255).astype(np.float32)
    qnet = spica.quantize(net, real, weights=bits, activations=bits, per_channel_activations=per_channel)
    got = qnet.forward(spica.to_input_integers(qnet, real))
    assert signal_to_noise(net.forward(real), got) > least


@pytest.mark.parametrize("weights", [1, 2, 4, 8])
@pytest.mark.parametrize("activations", [1, 2, 4, 8])
def test_every_width_gives_integers_of_that_width_on_both_engines(weights, activations):
    qnet = spica.quantize(float_network(), SAMPLES, weights=weights, activations=activations)
    assert qnet["dense"].weight_bits == weights
    assert qnet["first"].weight_bits == 8
    assert qnet.types["separable"].bits == activations
    assert qnet.types["separable"].signed == (activations == 8)
    assert qnet.types["point"].signed
    np.testing.assert_array_equal(qnet.forward(SAMPLES), qnet.forward(SAMPLES, engine="reference"))


def test_integer_samples_are_read_as_they_are():
    qnet = spica.quantize(float_network(), SAMPLES)
    assert str(qnet.types["image"]) == "uint8[12x12x2]"
    assert qnet.types["image"].scale == 1
    signed = spica.quantize(float_network(), (SAMPLES.astype(int) - 128).astype(np.int8))
    assert str(signed.types["image"]) == "int8[12x12x2]"


def test_real_samples_get_a_scale_that_holds_them():
    real = np.random.default_rng(0).normal(size=(32, 12, 12, 2)).astype(np.float32)
    qnet = spica.quantize(float_network(), real)
    integers = spica.to_input_integers(qnet, real)
    assert integers.dtype == np.int8
    assert np.abs(integers.astype(int)).max() == 127
    np.testing.assert_allclose(integers * qnet.types["image"].scale, real, atol=qnet.types["image"].scale)


@pytest.mark.parametrize("ranges", ["mse", "max", "percentile"])
def test_every_range_rule_works(ranges):
    net = float_network()
    qnet = spica.quantize(net, SAMPLES, ranges=ranges, bias_correction=False)
    assert signal_to_noise(net.forward(SAMPLES), qnet.forward(SAMPLES)) > 15


def test_bias_correction_brings_means_closer():
    net = float_network()
    wanted = net.forward(SAMPLES).mean(axis=0)
    plain, corrected = (
        spica.quantize(net, SAMPLES, weights=2, activations=4, bias_correction=c) for c in (False, True)
    )
    errors = [np.abs(q.forward(SAMPLES).mean(axis=0) - wanted).max() for q in (plain, corrected)]
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize(
    ("samples", "options", "message"),
    [
        (SAMPLES, {"weights": 3}, "weights=3: choose from 1, 2, 4, 8 bits"),
        (SAMPLES, {"activations": 16}, "activations=16"),
        (SAMPLES, {"first_layer_weights": "8"}, "first_layer_weights='8'"),
        (SAMPLES, {"ranges": "best"}, "ranges='best': choose 'mse'"),
        (SAMPLES[:0], {}, "there are no samples"),
        (SAMPLES[:, :5], {}, "samples have shape"),
        (np.full((1, 12, 12, 2), np.nan), {}, "NaN or infinity"),
    ],
)
def test_bad_options_and_samples_are_refused(samples, options, message):
    with pytest.raises(spica.SpicaError, match=message):
        spica.quantize(float_network(), samples, **options)


def test_a_quantised_network_is_not_quantised_again():
    qnet = spica.quantize(float_network(), SAMPLES)
    with pytest.raises(spica.SpicaError, match="already quantised"):
        spica.quantize(qnet, SAMPLES)


def test_constant_zero_samples_do_no_harm():
    qnet = spica.quantize(float_network(), np.zeros((4, 12, 12, 2), np.float32))
    assert np.isfinite(qnet.forward(np.zeros((1, 12, 12, 2), np.uint8))).all()


@given(st.floats(1e-9, 1e9), st.integers(1, 8))
def test_scales_become_multipliers_of_full_width(scale, bits):
    multiplier, exponent = rounding.quantize_scale(np.float32(scale), bits)
    assert 1 << (bits - 1) <= multiplier < 1 << bits
    assert abs(float(multiplier) * 2.0 ** -float(exponent) / scale - 1) <= 2.0**-bits * 1.001


@given(st.floats(1e-6, 1e3), st.floats(1e-4, 10), st.integers(1, 8))
def test_representable_scales_leave_nothing_to_round(scale, outer, bits):
    scale, outer = np.array([scale], np.float32), np.float32(outer)
    found = rounding.representable(scale, outer, np.array([bits]))
    below, above = (1 - 2.0 ** (1 - bits), 1) if bits == 8 else (1, 1 + 2.0 ** (1 - bits))
    assert below * (1 - 1e-6) <= found[0] / scale[0] <= above * (1 + 1e-6)
    multiplier, exponent = rounding.quantize_scale(found * outer, bits)
    np.testing.assert_allclose(multiplier * 2.0 ** -exponent.astype(float), found * np.float64(outer), rtol=1e-6)


@settings(deadline=None)
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


def test_an_input_that_leaves_bits_unused_is_warned_of_and_real_samples_use_them():
    dim = SAMPLES // 16
    with pytest.warns(UserWarning, match=r"image: the samples reach only 15 of 255.*astype\('float32'\)"):
        coarse = spica.quantize(float_network(), dim)
    fine = spica.quantize(float_network(), dim.astype(np.float32))
    assert spica.to_input_integers(fine, dim).max() == 255
    wanted = float_network().forward(dim.astype(np.float32))
    assert coarse.types["image"].scale == 1 and fine.types["image"].scale == np.float32(15 / 255)
    assert signal_to_noise(wanted, fine.forward(spica.to_input_integers(fine, dim))) > 20
    dark = np.zeros_like(SAMPLES)
    dark[:, 0, 0] = 255
    spica.quantize(float_network(), dark)  # a dark picture with one bright spot is no reason to warn


@pytest.mark.parametrize("ranges", ["mse", "max", "percentile", "average", "entropy"])
def test_every_way_to_choose_ranges_keeps_the_network(ranges):
    net = float_network()
    qnet = spica.quantize(net, SAMPLES, ranges=ranges)
    assert signal_to_noise(net.forward(SAMPLES.astype(np.float32)), qnet.forward(SAMPLES)) > 20


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


def test_repairs_bring_four_bits_nearer_to_float():
    net = float_network()
    wanted = net.forward(SAMPLES.astype(np.float32))
    plain = {"equalization": False, "reconstruction": False, "bias_correction": False}
    off, on = (
        signal_to_noise(wanted, spica.quantize(net, SAMPLES, weights=4, activations=4, **options).forward(SAMPLES))
        for options in (plain, {})
    )
    assert on > off + 2


@settings(max_examples=30, deadline=None)
@given(SEEDS, st.sampled_from([0, 1, 3, 7]), st.integers(1, 12), st.integers(1, 5))
def test_reconstruction_rounds_to_the_nearest_where_inputs_are_independent(seed, high, inputs, filters):
    random = np.random.default_rng(seed)
    kernel, scale = random.uniform(-1, 1, (inputs, filters)), random.uniform(0.1, 1, filters)
    moments = np.diag(random.uniform(0.1, 5, inputs))
    nearest = np.clip(np.rint(kernel / scale), -high, high) if high else np.where(kernel >= 0, 1, -1)
    np.testing.assert_array_equal(round_weights(kernel, scale, high, moments), nearest)


def test_reconstruction_is_better_on_average():
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


def test_depthwise_moments_are_of_each_channel_alone():
    random = np.random.default_rng(0)
    x = random.normal(size=(4, 6, 5, 3)).astype(np.float32)
    layer = DepthwiseConv2D(name="d", inputs=("x",), kernel=np.ones((3, 3, 3), np.float32), padding="valid")
    moments = second_moments(layer, x)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2)).reshape(-1, 3, 9)
    np.testing.assert_allclose(moments, np.einsum("pci,pcj->cij", windows, windows) / len(windows), rtol=1e-5)


def test_bits_by_layer_are_followed_and_unknown_layers_refused():
    net = float_network()
    qnet = spica.quantize(net, SAMPLES, weights={"point": 2, "first": 4}, activations={"first": 4})
    assert [qnet[n].weight_bits for n in ("first", "depthwise", "point", "dense")] == [4, 8, 2, 8]
    assert qnet.types["first"].bits == 4 and qnet.types["depthwise"].bits == 8
    with pytest.raises(spica.SpicaError, match="no layer 'pointy' once prepared; it has first, depthwise"):
        spica.quantize(net, SAMPLES, weights={"pointy": 4})
    with pytest.raises(spica.SpicaError, match=r"weights\['point'\]=3"):
        spica.quantize(net, SAMPLES, weights={"point": 3})


def test_equalization_changes_nothing_in_the_float_network():
    net = float_network()
    random = np.random.default_rng(0)
    reach = {
        r.name: random.uniform(0.01, 5, net.types[r.name].channels)
        for r in net
        if len(net.types[r.name].shape) == 3 and r.inputs
    }
    equal, gains = equalize(net, reach)
    assert "first" not in gains and gains  # a sum reads it, which cannot take a factor back
    x = SAMPLES.astype(np.float32)
    np.testing.assert_allclose(equal.forward(x), net.forward(x), rtol=1e-3, atol=1e-3)
