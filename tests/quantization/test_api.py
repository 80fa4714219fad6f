"""Quantisation: bit widths, options, samples; and that it keeps what the float network computes."""

from __future__ import annotations

import numpy as np
import pytest

import spica
from support.float_networks import SAMPLES, float_network


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


def test_repairs_bring_four_bits_nearer_to_float():
    net = float_network()
    wanted = net.forward(SAMPLES.astype(np.float32))
    plain = {"equalization": False, "reconstruction": False, "bias_correction": False}
    off, on = (
        signal_to_noise(wanted, spica.quantize(net, SAMPLES, weights=4, activations=4, **options).forward(SAMPLES))
        for options in (plain, {})
    )
    assert on > off + 2


def test_bits_by_layer_are_followed_and_unknown_layers_refused():
    net = float_network()
    qnet = spica.quantize(net, SAMPLES, weights={"point": 2, "first": 4}, activations={"first": 4})
    assert [qnet[n].weight_bits for n in ("first", "depthwise", "point", "dense")] == [4, 8, 2, 8]
    assert qnet.types["first"].bits == 4 and qnet.types["depthwise"].bits == 8
    with pytest.raises(spica.SpicaError, match="no layer 'pointy' once prepared; it has first, depthwise"):
        spica.quantize(net, SAMPLES, weights={"pointy": 4})
    with pytest.raises(spica.SpicaError, match=r"weights\['point'\]=3"):
        spica.quantize(net, SAMPLES, weights={"point": 3})
