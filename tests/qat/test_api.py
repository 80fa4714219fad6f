"""Quantisation-aware training: evaluation is the integer network to the bit, and training makes it better."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spica
from spica.layers import (
    Activation,
    Conv2D,
    Dense,
    Dequantize,
    Flatten,
    GroupedConv2D,
    Input,
    MaxPool,
    MaxPool2D,
    ReLU,
    Requantize,
)
from spica.network import Network
from spica.qat.distillation import probabilities
from support.float_networks import SAMPLES, float_network
from support.networks import SEEDS, integer_networks
from support.profiles import examples
from support.training import shaken


@examples(10)
@given(integer_networks(memory=False), SEEDS, st.sampled_from([0.05, 0.5]))
def test_evaluation_gives_the_integers_of_the_converted_network(network_and_batch, seed, size):
    net, x = network_and_batch
    model = shaken(spica.trainable(net), np.random.default_rng(seed), size)
    got = model.predict_on_batch(x)
    np.testing.assert_array_equal(got, spica.convert(model).forward(x, engine="reference"))


def test_pooled_integers_keep_their_range():
    """Pooling pads with the lowest integer there is, and still says the range of what it reads."""
    narrow = Requantize(
        multiplier=np.array([131]), shift=np.array([4]), bits=8, signed=False, frac_bits=np.array(2), buffer_bits=20
    )
    layers = (
        Input(name="input", shape=(3, 3, 1), bits=8, signed=False),
        MaxPool2D(name="pool", inputs=("input",), pool=MaxPool(size=(2, 2), strides=(2, 2), padding="same")),
        Conv2D(
            name="conv",
            inputs=("pool",),
            kernel=np.ones((1, 1, 1, 1), np.int8),
            weight_bits=1,
            weight_scale=np.ones(1, np.float32),
            accumulator_bits=6,
            requantize=narrow,
        ),
        Dequantize(name="output", inputs=("conv",)),
    )
    net = Network(layers, outputs=("output",))
    x = np.arange(0, 252, 28, np.uint8).reshape(1, 3, 3, 1)
    want = net.forward(x, engine="reference")
    np.testing.assert_array_equal(spica.trainable(net).predict_on_batch(x), want)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_an_untrained_model_is_the_network_it_was_made_from(bits, keras):
    net = float_network()
    qnet = spica.quantize(net, SAMPLES, weights=bits, activations=bits)
    for model in (spica.trainable(qnet), spica.trainable(qnet, net)):
        np.testing.assert_array_equal(model.predict(SAMPLES, verbose=0), qnet.forward(SAMPLES))
        for before, after in zip(qnet, spica.convert(model)):
            if isinstance(before, Conv2D | Dense):
                np.testing.assert_array_equal(before.kernel, after.kernel)
                np.testing.assert_array_equal(before.bias, after.bias)
                np.testing.assert_array_equal(before.weight_scale, after.weight_scale)
        in_training = keras.ops.convert_to_numpy(model(SAMPLES[:4], training=True))
        np.testing.assert_allclose(in_training, qnet.forward(SAMPLES[:4]), atol=1e-3)


def test_weights_start_where_they_were_before_rounding(keras):
    net = float_network()
    qnet = spica.quantize(net, SAMPLES, weights=4, activations=4)
    model = spica.trainable(qnet, net)
    start = model.get_layer("point").kernels["kernel"].numpy() * 8
    off = start - qnet["point"].kernel
    assert np.abs(off).max() < 0.5
    assert np.std(off) > 0.1
    kernel = start.reshape(-1, start.shape[-1])
    for f in range(kernel.shape[1]):  # the same direction as the float filter, which quantisation only scaled
        wanted = net["point"].kernel.reshape(-1, kernel.shape[1])[:, f]
        assert np.corrcoef(kernel[:, f], wanted)[0, 1] > 0.99


def classified(seed=0, count=512):
    """Three classes of noisy stripes."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, count)
    rows = np.arange(12)[:, None, None]
    stripes = 128 + 80 * np.sin(rows * (0.5 + 0.8 * y[:, None, None, None]) + random.uniform(0, 6, (count, 1, 1, 1)))
    x = stripes + random.normal(0, 20, (count, 12, 12, 1))
    return np.clip(x, 0, 255).astype(np.uint8), y


def small_classifier(seed=1):
    random = np.random.default_rng(seed)

    def kernel(*shape):
        return (random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)

    return spica.Network(
        (
            Input(name="image", shape=(12, 12, 1)),
            Conv2D(
                name="first",
                inputs=("image",),
                kernel=kernel(3, 3, 1, 8) / 255,
                bias=np.zeros(8, np.float32),
                activation=ReLU(),
                strides=(2, 2),
            ),
            Conv2D(
                name="second",
                inputs=("first",),
                kernel=kernel(3, 3, 8, 16),
                bias=np.zeros(16, np.float32),
                activation=ReLU(),
                pool=spica.layers.GlobalAverage(),
            ),
            Dense(name="logits", inputs=("second",), kernel=kernel(16, 3), bias=np.zeros(3, np.float32)),
        ),
        ("logits",),
    )


def test_finetuning_learns_and_its_result_is_an_integer_network(keras):
    x, y = classified()
    net = small_classifier()
    qnet = spica.quantize(net, x, weights=4, activations=4)
    tuned = spica.finetune(qnet, x, y, epochs=20, batch_size=32, learning_rate=5e-3)
    held_x, held_y = classified(seed=7)
    assert tuned.evaluate(held_x, held_y) > max(0.8, qnet.evaluate(held_x, held_y) + 0.2)
    assert tuned["second"].weight_bits == 4
    assert tuned.types["first"].bits == 4


def test_the_output_range_of_a_grouped_convolution_is_learned(keras):
    random = np.random.default_rng(0)
    x, y = random.integers(0, 256, (64, 4, 4, 4), np.uint8), random.integers(0, 3, 64)
    kernel, last = (random.normal(size=s).astype(np.float32) / 3 for s in ((3, 3, 2, 6), (96, 3)))
    net = spica.Network(
        (
            Input(name="image", shape=(4, 4, 4)),
            GroupedConv2D(name="grouped", inputs=("image",), kernel=kernel, groups=2, activation=ReLU()),
            Flatten(name="flat", inputs=("grouped",)),
            Dense(name="logits", inputs=("flat",), kernel=last),
        ),
        ("logits",),
    )
    qnet = spica.quantize(net, x)
    tuned = spica.finetune(qnet, x, y, epochs=3, batch_size=16, learning_rate=5e-2)
    before, after = (n["grouped"].requantize.multiplier for n in (qnet, tuned))
    assert (before != after).all()
    np.testing.assert_array_equal(spica.trainable(tuned).predict(x, verbose=0), tuned.forward(x))


def test_finetuning_without_labels_follows_the_float_network(keras):
    net = float_network()
    qnet = spica.quantize(net, SAMPLES, weights=2, activations=2)
    tuned = spica.finetune(qnet, SAMPLES, net=net, epochs=30, batch_size=16, learning_rate=3e-3)
    wanted = probabilities(net, SAMPLES.astype(np.float32))

    def divergence(network):
        got = probabilities(network, SAMPLES)
        return float(np.mean(np.sum(wanted * np.log(wanted / np.maximum(got, 1e-9) + 1e-9), axis=1)))

    assert divergence(tuned) < 0.5 * divergence(qnet)


def test_a_sparsity_loss_silences_events(keras):
    x, y = classified()
    qnet = spica.quantize(small_classifier(), x, weights=4, activations=4)
    events = [
        sum(spica.finetune(qnet, x, y, epochs=4, learning_rate=1e-2, sparsity=s).run(x, count=True).events.values())
        for s in (0.0, 10.0)
    ]
    assert events[1] < 0.8 * events[0]


def test_an_interrupted_call_goes_on_from_its_checkpoint(keras, tmp_path, monkeypatch):
    x, y = classified(count=128)
    qnet = spica.quantize(small_classifier(), x, weights=4, activations=4)
    whole = spica.finetune(qnet, x, y, epochs=3)

    class Power(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    backup = keras.callbacks.BackupAndRestore
    monkeypatch.setattr(
        keras.callbacks, "BackupAndRestore", lambda path: keras.callbacks.CallbackList([backup(path), Power()])
    )
    with pytest.raises(KeyboardInterrupt):
        spica.finetune(qnet, x, y, epochs=3, checkpoint=tmp_path)
    monkeypatch.setattr(keras.callbacks, "BackupAndRestore", backup)
    resumed = spica.finetune(qnet, x, y, epochs=3, checkpoint=tmp_path)
    assert resumed.evaluate(x, y) == pytest.approx(whole.evaluate(x, y), abs=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": None}, "labels, or the float network"),
        ({"y": np.zeros(3, np.int64)}, "give one class index"),
        ({"y": np.full(64, 9)}, "classes 0 to 2"),
        ({"epochs": 0}, "at least 1"),
        ({"distillation": 2.0}, "0 to 1"),
        ({"sparsity": -1.0}, "a number from 0"),
    ],
)
def test_bad_requests_are_refused(change, message, keras):
    x, y = classified(count=64)
    qnet = spica.quantize(small_classifier(), x)
    with pytest.raises(spica.SpicaError, match=message):
        spica.finetune(qnet, x, **({"y": y} | change))


def test_networks_that_cannot_be_trained_are_refused_by_name(keras):
    with pytest.raises(spica.SpicaError, match="quantize it first"):
        spica.trainable(small_classifier())
    with pytest.raises(spica.SpicaError, match=r"not made by spica\.trainable"):
        spica.convert(Activation)


OTHERS = [name for name in ("jax", "tensorflow", "torch") if importlib.util.find_spec(name)][1:]


@pytest.mark.skipif(not OTHERS, reason="only one Keras backend is installed")
def test_every_backend_gives_the_same_integers():
    """The tests of exactness again, on each further backend, in a process of its own."""
    tests = [
        f"{__file__}::{t.__name__}"
        for t in (
            test_evaluation_gives_the_integers_of_the_converted_network,
            test_an_untrained_model_is_the_network_it_was_made_from,
            test_finetuning_learns_and_its_result_is_an_integer_network,
        )
    ]
    over_time = "test_temporal.py::test_recurrent_networks_are_fine_tuned_and_stay_exact[4]"
    tests.append(str(Path(__file__).parent.parent / "keras" / over_time))
    for backend in OTHERS:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:cov", *tests]
        done = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}, capture_output=True, text=True)
        assert done.returncode == 0, f"{backend}: {done.stdout[-3000:]}"
