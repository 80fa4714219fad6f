"""The rules: every layer type has one or a reason, and each does what it says."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

import spica
from spica.layers import Dense, DepthwiseConv2D, Flatten, Input, ReLU, Softmax, WeightedLayer
from spica.layers.weighted import is_depthwise, kernel_channels, weighted_layers
from spica.network import Layer, Network
from spica.network.layer import forward_float, forward_integer, infer
from spica.network.rules import refusal
from spica.qat.latent_weights import latent_weights
from spica.quantization.gptq import filter_inputs
from spica.quantization.rules import quantize_layer
from spica.quantization.scaling import read_weights, scale_input, scale_output
from support.every_layer import CHANNELS, KERNELS, ask, layer_types, unanswered, weighted_example

TRANSFORMS = [quantize_layer, filter_inputs, kernel_channels]
BY_KERNEL_AXES = [scale_output, scale_input, read_weights, latent_weights]
"""Transforms of weights that are the same for every layer, once it is known how its kernels lie."""


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_every_layer_type_has_a_rule_or_a_reason(transform):
    assert unanswered(transform) == []


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_layer_type_that_nobody_thought_of_is_found(transform):
    class Unknown(Layer):
        pass

    assert unanswered(transform, [Unknown, Dense, Flatten]) == ["Unknown"]
    with pytest.raises(spica.SpicaError, match=f"odd: Unknown has no rule in {transform.__name__}"):
        ask(transform, Unknown, "odd")


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_refused_layer_is_named_with_the_reason(transform):
    refused = [kind for kind in layer_types() if refusal(transform, kind)]
    assert Softmax in refused and Dense not in refused
    for kind in refused:
        with pytest.raises(spica.SpicaError, match=rf"odd: an? {kind.__name__} \w+"):
            ask(transform, kind, "odd")


@pytest.mark.parametrize("transform", BY_KERNEL_AXES)
def test_transforms_of_weights_refuse_what_kernel_channels_refuses(transform):
    refused = [kind for kind in layer_types() if refusal(kernel_channels, kind)]
    assert {*layer_types()} - {*refused} == {kind for kind in layer_types() if issubclass(kind, WeightedLayer)}
    for kind in refused:
        with pytest.raises(spica.SpicaError, match=f"odd: an? {kind.__name__} has no weights"):
            ask(transform, kind, "odd")


def test_every_type_with_weights_has_an_example():
    assert {kind.__name__ for kind in layer_types() if issubclass(kind, WeightedLayer)} == {
        kind.__name__ for kind in KERNELS
    } | {"MadNormalization"}  # which only integer networks hold


def run(layer, x):
    """Return what a layer gives for images or, where it is one dense layer, vectors."""
    return Network((Input(name="x", shape=x.shape[1:]), layer), (layer.name,)).forward(x)


@pytest.fixture
def images():
    return np.random.default_rng(5).normal(size=(6, 5, 5, CHANNELS)).astype(np.float32)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_factor_on_the_output_is_on_the_output(kind, per_channel, images):
    layer = replace(weighted_example(kind), activation=ReLU()) if per_channel else weighted_example(kind)
    gain = np.random.default_rng(1).uniform(0.5, 2, layer.bias.shape if per_channel else ()).astype(np.float32)
    np.testing.assert_allclose(run(scale_output(layer, gain), images), run(layer, images) * gain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KERNELS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_factor_on_the_input_is_taken_back(kind, per_channel, images):
    layer = weighted_example(kind)
    gain = np.random.default_rng(1).uniform(0.5, 2, CHANNELS if per_channel else ()).astype(np.float32)
    got = run(scale_input(layer, np.float32(1) / gain), images * gain)
    np.testing.assert_allclose(got, run(layer, images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KERNELS)
def test_the_largest_weight_on_each_channel_is_read(kind):
    layer = weighted_example(kind)
    field, channels = next(iter(kernel_channels(layer).items()))
    kernel = getattr(layer, field)
    for channel, largest in enumerate(read_weights(layer)):
        assert largest == np.abs(kernel[np.broadcast_to(channels == channel, kernel.shape)]).max()
    assert len(read_weights(layer)) == CHANNELS


@pytest.mark.parametrize("kind", KERNELS)
def test_every_type_with_weights_is_quantised_from_end_to_end(kind):
    """Between two layers that equalisation and alignment scale, at each width."""
    random = np.random.default_rng(2)
    before = replace(weighted_example(DepthwiseConv2D), name="before", inputs=("image",), activation=ReLU())
    layer = replace(weighted_example(kind), inputs=("before",))
    x = random.normal(size=(20, 6, 6, CHANNELS)).astype(np.float32)
    middle = Network((Input(name="image", shape=x.shape[1:]), before, layer), ("layer",))
    shape = middle.types["layer"].shape
    after = Dense(
        name="after", inputs=("flat",), kernel=random.normal(size=(int(np.prod(shape)), 3)).astype(np.float32)
    )
    net = Network((*middle.layers, Flatten(name="flat", inputs=("layer",)), after), ("after",))
    qnet = spica.quantize(net, x)
    wanted, got = net.forward(x), qnet.forward(spica.to_input_integers(qnet, x))
    assert np.corrcoef(wanted.ravel(), got.ravel())[0, 1] > 0.995
    assert [layer.weight_bits for layer in weighted_layers(spica.quantize(net, x, weights=2))] == [8, 2, 2]


def test_a_new_layer_with_weights_needs_no_rule_of_its_own():
    """A copy of a dense layer that quantisation has never heard of: only what it computes is said."""

    @dataclass(frozen=True, eq=False, kw_only=True)
    class Copy(WeightedLayer):
        kernel: np.ndarray

    def dense(layer):
        return Dense(**{field.name: getattr(layer, field.name) for field in fields(layer)})

    infer.register(Copy, lambda layer, inputs: infer(dense(layer), inputs))
    forward_float.register(Copy, lambda layer, inputs: forward_float(dense(layer), inputs))
    forward_integer.register(Copy, lambda layer, *rest: forward_integer(dense(layer), *rest))
    assert unanswered(quantize_layer, [Copy]) == []
    random = np.random.default_rng(0)
    first, last = (
        (random.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32) for shape in ((CHANNELS, 8), (8, 3))
    )
    net = Network(
        (
            Input(name="x", shape=(CHANNELS,)),
            Copy(name="first", inputs=("x",), kernel=first, activation=ReLU()),
            Copy(name="last", inputs=("first",), kernel=last),
        ),
        ("last",),
    )
    x = random.normal(size=(64, CHANNELS)).astype(np.float32)
    qnet = spica.quantize(net, x)
    assert all(isinstance(qnet[name], Copy) and qnet[name].weight_bits == 8 for name in ("first", "last"))
    got = qnet.forward(spica.to_input_integers(qnet, x))
    assert np.corrcoef(net.forward(x).ravel(), got.ravel())[0, 1] > 0.999


def test_kernel_channels_tell_which_layers_are_depthwise():
    depthwise = {kind.__name__ for kind in KERNELS if is_depthwise(weighted_example(kind))}
    assert depthwise == {"DepthwiseConv2D", "DepthwiseConvTranspose2D", "DepthwiseBufferTempConv"}


def test_depthwise_filters_read_each_channel_alone():
    random = np.random.default_rng(0)
    x = random.normal(size=(4, 6, 5, 3)).astype(np.float32)
    layer = DepthwiseConv2D(name="d", inputs=("x",), kernel=np.ones((3, 3, 3), np.float32), padding="valid")
    read = filter_inputs(layer, x)
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2)).reshape(-1, 3, 9)
    np.testing.assert_array_equal(read, windows)
