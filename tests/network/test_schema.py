"""Records as JSON data and back, and the check of their fields."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import spica
from spica import SpicaError
from spica.layers import Conv2D, Dense, Dequantize, Input, MaxPool, MaxPool2D, ReLU, Requantize
from spica.network import Network
from spica.network.schema import check_fields, decode, encode

LAYER = Conv2D(
    name="conv",
    inputs=("image",),
    kernel=np.ones((3, 3, 2, 4), np.float32),
    padding=((1, 0), (0, 1)),
    pool=MaxPool(size=(3, 3)),
    activation=ReLU(max_value=np.array(6, np.float32)),
)


def test_a_record_survives_json_with_its_arrays_beside_it():
    tensors = {}
    item = json.loads(json.dumps(encode(LAYER, "conv", tensors)))
    assert set(tensors) == {"conv/kernel", "conv/activation/max_value"}
    layer = decode(item, tensors)
    check_fields(layer, "conv")
    assert layer.padding == LAYER.padding and layer.pool.size == (3, 3) and layer.kernel is tensors["conv/kernel"]
    assert layer.activation.max_value == 6 and layer.requantize is None


def test_what_no_record_may_hold_is_refused_by_its_place():
    with pytest.raises(SpicaError, match="conv/padding/1: a set cannot be saved"):
        encode((0, {1}), "conv/padding", {})


def test_a_field_of_another_type_is_refused_by_record_and_name():
    bad = Conv2D(name="conv", inputs=("image",), kernel=LAYER.kernel, pool=MaxPool(size=3))
    with pytest.raises(SpicaError, match="conv: size is 3, but must be"):
        check_fields(bad, "conv")


NETWORK = Network(
    (
        Input(name="in", shape=(4,), bits=8),
        Dense(
            name="d",
            inputs=("in",),
            kernel=np.ones((4, 2), np.int8),
            weight_bits=4,
            weight_scale=np.ones(2, np.float32),
            bias=np.array([3, 4]),
            requantize=Requantize(
                multiplier=np.array(200), shift=np.array(9), bits=4, signed=False, frac_bits=np.array(3)
            ),
        ),
        Dequantize(name="out", inputs=("d",)),
    ),
    ("out",),
)


def changed(**fields):
    """The network with other fields in its dense layer, or in that layer's output stage."""
    dense = NETWORK["d"]
    stage = {name: value for name, value in fields.items() if hasattr(dense.requantize, name)}
    own = {name: value for name, value in fields.items() if name not in stage}
    layer = replace(dense, requantize=replace(dense.requantize, **stage), **own)
    return NETWORK.with_layers([NETWORK["in"], layer, NETWORK["out"]])


def test_numbers_of_numpy_are_plain_and_come_back_from_a_file(tmp_path):
    net = changed(weight_bits=np.int64(4), bits=np.int32(4), signed=np.bool_(False), buffer_bits=np.uint8(32))
    assert type(net["d"].weight_bits) is int and type(net["d"].requantize.signed) is bool
    net.save(tmp_path / "n.spica")
    x = np.arange(8, dtype=np.uint8).reshape(2, 4)
    np.testing.assert_array_equal(spica.load(tmp_path / "n.spica").forward(x), NETWORK.forward(x))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64, np.int16])
def test_integers_of_any_type_mean_the_same_on_every_engine(dtype):
    net = changed(shift=np.array(9, dtype), bias=np.array([3, 4], dtype), multiplier=np.array(200, dtype))
    x = np.arange(40, dtype=np.uint8).reshape(10, 4)
    for engine in ("native", "reference"):
        np.testing.assert_array_equal(net.forward(x, engine=engine), NETWORK.forward(x))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"shift": np.array(63)}, "shift holds 63, but must be -30 to 62"),
        ({"shift": np.array(-31)}, "shift holds -31"),
        ({"shift": np.array(1 << 63, np.uint64)}, "shift is an array of uint64, but must be an array of int64"),
        ({"frac_bits": np.array(2000)}, "frac_bits holds 2000"),
        ({"weight_scale": np.array([1, np.nan], np.float32)}, "weight_scale holds NaN or infinity"),
        ({"weight_scale": np.array([1, np.inf], np.float32)}, "weight_scale holds NaN or infinity"),
        ({"weight_scale": np.ones(3, np.float32)}, "weight_scale has shape"),
        ({"bias": np.array([1])}, "bias has shape"),
        ({"bias": np.array([0.5, np.nan], np.float32)}, "bias holds NaN or infinity"),
        ({"weight_bits": True}, "weight_bits is True, but must be int or None"),
        ({"weight_bits": 4.0}, "weight_bits is 4.0"),
        ({"name": "\ud800"}, "is no valid text"),
    ],
)
def test_what_no_field_may_hold_is_refused_by_layer_and_field(fields, message):
    with pytest.raises(SpicaError, match=message):
        changed(**fields)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([Input(name="x", shape=(1 << 20, 1 << 20))], "makes 1048576x1048576 values of one sample"),
        (
            [
                Input(name="x", shape=(8, 8, 2)),
                MaxPool2D(name="p", inputs=("x",), pool=MaxPool(size=(0, 2))),
            ],
            r"size is \(0, 2\), but must be 1 to 65,536",
        ),
        (
            [
                Input(name="x", shape=(4096, 1, 1024)),
                Conv2D(
                    name="c",
                    inputs=("x",),
                    kernel=np.ones((1, 1, 1024, 1), np.float32),
                    strides=(4096, 4096),
                    padding=((4096, 4096), (4096, 4096)),
                ),
            ],
            "c: makes 12288x8193x1024 values",
        ),
    ],
)
def test_sizes_that_nothing_could_hold_are_refused_before_memory_is_touched(layers, message):
    with pytest.raises(SpicaError, match=message):
        Network(tuple(layers), (layers[-1].name,))
