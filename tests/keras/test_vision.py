"""Vision transformers: attention, normalisation, tokens and GELU in integers, from Keras to exact fine-tuning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spica
from spica import SpicaError
from spica.hardware import load_device
from spica.layers import (
    Attention,
    Input,
    LayerNormalization,
    LookUp,
    MadNormalization,
    Requantize,
    TableActivation,
    TokenEmbedding,
)
from spica.layers.functions import gelu
from spica.network.layer import forward_float
from spica.semantics import primitives
from support.networks import SEEDS
from support.profiles import examples

IMAGES = np.random.default_rng(0).integers(0, 256, (48, 16, 16, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def model(keras):
    from spica.zoo.builders.vit import build_vit

    keras.utils.set_random_seed(0)
    made = build_vit(size=16, patch=4, width=16, depth=2, heads=2, classes=3)
    random = np.random.default_rng(1)
    for variable in made.trainable_variables:  # off their start, or offsets would be zero and scores alike
        noise = random.normal(0, 0.15, variable.shape)
        variable.assign(keras.ops.convert_to_numpy(variable) + noise.astype(np.float32))
    return made


@pytest.fixture(scope="module")
def net(model):
    return spica.from_keras(model)


@pytest.fixture(scope="module")
def quantized(net):
    return spica.quantize(net, IMAGES)


def test_a_transformer_is_taken_from_keras(model, net, tmp_path):
    np.testing.assert_allclose(net.forward(IMAGES), model.predict(IMAGES, verbose=0), atol=2e-5)
    net.save(tmp_path / "vit.spica")
    np.testing.assert_array_equal(spica.load(tmp_path / "vit.spica").forward(IMAGES), net.forward(IMAGES))
    kinds = {type(layer) for layer in net}
    assert {TokenEmbedding, LayerNormalization, Attention, TableActivation} <= kinds


def test_quantised_it_gives_the_same_on_every_path(net, quantized, tmp_path):
    wanted, got = net.forward(IMAGES), quantized.forward(IMAGES)
    assert 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum()) > 15
    kinds = {type(layer) for layer in quantized}
    assert {TokenEmbedding, MadNormalization, Attention, LookUp} <= kinds
    for options in ({"engine": "reference"}, {"batch_size": 5}, {"threads": 1}):
        np.testing.assert_array_equal(quantized.forward(IMAGES, **options), got)
    quantized.save(tmp_path / "vit.spica")
    np.testing.assert_array_equal(spica.load(tmp_path / "vit.spica").forward(IMAGES), got)


def test_fine_tuning_is_exact_and_learns(net, quantized, keras):
    labels = (IMAGES[:, :8, :, 0].mean(axis=(1, 2)) > IMAGES[:, 8:, :, 0].mean(axis=(1, 2))).astype(int)
    model = spica.trainable(quantized, net)
    np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), quantized.forward(IMAGES))
    smooth = keras.ops.convert_to_numpy(model(IMAGES[:8], training=True))
    assert np.corrcoef(smooth.ravel(), quantized.forward(IMAGES[:8]).ravel())[0, 1] > 0.97
    model.compile(keras.optimizers.Adam(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    losses = model.fit(IMAGES, labels, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    learned = spica.convert(model)
    np.testing.assert_array_equal(model.predict(IMAGES, verbose=0), learned.forward(IMAGES, engine="reference"))
    before, after = quantized["norm_1a"], learned["norm_1a"]
    assert (before.kernel != after.kernel).any() or (before.bias != after.bias).any()


@examples(40)
@given(SEEDS, st.integers(1, 70), st.sampled_from([1, 2, 4]), st.sampled_from([4, 16, 64]))
def test_attention_in_integers_is_a_softmax(seed, tokens, heads, width):
    random = np.random.default_rng(seed)
    q, k, v = random.integers(-128, 128, (3, 2, tokens, heads * width)).astype(np.int8)
    step = random.uniform(0.2, 4) / (128 * np.sqrt(width))  # of a score, so that softmaxes are flat and sharp
    multiplier, shift = int(np.rint(step / np.sqrt(width) * np.log2(np.e) * 2**28)), 20
    got = primitives.attend(q, k, v, heads, multiplier, shift) / 1024
    layer = Attention(name="a", inputs=("q", "k", "v"), heads=heads)
    wanted = forward_float(layer, [a.astype(np.float32) * s for a, s in ((q, step), (k, 1), (v, 1))])
    assert np.abs(got - wanted).max() < 128 * (0.1 + tokens / 2048)


@examples(40)
@given(SEEDS, st.integers(8, 200), st.sampled_from([30, 128]))
def test_normalisation_in_integers_is_by_the_mean_absolute_deviation(seed, channels, reach):
    x = np.random.default_rng(seed).integers(-reach, reach, (2, 5, channels))
    centred = x - x.mean(axis=-1, keepdims=True)
    deviation = np.maximum(np.abs(centred).mean(axis=-1, keepdims=True), 1 / channels)
    np.testing.assert_allclose(primitives.normalise(x) / 256, centred / deviation, rtol=0.05, atol=0.06)


def test_equal_values_are_normalised_to_zero():
    assert not primitives.normalise(np.full((1, 2, 8), -7)).any()


def test_gelu_is_that_of_the_error_function():
    from math import erf

    x = np.linspace(-6, 6, 401)
    np.testing.assert_allclose(gelu(x), [v * (1 + erf(v / np.sqrt(2))) / 2 for v in x], atol=1e-6)


def test_what_attention_cannot_read_is_refused():
    stage = Requantize(multiplier=np.array(1), shift=np.array(0), bits=8, signed=True, frac_bits=np.array(0))
    source = Input(name="x", shape=(4, 6), bits=8, signed=True)
    good = Attention(name="mix", inputs=("x",) * 3, heads=2, multiplier=1, shift=4, requantize=stage)
    assert spica.Network((source, good), ("mix",)).types["mix"].shape == (4, 6)
    for change, message in (
        ({"heads": 4}, "mix: 4 heads do not fit"),
        ({"inputs": ("x", "x")}, "queries, keys and values, but is given 2"),
        ({"requantize": None}, "mix: needs an output stage"),
    ):
        with pytest.raises(spica.SpicaError, match=message):
            spica.Network((source, replace(good, **change)), ("mix",))
    with pytest.raises(spica.SpicaError, match="needs integer tokens"):
        spica.Network((Input(name="x", shape=(4, 6, 1), bits=8, signed=True), good), ("mix",))
    tokens = TokenEmbedding(name="embed", inputs=("x",), class_token=True, constants=np.zeros((4, 6), np.float32))
    with pytest.raises(spica.SpicaError, match="constants have shape"):
        spica.Network((Input(name="x", shape=(4, 6)), tokens), ("embed",))


def test_attention_between_different_tensors_is_refused(keras):
    layers = keras.layers
    source = keras.Input((4, 6))
    other = layers.Dense(6)(source)
    model = keras.Model(source, layers.MultiHeadAttention(2, 3, name="cross")(source, other))
    with pytest.raises(spica.SpicaError, match="cross: attention between different tensors"):
        spica.from_keras(model)


@pytest.mark.parametrize("mode", ["minimal", "all", "fastest"])
def test_it_runs_on_a_device_with_transformers(quantized, mode):
    assert spica.check(quantized, "AKIDA2-8-VIT").ok
    chip = spica.map(quantized, "AKIDA2-8-VIT", mode=mode)
    np.testing.assert_array_equal(chip.forward(IMAGES), quantized.forward(IMAGES))
    statistics = chip.statistics
    assert statistics.confidence.tier == "speculative"
    assert "layers of transformers" in " ".join(statistics.confidence.reasons)
    attention = next(cost for cost in statistics.layers if cost.op_type == "attention")
    tokens, width = quantized.types[attention.layer].shape
    assert attention.inputs == 3 * tokens * width
    assert attention.cycles > 2 * tokens * tokens * width / 32 / attention.nps


def test_other_devices_refuse_it_by_name(quantized):
    report = spica.check(quantized, "AKIDA2-6")
    assert {f.op_type for f in report} == {"attention", "normalization", "token_embedding", "projection", "activation"}
    assert all("AKIDA2-8-VIT" in f.remedy for f in report if f.op_type in ("attention", "normalization"))


def test_tokens_and_heads_are_shared_out_where_memory_is_short(quantized):
    roomy = load_device("AKIDA2-8-VIT")
    small = roomy.replace(name="SMALL", nodes=32, input_memory_bytes=450, weight_memory_bytes=200)
    chip = spica.map(quantized, small)
    np.testing.assert_array_equal(chip.forward(IMAGES[:8]), quantized.forward(IMAGES[:8]))
    places = {place.layer: place for place in chip.placements}
    heads = places["attention_1/attend"].groups
    assert len(heads) == 2 and [len(group) for group in heads] == [8, 8]
    contract = places["contract_1"]
    assert len(contract.bands) == 2 and len(contract.groups) > 1
    with pytest.raises(SpicaError, match=r"attend: queries, keys and values of one head .* more heads"):
        spica.map(quantized, small.replace(input_memory_bytes=400))
