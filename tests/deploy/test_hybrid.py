"""Networks between a chip and its host: the same integers, whatever is cut where."""

from __future__ import annotations

import numpy as np
import pytest

import spica
from spica.deploy import HybridNetwork
from spica.layers import Conv2D, Dense, Gather, GlobalAveragePooling2D, Input, Multiply, Reshape, TableActivation
from spica.network import Network

PIXELS = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3)).astype(np.uint8)


def weights(*shape, seed=0):
    random = np.random.default_rng([seed, *shape])
    return (random.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)


def gated(shuffle=False):
    """Convolutions, squeeze and excite, more convolutions; with a gather of all pixels where ``shuffle`` is set."""
    order = np.random.default_rng(1).permutation(16 * 16 * 8)
    layers = [
        Input(name="x", shape=(16, 16, 3)),
        Conv2D(name="first", inputs=("x",), kernel=weights(3, 3, 3, 8) / 100, padding="same"),
        TableActivation(name="silu", inputs=("first",), function="silu"),
        GlobalAveragePooling2D(name="mean", inputs=("silu",)),
        Dense(name="up", inputs=("mean",), kernel=weights(8, 8)),
        TableActivation(name="gate", inputs=("up",), function="sigmoid"),
        Reshape(name="places", inputs=("gate",), shape=(1, 1, 8)),
        Multiply(name="excited", inputs=("silu", "places")),
        Gather(name="shuffled", inputs=("excited",), positions=order, shape=(16, 16, 8)),
        Conv2D(
            name="second", inputs=("shuffled" if shuffle else "excited",), kernel=weights(3, 3, 8, 8), padding="same"
        ),
        Conv2D(name="third", inputs=("second",), kernel=weights(3, 3, 8, 4), padding="same"),
    ]
    return Network(tuple(x for x in layers if shuffle or x.name != "shuffled"), ("third",))


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("device", ["AKIDA2-6", "AKIDA2-1"])
def test_the_parts_give_the_integers_of_the_whole(shuffle, device):
    qnet = spica.quantize(gated(shuffle), PIXELS)
    hybrid = spica.split(qnet, device)
    assert isinstance(hybrid, HybridNetwork) and 0.5 < hybrid.share < 1
    want = qnet.forward(PIXELS)
    for options in ({}, {"engine": "reference"}, {"threads": 1}):
        np.testing.assert_array_equal(hybrid.forward(PIXELS, **options), want)
    sides = [part.on_chip for part in hybrid.parts]
    assert sides == [bool(i % 2 == 0) for i in range(len(sides))] and not all(sides)
    for part in hybrid.parts:
        if part.network is not None:
            assert spica.check(part.network, device).ok
            spica.map(part.network, device)
    assert {"excited"} <= hybrid.reasons.keys() and "has no layer of kind" in hybrid.reasons["excited"]
    own = [layer.name for part in hybrid.parts for layer in part.layers]
    assert sorted(own) == sorted(layer.name for layer in qnet if layer.inputs)
    assert hybrid.parts[1].moved_bytes == 16 * 16 * 8


def test_a_network_that_keeps_every_rule_is_one_part():
    layers = (
        Input(name="x", shape=(16, 16, 3)),
        Conv2D(name="c", inputs=("x",), kernel=weights(3, 3, 3, 8) / 100, padding="same"),
        Conv2D(name="d", inputs=("c",), kernel=weights(3, 3, 8, 4), padding="same"),
    )
    net = Network(layers, ("d",))
    hybrid = spica.split(spica.quantize(net, PIXELS), "AKIDA2-6")
    assert len(hybrid.parts) == 1 and hybrid.share == 1 and not hybrid.reasons


def test_it_predicts_saves_and_shows_as_a_network_does(tmp_path):
    qnet = spica.quantize(gated(), PIXELS)
    hybrid, labels = spica.split(qnet, "AKIDA2-6"), qnet.predict(PIXELS)
    np.testing.assert_array_equal(hybrid.predict(PIXELS), labels)
    assert hybrid.evaluate(PIXELS, labels) == 1
    hybrid.save(tmp_path / "net.spica")
    again = spica.split(spica.load(tmp_path / "net.spica"), "AKIDA2-6")
    assert again.to_dict() == hybrid.to_dict()
    text = str(hybrid)
    assert f"{hybrid.share:.1%} of its multiply-accumulates on AKIDA2-6" in text and "host" in text


def test_what_cannot_be_split_is_said():
    net = gated()
    with pytest.raises(spica.SpicaError, match="is a float network"):
        spica.split(net, "AKIDA2-6")
    with pytest.raises(spica.SpicaError, match="nothing is left for AKD1000"):
        spica.split(spica.quantize(net, PIXELS), "AKD1000")
    with pytest.raises(spica.SpicaError, match="expected a Network"):
        spica.split("net.spica")


def test_shuffled_channels_go_onto_the_chip():
    order = np.random.default_rng(2).permutation(8)[:6]
    positions = (np.arange(256)[:, None] * 8 + order).reshape(-1)
    layers = (
        Input(name="x", shape=(16, 16, 3)),
        Conv2D(name="first", inputs=("x",), kernel=weights(3, 3, 3, 8) / 100, padding="same"),
        Gather(name="shuffle", inputs=("first",), positions=positions, shape=(16, 16, 6)),
        Conv2D(name="last", inputs=("shuffle",), kernel=weights(3, 3, 6, 4), padding="same"),
    )
    qnet = spica.quantize(Network(layers, ("last",)), PIXELS)
    fixed = spica.hardware.fix(qnet, "AKIDA2-6", PIXELS)
    assert fixed.report.ok and fixed.changes == ("shuffle: its channels are moved by a 1x1 convolution",)
    np.testing.assert_array_equal(fixed.network.forward(PIXELS), qnet.forward(PIXELS))
