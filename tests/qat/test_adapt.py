"""Adaptation: the nearest network that a device takes, trained to imitate the one that it does not."""

from __future__ import annotations

import json

import numpy as np
import pytest

import spica
from spica import SpicaError
from spica.layers import (
    Add,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    GlobalAverage,
    Input,
    MaxPool,
    Multiply,
    Permute,
    ReLU,
    Scale,
    SeparableConv2D,
    TableActivation,
)
from spica.qat.adaptation.proposal import adaptable
from spica.qat.adaptation.rewrites import EXACT, REWRITES
from support.command_line import call

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (80, 16, 16, 3), dtype=np.uint8)


def weights(*shape):
    return (RANDOM.normal(size=shape) / np.sqrt(np.prod(shape[:-1]))).astype(np.float32)


def conv(name, source, channels, filters, size=3, relu=True, **fields):
    fields |= {"activation": ReLU()} if relu else {}
    return Conv2D(name=name, inputs=(source,), kernel=weights(size, size, channels, filters), **fields)


def network(*layers, classes=True):
    """A network that reads pixels, convolves them, then has the layers given, the last one "last", and classes."""
    start = (
        Input(name="image", shape=(16, 16, 3)),
        Scale(
            name="scaled",
            inputs=("image",),
            scale=np.full(3, 1 / 64, np.float32),
            offset=np.zeros(3, np.float32),
        ),
        conv("first", "scaled", 3, 8),
    )
    end = (conv("classes", "last", 8, 4, 3, relu=False, pool=GlobalAverage()),)
    made = (*start, *layers, *(end if classes else ()))
    return spica.Network(made, (made[-1].name,))


def table(name, source, function="elu"):
    return TableActivation(name=name, inputs=(source,), function=function)


CASES = {
    "padding": ("AKIDA2-6", [conv("mid", "first", 8, 8, padding="valid"), conv("last", "mid", 8, 8)], "mid"),
    "kernel": ("AKD1000", [conv("last", "first", 8, 8, 9)], "last"),
    "stride": ("AKIDA2-6", [conv("last", "first", 8, 8, 3, strides=(4, 4))], "last"),
    "pool_size": (
        "AKIDA2-6",
        [conv("mid", "first", 8, 8, pool=MaxPool(size=(4, 4), strides=(2, 2), padding="same")),
         conv("last", "mid", 8, 8)],
        "mid",
    ),
    "separable_convolution": (
        "AKIDA2-6",
        [SeparableConv2D(name="last", inputs=("first",), depthwise_kernel=weights(3, 3, 8), kernel=weights(8, 8),
                         activation=ReLU())],
        "last",
    ),
    "depthwise_convolution": (
        "AKD1000",
        [DepthwiseConv2D(name="mid", inputs=("first",), kernel=weights(3, 3, 8), activation=ReLU()),
         conv("last", "mid", 8, 8, 1)],
        "mid",
    ),
    "add": ("AKD1000", [conv("mid", "first", 8, 8), Add(name="last", inputs=("first", "mid"))], "last"),
    "activation": ("AKD1000", [conv("mid", "first", 8, 8, relu=False), table("last", "mid")], "last"),
    "output_bits": ("AKD1000", [conv("mid", "first", 8, 8, relu=False), conv("last", "mid", 8, 8)], "mid"),
    "pooled_area": ("AKIDA2-6", [conv("last", "first", 8, 8)], "classes"),
    "multiply": (
        "AKIDA2-6",
        [conv("gate", "first", 8, 8, relu=False), table("open", "gate", "sigmoid"),
         Multiply(name="last", inputs=("first", "open"))],
        "last",
    ),
    "normalisation behind ReLU": (
        "AKD1000",
        [Scale(name="norm", inputs=("first",), scale=np.linspace(0.5, 2, 8).astype(np.float32),
               offset=np.full(8, 0.3, np.float32)),
         conv("last", "norm", 8, 8)],
        "norm",
    ),
}  # fmt: skip
"""By rule: a device, layers that break it there beyond what exact legalization mends, and the layer that does."""


@pytest.mark.parametrize("rule", CASES)
def test_each_rewrite_gives_a_network_that_the_device_takes(rule):
    device, layers, name = CASES[rule]
    net = network(*layers)
    made, done = spica.adapt(net, device, PIXELS, epochs=0, progress=False)
    assert done.report.ok, str(done)
    assert not made.is_integer and made.types[made.outputs[0]].shape == (4,)
    assert name in [change.layer for change in done.changes], str(done)
    again = spica.quantize(made, PIXELS, weights=done.weights, activations=done.activations)
    assert spica.check(again, device).ok


def test_training_lowers_the_error_on_samples_held_back():
    pytest.importorskip("torch")
    net = network(*CASES["activation"][1])
    made, done = spica.adapt(net, "AKD1000", PIXELS, epochs=30, seed=3, progress=False)
    assert done.held_back == 16 and done.report.ok
    assert done.after.snr > done.before.snr + 3
    assert done.integer.snr > done.before.snr
    again, _ = spica.adapt(net, "AKD1000", PIXELS, epochs=30, seed=3, progress=False)
    np.testing.assert_array_equal(made.forward(PIXELS), again.forward(PIXELS))


def test_training_computes_what_the_network_does():
    torch = pytest.importorskip("torch")
    from spica.qat.adaptation.imitation import Student

    for _, layers, _ in CASES.values():
        net = network(*layers)
        student = Student(net, "cpu")
        given = student.run(torch.as_tensor(PIXELS, dtype=torch.float32), {"classes"})["classes"].detach().numpy()
        wanted = net.forward(PIXELS)
        np.testing.assert_allclose(given, wanted, atol=2e-4 * np.abs(wanted).max())
        np.testing.assert_allclose(student.network().forward(PIXELS), wanted, atol=2e-4 * np.abs(wanted).max())


def test_a_legal_network_comes_back_as_it_is():
    net = network(conv("last", "first", 8, 8, strides=(2, 2)))
    made, done = spica.adapt(net, "AKIDA2-6", PIXELS, progress=False)
    assert made is net and done.changes == () and done.after is None
    assert "nothing to adapt" in str(done)


def test_a_dense_layer_follows_maps_that_grow():
    layers = (
        conv("mid", "first", 8, 8, padding="valid"),
        conv("wide", "mid", 8, 8),
        Flatten(name="flat", inputs=("wide",)),
        Dense(name="last", inputs=("flat",), kernel=weights(14 * 14 * 8, 4)),
    )
    made, done = spica.adapt(network(*layers, classes=False), "AKIDA2-6", PIXELS, epochs=0, progress=False)
    assert made["last"].kernel.shape == (16 * 16 * 8, 4)
    assert done.before.snr > 3


def test_what_no_change_ends_is_refused_by_name():
    layers = (conv("mid", "first", 8, 8, padding="valid"), conv("last", "mid", 8, 8, strides=(3, 3)))
    with pytest.raises(SpicaError, match="no way round: last: stride is 3, but must be 1 or 2") as error:
        spica.adapt(network(*layers), "AKIDA2-6", PIXELS, progress=False)
    assert "mid" not in str(error.value)


def test_layers_that_cannot_be_trained_are_refused_by_name():
    pytest.importorskip("torch")
    layers = (Permute(name="turned", inputs=("first",), axes=(1, 0, 2)), conv("last", "turned", 8, 8, padding="valid"))
    net = network(*layers, conv("classes", "last", 8, 4, relu=False), classes=False)
    with pytest.raises(SpicaError, match="turned: Permute cannot be trained"):
        from spica.qat.adaptation.imitation import imitate

        imitate(net, net, PIXELS.astype(np.float32), 1, 1e-3, 0, False)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"bits": 3}, "bits is 3"),
        ({"bits": (8, 4, 2)}, "bits is"),
        ({"epochs": -1}, "epochs is -1"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"device": "AKD9"}, "'AKD9' is unknown"),
        ({"samples": PIXELS[:4]}, "holds 4 samples"),
        ({"samples": PIXELS[:, :8]}, "image"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    arguments = {"device": "AKIDA2-6", "samples": PIXELS} | options
    with pytest.raises(SpicaError, match=message):
        spica.adapt(
            network(conv("last", "first", 8, 8)), arguments.pop("device"), arguments.pop("samples"), **arguments
        )


def test_integer_networks_are_refused():
    net = network(conv("last", "first", 8, 8))
    with pytest.raises(SpicaError, match="is an integer network"):
        spica.adapt(spica.quantize(net, PIXELS), "AKIDA2-6", PIXELS)


def test_rewrites_are_registered_and_exact_ones_are_among_them():
    assert {rewrite for known in REWRITES.values() for rewrite in known} >= EXACT
    assert not adaptable(())


def test_the_command_adapts_and_check_says_so(tmp_path, monkeypatch, capsys):
    net = network(*CASES["padding"][1])
    net.save(tmp_path / "net.spica")
    np.save(tmp_path / "x.npy", PIXELS)
    spica.quantize(net, PIXELS).save(tmp_path / "integer.spica")
    code, out, _ = call(monkeypatch, capsys, "check", tmp_path / "integer.spica", "-d", "AKIDA2-6")
    assert code == 1 and "spica adapt FLOAT_NETWORK --samples x.npy -d AKIDA2-6" in out
    arguments = ["--samples", tmp_path / "x.npy", "-d", "AKIDA2-6", "--epochs", 0, "-o", tmp_path / "out.spica"]
    arguments += ["--quantized", tmp_path / "made.spica"]
    code, out, _ = call(monkeypatch, capsys, "adapt", tmp_path / "net.spica", *arguments, "--json")
    facts = json.loads(out)
    assert code == 0 and facts["ok"] and facts["changes"][0]["layer"] == "mid" and facts["weights"] == {"*": 8}
    assert spica.check(spica.load(tmp_path / "made.spica"), "AKIDA2-6").ok
    assert not spica.load(tmp_path / "out.spica").is_integer
