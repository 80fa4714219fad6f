"""Float networks with layers that only the host computes: refused by name, or quantised up to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spica
from spica.deploy import HybridNetwork
from spica.layers import (
    Conv2D,
    Dense,
    Flatten,
    GatedRecurrence,
    GlobalAveragePooling2D,
    Input,
    Multiply,
    ReLU,
    Reshape,
    Softmax,
    Take,
)
from spica.network import Network

IMAGES = np.random.default_rng(0).normal(size=(64, 6, 8, 4)).astype(np.float32)


def weights(*shape, seed=0):
    random = np.random.default_rng([seed, *shape])
    return (random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)


def recurrence(name, source, channels, units, cell="gru", **options):
    columns = {"lstm": 4, "simple": 1}.get(cell, 3) * units
    return GatedRecurrence(
        name=name, inputs=(source,), cell=cell, kernel=weights(channels, columns), bias=weights(columns),
        recurrent_kernel=weights(units, columns), recurrent_bias=weights(columns, seed=1), **options,
    )  # fmt: skip


def words(cell="lstm", end=True):
    """Convolutions of an image, a recurrence over its pixels, and classes of its last step."""
    layers = [
        Input(name="x", shape=(6, 8, 4)),
        Conv2D(name="first", inputs=("x",), kernel=weights(3, 3, 4, 16), padding="same", activation=ReLU()),
        Conv2D(name="second", inputs=("first",), kernel=weights(3, 3, 16, 16), padding="same", activation=ReLU()),
        Reshape(name="steps", inputs=("second",), shape=(48, 16)),
        recurrence("gates", "steps", 16, 8, cell),
        Take(name="last", inputs=("gates",), axis=0, start=47, stop=48),
        Flatten(name="flat", inputs=("last",)),
        Dense(name="classes", inputs=("flat",), kernel=weights(8, 3)),
        Softmax(name="shares", inputs=("classes",)),
    ]
    return Network(tuple(layers), ("shares" if end else "classes",))


def excited():
    """Channel attention: the shares of a softmax in the middle gate the channels of an image."""
    layers = (
        Input(name="x", shape=(6, 8, 4)),
        Conv2D(name="first", inputs=("x",), kernel=weights(3, 3, 4, 16), padding="same", activation=ReLU()),
        GlobalAveragePooling2D(name="mean", inputs=("first",)),
        Dense(name="scores", inputs=("mean",), kernel=weights(16, 16)),
        Softmax(name="shares", inputs=("scores",)),
        Reshape(name="places", inputs=("shares",), shape=(1, 1, 16)),
        Multiply(name="gated", inputs=("first", "places")),
        Conv2D(name="last", inputs=("gated",), kernel=weights(1, 1, 16, 2)),
    )
    return Network(layers, ("last",))


@pytest.mark.parametrize("build, host", [(words, "gates"), (excited, "shares")])
def test_quantize_and_check_refuse_by_name_and_the_advice_works(build, host):
    net = build()
    with pytest.raises(spica.SpicaError, match=rf"{host}: a .*spica\.split\(net, device, samples\)"):
        spica.quantize(net, IMAGES)
    with pytest.raises(spica.SpicaError, match=rf"{host} stays on the host: spica\.split\(net, device, samples\)"):
        spica.check(net, "AKIDA2-6")
    with pytest.raises(spica.SpicaError, match=rf"give samples .* {host}, .*: spica\.split\(net, device, samples\)"):
        spica.split(net, "AKIDA2-6")
    hybrid = spica.split(net, "AKIDA2-6", IMAGES)
    assert isinstance(hybrid, HybridNetwork) and hybrid.parts[0].on_chip and not hybrid.parts[1].on_chip
    assert host in hybrid.reasons and host in [layer.name for layer in hybrid.parts[1].layers]
    assert "in real numbers" in hybrid.reasons[host]
    mixed = hybrid.network
    assert {f.layer for f in spica.check(mixed, "AKIDA2-6")} >= {host}
    with pytest.raises(spica.SpicaError, match="cannot run on AKIDA2-6"):
        spica.map(mixed, "AKIDA2-6")
    with pytest.raises(spica.SpicaError, match=r"computes in real numbers on the host, which cannot be trained here"):
        spica.trainable(mixed)


@pytest.mark.parametrize("build", [words, excited, lambda: words("gru"), lambda: words("gru_reset_before", end=False)])
def test_a_split_network_runs_predicts_saves_and_loads(build, tmp_path):
    net = build()
    hybrid = spica.split(net, "AKIDA2-6", IMAGES)
    x = spica.to_input_integers(hybrid.network, IMAGES)
    wanted, got = net.forward(IMAGES), hybrid.forward(x)
    assert np.corrcoef(wanted.ravel(), got.ravel())[0, 1] > 0.995
    for engine in ("native", "reference"):
        np.testing.assert_allclose(hybrid.network.forward(x, engine=engine), got, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(hybrid.forward(x, engine=engine), got)
    labels = hybrid.predict(x)
    assert hybrid.evaluate(x, labels) == 1
    hybrid.save(tmp_path / "net.spica")
    again = spica.split(spica.load(tmp_path / "net.spica"), "AKIDA2-6")
    np.testing.assert_array_equal(again.forward(x), got)
    assert [part.on_chip for part in again.parts] == [part.on_chip for part in hybrid.parts]


def test_options_of_quantisation_are_taken_and_others_refused():
    hybrid = spica.split(words(), "AKIDA2-6", IMAGES, weights=4)
    assert hybrid.network["second"].weight_bits == 4
    with pytest.raises(TypeError, match="colour"):
        spica.split(words(), "AKIDA2-6", IMAGES, colour=3)
    qnet = spica.quantize(Network(words().layers[:3], ("second",)), IMAGES)
    with pytest.raises(spica.SpicaError, match="samples is for float networks"):
        spica.split(qnet, "AKIDA2-6", IMAGES)
    with pytest.raises(spica.SpicaError, match="weights is for float networks"):
        spica.split(qnet, "AKIDA2-6", weights=4)


def test_where_the_host_would_do_everything_it_is_said():
    net = Network((Input(name="x", shape=(6, 4)), recurrence("gates", "x", 4, 3)), ("gates",))
    with pytest.raises(spica.SpicaError, match="nothing is left for the device before gates"):
        spica.split(net, "AKIDA2-6", np.zeros((4, 6, 4), np.float32))


def test_float_networks_with_recurrences_are_saved_and_loaded(tmp_path):
    net = words()
    net.save(tmp_path / "net.spica")
    np.testing.assert_array_equal(spica.load(tmp_path / "net.spica").forward(IMAGES), net.forward(IMAGES))
    assert net.macs(net["gates"]) == 48 * (16 * 32 + 8 * 32)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"cell": "elman"}, "cell 'elman' is none of lstm"),
        ({"activation": "softmax"}, "activation 'softmax' is none of"),
        ({"bias": weights(5)}, r"bias has shape \(5,\), but must have \(9,\)"),
        ({"kernel": weights(3, 9)}, r"kernel has shape \(3, 9\), but must have \(4, 9\)"),
        ({"recurrent_kernel": np.zeros((0, 0), np.float32)}, "must have"),
    ],
)
def test_recurrences_that_do_not_fit_are_refused(change, message):
    from dataclasses import replace

    layer = replace(recurrence("gates", "x", 4, 3), **change)
    with pytest.raises(spica.SpicaError, match=f"gates: .*{message}"):
        Network((Input(name="x", shape=(6, 4)), layer), ("gates",))


@given(
    st.sampled_from(["lstm", "gru", "gru_reset_before", "simple"]), st.integers(1, 9), st.integers(1, 5),
    st.integers(1, 5), st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_going_backwards_is_the_turned_sequence_turned_back(cell, steps, channels, units, backwards, seed):
    """And the state after a step does not depend on the steps behind it, nor a sample on the others."""
    layer = recurrence("r", "x", channels, units, cell, backwards=backwards)
    other = recurrence("r", "x", channels, units, cell, backwards=not backwards)
    x = np.random.default_rng(seed).normal(size=(3, steps, channels)).astype(np.float32)

    def run(r, x):
        return Network((Input(name="x", shape=x.shape[1:]), r), ("r",)).forward(x)

    y = run(layer, x)
    assert y.shape == (3, steps, units)
    np.testing.assert_allclose(run(other, x[:, ::-1])[:, ::-1], y, atol=1e-6)
    np.testing.assert_allclose(run(layer, x[1:2]), y[1:2], atol=1e-6)
    some = slice(steps // 2, None) if backwards else slice(None, steps // 2 + 1)
    np.testing.assert_allclose(run(layer, x[:, some]), y[:, some], atol=1e-6)


def test_what_can_be_changed_exactly_is_changed_for_the_device():
    """Kernels of one row become those that the device has, so that signals run on it up to the recurrence."""
    layers = (
        Input(name="x", shape=(24, 4)),
        Reshape(name="row", inputs=("x",), shape=(1, 24, 4)),
        Conv2D(name="first", inputs=("row",), kernel=weights(1, 3, 4, 16), padding="same", activation=ReLU()),
        Conv2D(name="second", inputs=("first",), kernel=weights(1, 3, 16, 16), padding="same", activation=ReLU()),
        Reshape(name="steps", inputs=("second",), shape=(24, 16)),
        recurrence("gates", "steps", 16, 8, "lstm"),
    )
    net, signals = Network(layers, ("gates",)), np.random.default_rng(2).normal(size=(48, 24, 4)).astype(np.float32)
    hybrid = spica.split(net, "AKIDA2-6", signals)
    assert [part.on_chip for part in hybrid.parts] == [True, False] and hybrid.share > 0.5
    assert [layer.name for layer in hybrid.parts[1].layers] == ["gates"]
    got = hybrid.forward(spica.to_input_integers(hybrid.network, signals))
    assert np.corrcoef(got.ravel(), net.forward(signals).ravel())[0, 1] > 0.99
    with pytest.raises(spica.SpicaError, match="nothing is left for AKD1000"):
        spica.split(net, "AKD1000", signals)  # whose layers have four bits at most
    assert spica.split(net, "AKD1000", signals, weights=4, activations=4).share > 0.1
