"""Legalization makes a network obey a device's rules; every output integer stays as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spica import SpicaError
from spica.frontends import from_torch
from spica.hardware import check, fix, load_device, map_network
from spica.hardware.legalize.fix import RULES
from spica.hardware.legalize.turning import CannotTurn, turned_network
from spica.layers import (
    Conv2D,
    ConvTranspose2D,
    Dense,
    DepthwiseConv2D,
    DepthwiseConvTranspose2D,
    Gather,
    GlobalAverage,
    GlobalAveragePooling2D,
    Input,
    LookUp,
    MaxPool,
    MaxPool2D,
    Requantize,
    SeparableConv2D,
)
from spica.network import Network
from spica.network.edit import replace_layer
from spica.quantization import quantize
from support.chip_networks import conv, dense, depthwise, flatten, max_pool, network, separable
from support.float_networks import float_network
from support.profiles import examples


def outputs_equal(a: Network, b: Network) -> bool:
    kind = a.types[a.inputs[0].name]
    x = np.random.default_rng(1).integers(*kind.range, (5, *kind.shape), endpoint=True).astype(kind.dtype)
    return np.array_equal(a.forward(x), b.forward(x))


@examples(60)
@given(st.integers(5, 17), st.integers(5, 17), st.sampled_from([2, 4, 6]), st.sampled_from([1, 2]), st.booleans())
def test_even_kernels_become_odd(height, width, kernel, stride, first):
    layers = [conv(5, kernel, stride, weights=8)] if first else [conv(4), conv(5, kernel, stride)]
    net = network((height, width, 3), *layers, conv(3))
    fixed = fix(net, "AKD1000")
    assert fixed.largest_difference == 0 and outputs_equal(net, fixed.network)
    assume(fixed.changes)
    assert not any("kernel is" in f.reason and f.reason.startswith(f"kernel is {kernel}") for f in fixed.report)


@pytest.mark.parametrize("device, kernel", [("AKD1000", 5), ("AKIDA2-6", 4)])
@pytest.mark.parametrize("height, width", [(16, 12), (14, 22)])
def test_pytorchs_padding_of_a_strided_first_layer_becomes_same(device, kernel, height, width):
    bits = {"weights": 8} | ({} if device == "AKD1000" else {"activations": 8})
    net = network((height, width, 3), conv(5, 3, 2, **bits), conv(3, **({} if device == "AKD1000" else bits)))
    first = replace(net["layer_1"], padding=((1, 1), (1, 1)))
    net = Network(tuple(first if layer.name == "layer_1" else layer for layer in net), net.outputs, net.name)
    assert "padding is custom" in str(check(net, device))
    fixed = fix(net, device, samples=None)
    assert fixed.changes == (f"layer_1: kernel 3x3 -> {kernel}x{kernel}, filled with zeros",)
    assert "padding" not in str(fixed.report) and outputs_equal(net, fixed.network)


def test_a_four_by_four_kernel_on_every_size():
    for size in range(6, 14):
        net = network((size, size, 3), conv(4), conv(4, 4), conv(3))
        fixed = fix(net, "AKD1000")
        assert fixed.report.ok and fixed.changes == ("layer_2: kernel 4x4 -> 5x5, filled with zeros",)
        assert outputs_equal(net, fixed.network)


def test_pooling_is_followed_by_a_convolution():
    net = network((12, 12, 3), conv(4), conv(6, pool=max_pool()), flatten(), dense(3))
    assert not check(net, "AKD1000").ok
    fixed = fix(net, "AKD1000")
    assert fixed.report.ok and "inserted after layer_2" in fixed.changes[0]
    assert outputs_equal(net, fixed.network) and map_network(fixed.network, "AKD1000").nps == 3
    last = network((12, 12, 3), conv(4), conv(6, pool=max_pool()))
    fixed = fix(last, "AKD1000")
    assert fixed.report.ok and outputs_equal(last, fixed.network)


@pytest.mark.parametrize("average", [False, True])
def test_pooling_on_its_own_is_carried(average):
    chain = network((12, 12, 3), conv(4), conv(6, activations=4))
    kind = chain.types["layer_2"]
    stage = Requantize(multiplier=np.array(3), shift=np.array(7), bits=4, signed=False, frac_bits=np.array(2, np.int64))
    pool = (
        GlobalAveragePooling2D(name="pool", inputs=("layer_2",), requantize=stage)
        if average
        else MaxPool2D(name="pool", inputs=("layer_2",), pool=max_pool())
    )
    end = Conv2D(
        name="end",
        inputs=("pool",),
        kernel=np.ones((1, 1, kind.channels, 2), np.int8),
        weight_bits=4,
        weight_scale=np.ones((), np.float32),
    )
    net = Network(
        (*chain.layers, pool) if average else (*chain.layers, pool, end), ("pool" if average else "end",), "n"
    )
    fixed = fix(net, "AKD1000")
    assert fixed.report.ok and fixed.largest_difference == 0
    assert fixed.changes == ("pool: fused into an identity convolution that carries it",)
    assert outputs_equal(net, fixed.network)


def test_small_weights_are_held_in_fewer_bits():
    net = network((8, 8, 3), conv(4), conv(6))
    wide = Network((*net.layers[:-1], replace(net.layers[-1], weight_bits=8)), net.outputs, net.name)
    fixed = fix(wide, "AKD1000")
    assert fixed.report.ok and fixed.network["layer_2"].weight_bits == 4 and outputs_equal(wide, fixed.network)
    kernel = wide["layer_2"].kernel.copy()
    kernel[0, 0, 0, 0] = 100
    wider = Network((*net.layers[:-1], replace(wide["layer_2"], kernel=kernel)), net.outputs, net.name)
    kept = fix(wider, "AKD1000")
    assert not kept.report.ok and not kept.changes and "nothing could be changed safely" in str(kept)


def test_dense_layers_over_pixels_become_convolutions():
    chain = network((8, 8, 3), conv(4, weights=8, activations=8))
    layer = Dense(
        name="pixels",
        inputs=("layer_1",),
        kernel=np.random.default_rng(0).integers(-8, 8, (4, 5)).astype(np.int8),
        weight_bits=8,
        weight_scale=np.ones(5, np.float32),
    )
    net = Network((*chain.layers, layer), ("pixels",), "n")
    fixed = fix(net, "AKIDA2-1")
    assert fixed.report.ok and "1x1 convolution" in fixed.changes[0] and outputs_equal(net, fixed.network)


def ending_in_a_table(net: Network, table: np.ndarray) -> Network:
    """The network with 11 bits and no rectifier at its end, and a table of them behind it."""
    *others, last = net.layers
    last = replace(last, activation=None, requantize=replace(last.requantize, bits=11, signed=True))
    stage = Requantize(multiplier=np.array(1), shift=np.array(4), bits=8, signed=True, frac_bits=np.array(3))
    one = np.ones((), np.float32)
    read = LookUp(
        name="table", inputs=(last.name,), table=table, table_bits=14, scale=one, function="table", requantize=stage
    )
    return Network((*others, last, read), ("table",), "n")


@pytest.mark.parametrize("rises", [True, False])
def test_pooling_moves_behind_a_table_that_never_falls(rises):
    wide = network((8, 8, 3), conv(4, weights=8, activations=8), conv(4, weights=8, activations=8, pool=max_pool()))
    steps = np.arange(-1024, 1024)
    net = ending_in_a_table(wide, np.maximum(steps, steps // 8) if rises else np.abs(steps))
    fixed = fix(net, "AKIDA2-1")
    assert fixed.report.ok is rises and bool(fixed.changes) is rises and outputs_equal(net, fixed.network)


@examples(40)
@given(st.integers(7, 16), st.integers(7, 16), st.sampled_from(["valid", "same"]), st.booleans())
def test_pooling_of_three_by_three_is_done_in_two_steps(height, width, padding, alone):
    bits = {"weights": 8, "activations": 8}
    pool = max_pool(3, 2, padding)
    layers = [conv(4, **bits), conv(4, pool=None if alone else pool, **bits), conv(3, **bits)]
    net = network((height, width, 3), *layers)
    if alone:
        pooled = MaxPool2D(name="pooled", inputs=("layer_2",), pool=pool)
        net = replace_layer(net, "layer_2", net["layer_2"], pooled)
    fixed = fix(net, "AKIDA2-6")
    assert fixed.report.ok is (padding == "valid" or not (height % 2 or width % 2))
    assert fixed.largest_difference == 0 and outputs_equal(net, fixed.network)


@pytest.mark.parametrize("length", [16, 17])
@pytest.mark.parametrize("alone", [False, True])
def test_signals_of_even_length_are_pooled_by_squares(length, alone):
    bits = {"weights": 8, "activations": 8}
    pool = MaxPool(size=(1, 2), strides=(1, 2))
    net = network((1, length, 8), conv(4, **bits), conv(4, 1, pool=None if alone else pool, **bits), conv(3, **bits))
    if alone:
        net = replace_layer(net, "layer_2", net["layer_2"], MaxPool2D(name="pooled", inputs=("layer_2",), pool=pool))
    fixed = fix(net, "AKIDA2-6")
    assert any("pool" in f.reason for f in fixed.report) is not (length == 16)
    assert outputs_equal(net, fixed.network)


def test_a_dense_layer_before_a_table_becomes_a_convolution_of_one_pixel():
    wide = network((8, 8, 3), conv(4, weights=8, activations=8), flatten(), dense(6, weights=8, activations=8))
    net = ending_in_a_table(wide, np.abs(np.arange(-1024, 1024)))
    fixed = fix(net, "AKIDA2-6")
    assert fixed.changes == ("layer_3: dense layer before a table -> 1x1 convolution over one pixel",)
    assert fixed.report.ok and outputs_equal(net, fixed.network)
    map_network(fixed.network, "AKIDA2-6")


def test_a_window_over_the_whole_image_becomes_a_dense_layer():
    bits = {"weights": 8, "activations": 8}
    net = network((8, 8, 3), conv(4, strides=2, **bits), conv(6, 4, padding="valid", **bits), flatten(), dense(3, 8))
    fixed = fix(net, "AKIDA2-6")
    assert fixed.changes == ("layer_2: convolution whose window is the whole image -> dense layer",)
    assert fixed.report.ok and outputs_equal(net, fixed.network)
    map_network(fixed.network, "AKIDA2-6")


def test_a_network_that_keeps_the_rules_stays_as_it_is():
    net = network((8, 8, 3), conv(4), separable(6, pool=GlobalAverage()), dense(3))
    fixed = fix(net, "AKD1000")
    assert fixed.network is net and not fixed.changes and "equal on 16 samples" in str(fixed)
    with pytest.raises(SpicaError, match="unknown"):
        fix(net, "AKD9")


def test_rules_leave_layers_that_they_are_not_for_and_float_networks_alone():
    net, device = network((8, 8, 3), conv(4), flatten(), dense(3)), load_device("AKD1000")
    for rule in RULES:
        assert rule.run(net, net["layer_2"], device) == (net, False, "")
        with pytest.raises(SpicaError, match=f"pass {rule.name}: network: expected an integer network"):
            rule.run(float_network(), net["layer_2"], device)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_keeps_the_outputs_wherever_it_changes_something(rule):
    for pool in (None, max_pool()):
        net = network((9, 12, 3), conv(4, 4), conv(6, 2, weights=2, pool=pool), conv(3, weights=1))
        wide = tuple(replace(r, weight_bits=8) if isinstance(r, Conv2D) else r for r in net)
        for before in (net, replace(net, layers=wide)):
            for layer in before:
                after, modified, note = rule.run(before, layer, load_device("AKD1000"))
                assert bool(note) is modified and outputs_equal(before, after)


def as_pytorch_pads(net: Network, draw) -> Network:
    """The network with the padding of PyTorch: as much on both sides, or none."""
    made = []
    for layer in net:
        if isinstance(layer, Conv2D | SeparableConv2D | DepthwiseConv2D):
            height, width = layer.window
            amounts = ((height // 2,) * 2, (width // 2,) * 2)
            layer = replace(layer, padding=draw(st.sampled_from([amounts, "valid"])))
        made.append(layer)
    return Network(tuple(made), net.outputs, net.name)


@st.composite
def pytorchs_networks(draw):
    """Chains of convolutions, pooling and dense layers over images of any size, padded as PyTorch does."""
    size = draw(st.integers(18, 33)), draw(st.integers(18, 33))
    makers = []
    for _ in range(draw(st.integers(1, 3))):
        pool = max_pool() if draw(st.booleans()) else None
        kinds = [conv(4, pool=pool), conv(3, 5), conv(4, 3, 2, pool=pool), conv(4, 1, 2), separable(4, pool=pool)]
        makers.append(draw(st.sampled_from([*kinds, depthwise(3)])))
    makers += [flatten(), dense(3)] if draw(st.booleans()) else [conv(2)]
    net = network((*size, 3), *makers, seed=draw(st.integers(0, 99)))
    try:
        changed = as_pytorch_pads(net, draw)
        x = changed.types["input"]
        assert x.shape and all(min(kind.shape) > 0 for kind in changed.types.values())
    except SpicaError:  # the dense layer's weights are for images of another size
        return net
    return changed


@examples(150)
@given(pytorchs_networks())
def test_a_turned_network_gives_the_same_integers(net):
    try:
        turned = turned_network(net)
    except CannotTurn:
        return
    padded = [layer for layer in turned if isinstance(getattr(layer, "padding", ""), tuple)]
    assert outputs_equal(net, turned)
    for layer in padded:  # what is left is padded on both sides, whatever the size
        (top, bottom), (left, right) = layer.padding
        assert top <= bottom or left <= right or top + bottom + left + right


@examples(100)
@given(pytorchs_networks(), st.sampled_from(["AKD1000", "AKIDA2-6"]))
def test_whatever_is_fixed_gives_the_same_integers(net, device):
    fixed = fix(net, device)
    assert fixed.largest_difference == 0 and outputs_equal(net, fixed.network)
    assert len(fixed.report.findings) <= len(check(net, device).findings)


@examples(20)
@given(st.integers(4, 9), st.integers(4, 9), st.integers(0, 1000))
def test_moves_within_an_image_are_turned_too(height, width, seed):
    positions = np.random.default_rng(seed).integers(-1, height * width * 4, height * width * 3)
    moved = Gather(name="moved", inputs=("layer_1",), positions=positions, shape=(height, width, 3))
    net = replace_layer(network((height, width, 3), conv(4), conv(3), flatten(), dense(3)), "layer_2", moved)
    assert outputs_equal(net, turned_network(net))


def test_a_shortcut_that_moves_by_two_keeps_every_rule_behind_a_stem_that_need_not_be_turned():
    torch = pytest.importorskip("torch")

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = torch.nn.Conv2d(3, 8, 3, 2, 1)
            self.short, self.down = torch.nn.Conv2d(8, 16, 1, 2), torch.nn.Conv2d(8, 16, 3, 2, 1, groups=2)

        def forward(self, x):
            x = torch.relu(self.stem(x))
            return torch.relu(self.short(x) + self.down(x))

    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3)).astype(np.uint8)
    qnet = quantize(from_torch(Block().eval(), torch.zeros(1, 3, 32, 32)), pixels)
    fixed = fix(qnet, "AKIDA2-6", pixels)
    assert fixed.report.ok and fixed.largest_difference == 0
    assert fixed.changes[0] == "every kernel turned by 180 degrees; the host turns the samples"


def test_a_residual_network_of_pytorch_keeps_every_rule_once_turned():
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.a, self.b = nn.Conv2d(inputs, outputs, 3, 2, 1), nn.Conv2d(outputs, outputs, 3, 1, 1)
            self.short = nn.Conv2d(inputs, outputs, 1, 2)

        def forward(self, x):
            return torch.relu(self.b(torch.relu(self.a(x))) + self.short(x))

    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)]
    module = nn.Sequential(
        nn.Conv2d(3, 8, 7, 2, 3), nn.ReLU(), nn.MaxPool2d(3, 2, 1), Block(8, 8), Block(8, 16), *head
    ).eval()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 64, 64, 3)).astype(np.uint8)
    qnet = quantize(from_torch(module, torch.zeros(1, 3, 64, 64)), pixels)
    fixed = fix(qnet, "AKIDA2-6", pixels)
    assert "the host turns the samples" in fixed.changes[0] and fixed.largest_difference == 0
    assert fixed.report.ok and not check(qnet, "AKIDA2-6").ok
    chip = map_network(fixed.network, "AKIDA2-6")
    np.testing.assert_array_equal(chip.forward(pixels[:4]), qnet.forward(pixels[:4]))


def tutorial(*makers):
    return network((28, 28, 1), conv(8, 3, 1, "valid", weights=8), *makers)


@pytest.mark.parametrize(
    "net",
    [
        tutorial(conv(6, 3, 1, "valid", MaxPool()), flatten(), dense(10)),
        tutorial(conv(6, 5, 1, "valid", MaxPool()), conv(5, 3, 1, "valid"), flatten(), dense(10)),
        tutorial(separable(6, 3, 1, "valid"), separable(6, 3, 1, "valid", MaxPool()), flatten(), dense(10)),
    ],
)
def test_convolutions_of_tutorials_without_padding_run_with_it(net):
    before = str(check(net, "AKD1000"))
    fixed = fix(net, "AKD1000")
    assert "padding is valid" in before and fixed.report.ok
    assert any("valid -> same; what it adds is not read" in change for change in fixed.changes)
    assert outputs_equal(net, fixed.network)


@pytest.mark.parametrize("height, width", [(16, 18), (15, 16), (17, 13)])
@pytest.mark.parametrize("kernel", [5, 7])
def test_large_kernels_that_move_by_two_do_so_behind_themselves(height, width, kernel):
    net = network((height, width, 3), conv(6, weights=8), conv(5, kernel, 2), conv(3))
    fixed = fix(net, "AKD1000")
    assert fixed.changes == ("layer_2: moves by one, an identity behind it by two",) and fixed.report.ok
    assert outputs_equal(net, fixed.network)


@pytest.mark.parametrize("depth", [None, 6])
def test_small_transposed_kernels_grow(depth):
    random = np.random.default_rng(0)
    kernel = lambda *s: (random.normal(size=s) / np.sqrt(np.prod(s[:-1]))).astype(np.float32)  # noqa: E731
    up = ConvTranspose2D if depth is None else DepthwiseConvTranspose2D
    layers = (
        Input(name="x", shape=(12, 14, 3)),
        Conv2D(name="c", inputs=("x",), kernel=kernel(3, 3, 3, 6) / 100, padding="same"),
        up(name="up", inputs=("c",), kernel=kernel(2, 2, 6, 6) if depth is None else kernel(2, 2, 6), strides=(2, 2)),
        Conv2D(name="last", inputs=("up",), kernel=kernel(3, 3, 6, 4), padding="same"),
    )
    pixels = random.integers(0, 256, (16, 12, 14, 3)).astype(np.uint8)
    qnet = quantize(Network(layers, ("last",)), pixels)
    fixed = fix(qnet, "AKIDA2-6", pixels)
    assert fixed.report.ok and fixed.changes == ("up: kernel 2x2 -> 4x4, filled with zeros",)
    np.testing.assert_array_equal(fixed.network.forward(pixels), qnet.forward(pixels))


def test_signals_go_onto_the_chip_as_images_of_one_row():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv1d(13, 16, 3, padding=1), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 16, 3, padding=1),
        nn.BatchNorm1d(16), nn.ReLU(), nn.Flatten(), nn.Linear(16 * 30, 5),
    ).eval()  # fmt: skip
    x = np.random.default_rng(0).normal(size=(24, 30, 13)).astype(np.float32)
    qnet = quantize(from_torch(module, torch.zeros(1, 13, 30)), x)
    assert [type(layer).__name__ for layer in qnet][:4] == ["Input", "Reshape", "Conv2D", "Conv2D"]
    fixed = fix(qnet, "AKIDA2-6")
    assert fixed.report.ok and outputs_equal(qnet, fixed.network)


def test_what_reads_the_border_is_left_as_it_is():
    net = tutorial(conv(6, 3, 1, "valid"), conv(4), flatten(), dense(10))
    fixed = fix(net, "AKD1000")
    assert "padding is valid" in str(fixed.report) and not any("not read" in change for change in fixed.changes)
