"""Records as JSON data and back, and the check of their fields."""

from __future__ import annotations

import json

import numpy as np
import pytest

from spica import SpicaError
from spica.layers import Conv2D, MaxPool, ReLU
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
