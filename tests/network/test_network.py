"""A network that exists is well formed; the rest is refused by name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import spica
from spica.layers import Add, Concatenate, Conv2D, Flatten, Input, LookUp, MaxPool, MaxPool2D, ReLU, Requantize, Reshape
from spica.layers.epilogue import GlobalAverage

IMAGE = Input(name="image", shape=(8, 8, 3))


def conv(name="conv", source="image", channels=3, filters=4, **changes):
    kernel = np.zeros((3, 3, channels, filters), np.float32)
    return Conv2D(name=name, inputs=(source,), kernel=kernel, **changes)


STAGE = Requantize(multiplier=np.array(200), shift=np.array(9), bits=4, signed=False, frac_bits=np.array(3))


def integer_conv(**changes):
    changes = {"requantize": STAGE, **changes}
    return conv(weight_bits=4, weight_scale=np.ones(4, np.float32), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"requantize": replace(STAGE, multiplier=np.array(0.5))},
            "multiplier is an array of float64, but must be an array of int64",
        ),
        ({"requantize": replace(STAGE, multiplier=np.array(-1))}, "multiplier holds -1, but must be 0 to 65,535"),
        (
            {"requantize": replace(STAGE, multiplier=np.array(1 << 16))},
            "multiplier holds 65536, but must be 0 to 65,535",
        ),
        ({"requantize": replace(STAGE, shift=np.zeros(3, int))}, "one entry, or one for each of 4 channels"),
        ({"requantize": replace(STAGE, bits=40)}, "bits is 40, but must be 1 to 32"),
        ({"bias": np.zeros(4, np.float32)}, "bias is of float32, but it reads integers"),
        ({"activation": ReLU(max_value=np.array(6.0))}, "max_value is of float32, but it reads integers"),
        ({"accumulator_bits": 60}, "accumulator_bits is 60, but must be 1 to 46"),
    ],
)
def test_a_malformed_integer_layer_is_refused(changes, message):
    layer = replace(integer_conv(**changes), kernel=np.zeros((3, 3, 3, 4), np.int8))
    with pytest.raises(spica.SpicaError, match=f"conv: .*{message}"):
        spica.Network((replace(IMAGE, bits=8), layer), ("conv",))


LOOK_UP = LookUp(
    name="table", inputs=("image",), table=np.zeros(2, np.int64), table_bits=8, scale=np.ones((), np.float32),
    function="gelu",
)  # fmt: skip


@pytest.mark.parametrize(
    ("layers", "outputs", "message"),
    [
        ([], ["a"], "needs at least one layer"),
        ([IMAGE], [], "needs at least one output"),
        ([IMAGE], ["nothing"], "output 'nothing' is not the name of a layer"),
        ([IMAGE, IMAGE], ["image"], "image: two layers have this name"),
        (
            [IMAGE, conv(source="absent")],
            ["conv"],
            "conv: its input 'absent' is not written by any earlier layer",
        ),
        ([IMAGE, conv(channels=5)], ["conv"], "conv: kernel expects 5 channels, but 'image' has 3"),
        ([IMAGE, conv(padding="full")], ["conv"], "conv: padding 'full' is not"),
        ([IMAGE, conv(strides=(0, 1))], ["conv"], "conv: strides"),
        (
            [IMAGE, conv(bias=np.zeros(3, np.float32))],
            ["conv"],
            r"conv: bias has shape \(3,\), but must have one entry for each of 4 channels",
        ),
        (
            [IMAGE, replace(conv(), kernel=np.full((3, 3, 3, 4), np.nan, np.float32))],
            ["conv"],
            "conv: kernel holds NaN",
        ),
        ([IMAGE, replace(conv(), kernel=np.zeros((3, 3, 3, 4), int))], ["conv"], "conv: kernel is an array of int64"),
        ([IMAGE, conv(weight_bits=4)], ["conv"], "conv: kernel must be int8"),
        ([IMAGE, conv(weight_bits=3)], ["conv"], "conv: weight_bits is 3"),
        ([IMAGE, conv(), Add(name="sum", inputs=("image", "conv"))], ["sum"], "sum: .* cannot be added"),
        ([IMAGE, Add(name="sum", inputs=("image",))], ["sum"], "sum: Add sums two tensors"),
        (
            [IMAGE, conv(strides=(2, 2)), Concatenate(name="joined", inputs=("image", "conv"))],
            ["joined"],
            "joined: .* cannot be concatenated",
        ),
        (
            [IMAGE, MaxPool2D(name="pool", inputs=("image",), pool=MaxPool(size=(9, 9)))],
            ["pool"],
            "pool: a 9x9 window does not fit its 8x8 input",
        ),
        ([IMAGE, Reshape(name="flat", inputs=("image",), shape=(7,))], ["flat"], "flat: .* the sizes differ"),
        ([Input(name="image", shape=(8, 0, 3))], ["image"], r"image: shape is \(8, 0, 3\), but must be 1 to"),
        ([IMAGE, "conv"], ["image"], "is not a layer record"),
        ([IMAGE, conv(strides=2)], ["conv"], r"conv: strides is 2, but must be tuple\[int, int\]"),
        ([IMAGE, replace(conv(), kernel=[[1]])], ["conv"], "conv: kernel is .* but must be"),
        ([IMAGE, conv(pool="max")], ["conv"], "conv: pool is 'max'"),
        ([IMAGE, conv(activation=ReLU(max_value=6.0))], ["conv"], "conv: max_value is 6.0"),
        ([replace(IMAGE, bits=28, signed=True), LOOK_UP], ["table"], "table: reads integers of 28 bits, .* 16 bits"),
        ([IMAGE, LOOK_UP], ["table"], "table: a table needs integers"),
        ([replace(IMAGE, bits=8), LOOK_UP], ["table"], "table: its table must hold 256 integers of 8 bits"),
    ],
)
def test_a_malformed_network_is_refused_by_the_name_of_the_layer(layers, outputs, message):
    with pytest.raises(spica.SpicaError, match=message):
        spica.Network(tuple(layers), tuple(outputs))


def test_integer_weights_need_integer_inputs_and_the_other_way_round():
    integer = conv(weight_bits=4, weight_scale=np.ones(4, np.float32))
    integer = replace(integer, kernel=np.zeros((3, 3, 3, 4), np.int8))
    with pytest.raises(spica.SpicaError, match="conv: kernel is of int8, but it reads real numbers"):
        spica.Network((IMAGE, integer), ("conv",))
    with pytest.raises(spica.SpicaError, match="conv: kernel is of float32, but it reads integers"):
        spica.Network((replace(IMAGE, bits=8), conv()), ("conv",))


def test_shapes_and_formats_are_inferred():
    stage = Requantize(multiplier=np.array(200), shift=np.array(9), bits=4, signed=False, frac_bits=np.array(3))
    integer = Conv2D(
        name="conv",
        inputs=("image",),
        kernel=np.ones((3, 3, 3, 4), np.int8),
        weight_bits=8,
        weight_scale=np.full(4, 0.5, np.float32),
        strides=(2, 2),
        activation=ReLU(),
        pool=MaxPool(),
        requantize=stage,
    )
    net = spica.Network((replace(IMAGE, bits=8), integer, Flatten(name="flat", inputs=("conv",))), ("flat",))
    assert str(net.types["conv"]) == "uint4[2x2x4]"
    assert net.types["conv"].frac_bits == 3
    assert net.types["flat"].shape == (16,)
    assert net.is_integer
    assert "1,728 MACs" in net.summary()
    averaged = replace(integer, pool=GlobalAverage(), requantize=None)
    kind = spica.Network((replace(IMAGE, bits=8), averaged), ("conv",)).types["conv"]
    assert kind.shape == (4,)
    np.testing.assert_array_equal(kind.scale, np.full(4, 0.5 / 16, np.float32))


def test_an_unknown_layer_is_named():
    net = spica.Network((IMAGE, conv()), ("conv",), "tiny")
    with pytest.raises(spica.SpicaError, match="tiny has no layer 'dense'; it has image, conv"):
        net["dense"]
    assert len(net) == 2
    assert "float" in repr(net)


def test_the_old_name_of_the_stateful_layers_warns():
    net = spica.Network((IMAGE, conv()), ("conv",))
    with pytest.warns(DeprecationWarning, match="attribute of Network is now stateful_layers"):
        assert net.remembering == net.stateful_layers == ()
