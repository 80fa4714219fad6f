"""Two engines, one answer; and bad samples are refused at the door."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spica
from spica.engine.native import Native
from spica.layers import Conv2D, Dequantize, Input
from spica.semantics import primitives
from support.networks import SEEDS, integer_networks
from support.profiles import examples


@examples(400)
@given(integer_networks(), st.integers(1, 3), st.integers(1, 5))
def test_native_engine_gives_the_reference_integers_on_every_tensor(case, threads, batch_size):
    net, x = case
    names = [layer.name for layer in net]
    reference = net.run(x, engine="reference", keep=names, count=True)
    native = net.run(x, threads=threads, batch_size=batch_size, keep=names, count=True)
    for name in names:
        np.testing.assert_array_equal(native.tensors[name], reference.tensors[name], err_msg=name)
    assert native.events == reference.events
    assert native.inputs == reference.inputs


@examples(100)
@given(SEEDS, st.sampled_from([8, 20, 36]), st.booleans())
def test_sums_beyond_32_bits_stay_exact(seed, bits, depthwise):
    random = np.random.default_rng(seed)
    x = random.integers(-(1 << 12), 1 << 12, (2, 5, 6, 3))
    kernel = random.integers(-(1 << bits), 1 << bits, (3, 3, 3) if depthwise else (3, 3, 3, 4))
    bound = (1 << 12) * (1 << bits) * (9 if depthwise else 27)
    window = ((2, 1), ((1, 1), (0, 2)))
    ops, tail = Native(2), () if depthwise else (np.array([1, 0, -3]),)
    name = "convolve_depthwise" if depthwise else "convolve"
    expected = getattr(primitives, name)(x, kernel, *window, *tail, bound)
    np.testing.assert_array_equal(getattr(ops, name)(x, kernel, *window, *tail, bound), expected)


@pytest.mark.parametrize("ops", [Native(1), primitives])
def test_sums_that_no_accumulator_holds_are_refused(ops):
    x, kernel = np.ones((1, 1, 1, 1), np.int64), np.full((1, 1, 1, 1), 1 << 53)
    with pytest.raises(spica.SpicaError, match="beyond what any accumulator holds"):
        ops.convolve(x, kernel, (1, 1), ((0, 0), (0, 0)), np.zeros(1, np.int64), 1 << 53)


def test_reference_convolution_is_the_textbook_sum():
    random = np.random.default_rng(0)
    x, kernel, fill = (
        random.integers(0, 9, (1, 4, 5, 2)),
        random.integers(-3, 4, (3, 2, 2, 3)),
        np.array([7, -1]),
    )
    got = primitives.convolve(x, kernel, (2, 1), ((1, 0), (1, 1)), fill, 10_000)
    expected = np.zeros_like(got)
    for row, column, ky, kx, c, f in np.ndindex(*got.shape[1:3], *kernel.shape):
        y, z = 2 * row - 1 + ky, column - 1 + kx
        inside = 0 <= y < 4 and 0 <= z < 5
        expected[0, row, column, f] += (x[0, y, z, c] if inside else fill[c]) * kernel[ky, kx, c, f]
    np.testing.assert_array_equal(got, expected)


@given(st.integers(-(2**40), 2**40), st.integers(-8, 40))
def test_rounding_shift_is_floor_of_value_plus_a_half(value, shift):
    from fractions import Fraction
    from math import floor

    exact = floor(Fraction(value) / Fraction(2) ** shift + Fraction(1, 2))
    assert primitives.shift_round(np.array([value]), np.array([shift]))[0] == exact


def small_network():
    kernel = np.ones((3, 3, 1, 2), np.int8)
    conv = Conv2D(name="conv", inputs=("input",), kernel=kernel, weight_bits=4, weight_scale=np.ones(2, np.float32))
    layers = (Input(name="input", shape=(5, 5, 1), bits=8), conv, Dequantize(name="output", inputs=("conv",)))
    return spica.Network(layers, ("output",))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (
            np.zeros((2, 5, 4, 1), np.uint8),
            r"samples have shape \(2, 5, 4, 1\), but the network reads \(N, 5, 5, 1\)",
        ),
        (np.zeros((5, 5, 1), np.uint8), "add a batch axis"),
        (np.zeros((0, 5, 5, 1), np.uint8), "there are no samples"),
        (np.zeros((1, 5, 5, 1), np.float32), "convert them with spica.to_input_integers"),
        (np.full((1, 5, 5, 1), 256), "reads 8-bit integers from 0 to 255"),
        (np.full((1, 5, 5, 1), -1), "reads 8-bit integers from 0 to 255"),
        ("digits", "samples have shape"),
        ([[1, 2], [3]], "not an array"),
    ],
)
def test_bad_samples_are_refused_with_what_to_do(x, message):
    with pytest.raises(spica.SpicaError, match=message):
        small_network().forward(x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "quantum"}, "engine 'quantum' is unknown; choose from native, reference"),
        ({"threads": 0}, "threads is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(spica.SpicaError, match=message):
        small_network().forward(np.zeros((1, 5, 5, 1), np.uint8), **options)


def test_integers_of_any_width_are_taken_where_they_fit():
    x = np.arange(25).reshape(1, 5, 5, 1)
    net = small_network()
    np.testing.assert_array_equal(net.forward(x), net.forward(x.astype(np.uint8)))


def test_read_only_samples_are_read():
    x = np.arange(25, dtype=np.uint8).reshape(1, 5, 5, 1)
    expected = small_network().forward(x)
    x.setflags(write=False)
    np.testing.assert_array_equal(small_network().forward(x), expected)


def test_evaluate_checks_labels():
    x = np.zeros((3, 5, 5, 1), np.uint8)
    assert small_network().predict(x).shape == (3, 5, 5)  # a map has a class at each pixel
    with pytest.raises(spica.SpicaError, match=r"labels have shape \(2,\) .* for each of \(3, 5, 5\)"):
        small_network().evaluate(x, [1, 2])
