"""Quantisation: bit widths, options, samples; and that it keeps what the float network computes."""

from __future__ import annotations

import numpy as np
import pytest

import spica
from spica.layers import Conv2D, Dense, Flatten, Input, ReLU, Scale
from spica.network import Network
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
        (SAMPLES, {"ranges": "best"}, "ranges 'best' is unknown; choose from mse"),
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


def test_sums_have_room_on_the_samples_and_it_is_said():
    r = np.random.default_rng(0)
    kernel = r.uniform(0.5, 1, (10_000, 4)).astype(np.float32)
    dense = Dense(name="wide", inputs=("x",), kernel=kernel, bias=np.zeros(4, np.float32))
    net = Network((Input(name="x", shape=(10_000,)), dense), ("wide",))
    x = r.integers(150, 256, (32, 10_000)).astype(np.uint8)
    with pytest.warns(UserWarning, match=r"wide: .* sums of 4 of 4 filters pass its 27-bit"):
        quantized = spica.quantize(net, x)
    real, integers = net.forward(x.astype(np.float32)), quantized.forward(x)
    assert abs(integers - real).max() < 1e-3 * real.max()


def test_a_bias_too_large_to_round_is_said_and_the_advice_works():
    r = np.random.default_rng(0)
    x = (30_000 + r.normal(0, 100, (128, 16))).round().astype(np.int16)

    def errors(offset: float, samples: np.ndarray) -> float:
        scale = Scale(
            name="s", inputs=("x",), scale=np.full(16, 0.01, np.float32), offset=np.full(16, -offset / 100, np.float32)
        )
        first, last = (r.normal(size=shape).astype(np.float32) for shape in ((16, 8), (8, 3)))
        layers = (
            Input(name="x", shape=(16,)), scale,
            Dense(name="a", inputs=("s",), kernel=first, bias=np.zeros(8, np.float32), activation=ReLU()),
            Dense(name="b", inputs=("a",), kernel=last, bias=np.zeros(3, np.float32)),
        )  # fmt: skip
        net = Network(layers, ("b",))
        got = spica.quantize(net, samples).forward(samples)
        return float(abs(got - net.forward(samples.astype(np.float32))).mean())

    with pytest.warns(UserWarning, match=r"a: its bias is so large .* take the offset off the samples"):
        before = errors(30_000, x)
    assert errors(0, (x - 30_000).astype(np.int16)) < before / 10


def test_samples_that_were_divided_before_are_said():
    scale = Scale(name="s", inputs=("x",), scale=np.full(3, 1 / 255, np.float32), offset=np.zeros(3, np.float32))
    dense = Dense(name="d", inputs=("s",), kernel=np.ones((3, 2), np.float32), bias=np.zeros(2, np.float32))
    net = Network((Input(name="x", shape=(3,)), scale, dense), ("d",))
    with pytest.warns(UserWarning, match="s: the network multiplies its samples by 0.0039, but none is above 1"):
        spica.quantize(net, np.ones((4, 3), np.float32))


def test_bits_by_name_have_a_default_and_follow_what_only_moves():
    net = float_network()
    qnet = spica.quantize(net, SAMPLES, weights={"*": 4, "dense": 2}, activations={"*": 4})
    assert qnet["point"].weight_bits == 4 and qnet["dense"].weight_bits == 2 and qnet["first"].weight_bits == 8
    assert qnet.types["first"].bits == 4
    with pytest.raises(spica.SpicaError, match="activations: 'dense' has none to be quantised"):
        spica.quantize(net, SAMPLES, activations={"dense": 1})
    flat = (
        Input(name="x", shape=(2, 2, 1)),
        Conv2D(name="c", inputs=("x",), kernel=np.ones((1, 1, 1, 2), np.float32), activation=ReLU()),
        Flatten(name="flatten", inputs=("c",)),
        Dense(name="d", inputs=("flatten",), kernel=np.ones((8, 2), np.float32)),
    )
    x = np.random.default_rng(0).integers(0, 256, (8, 2, 2, 1)).astype(np.uint8)
    assert spica.quantize(Network(flat, ("d",)), x, activations={"flatten": 1}).types["flatten"].bits == 1


def offset_before_padding(offset: float) -> Network:
    """A convolution that pads what is left of its samples with zeros, once ``offset`` has been taken off."""
    kernel = np.random.default_rng(3).normal(size=(3, 3, 2, 4)).astype(np.float32)
    ones = np.ones(2, np.float32)
    layers = (
        Input(name="x", shape=(8, 8, 2)),
        Scale(name="less", inputs=("x",), scale=ones, offset=-offset * ones),
        Conv2D(name="conv", inputs=("less",), kernel=kernel, padding="same"),
    )
    return Network(layers, ("conv",))


@pytest.mark.parametrize("offset", [2.0, -3.0])
def test_the_scale_of_real_samples_holds_what_pads_them(offset):
    x = np.random.default_rng(0).uniform(-1, 1, (32, 8, 8, 2)).astype(np.float32)
    net = offset_before_padding(offset)
    qnet = spica.quantize(net, x)
    assert signal_to_noise(net.forward(x), qnet.forward(spica.to_input_integers(qnet, x))) > 35


def test_padding_that_integer_samples_cannot_hold_is_refused_with_advice_that_works():
    x = np.random.default_rng(0).integers(-100, 100, (8, 8, 8, 2))
    net = offset_before_padding(200.0)
    with pytest.raises(spica.SpicaError, match=r"conv: pads with 200, .* of int8.* give samples as float32"):
        spica.quantize(net, x.astype(np.int8))
    spica.quantize(net, x.astype(np.float32))
