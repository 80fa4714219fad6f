"""A softmax at the end goes, and the same class wins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from spica.layers import Conv2D, Dense, Flatten, Input, Softmax
from spica.network import Network
from spica.passes import remove_softmax
from support.passes import check_pass
from support.profiles import examples
from support.unfused_networks import unfused_networks


@examples(50)
@given(unfused_networks())
def test_outputs_of_random_networks_stay(case):
    net, x = case
    after = check_pass(remove_softmax, net, x)
    np.testing.assert_array_equal(after.forward(x).argmax(-1), net.forward(x).argmax(-1))


def test_a_softmax_of_the_input_itself_stays():
    net = Network((Input(name="input", shape=(3,)), Softmax(name="end", inputs=("input",))), ("end",))
    assert remove_softmax(net) is net


@pytest.mark.parametrize("pixels", [1, 2])
def test_a_softmax_of_one_pixel_that_is_only_flattened_goes(pixels):
    image = Input(name="input", shape=(1, pixels, 2))
    layer = Conv2D(name="conv", inputs=("input",), kernel=np.ones((1, 1, 2, 3), np.float32))
    ends = Softmax(name="softmax", inputs=("conv",)), Flatten(name="flat", inputs=("softmax",))
    net = remove_softmax(Network((image, layer, *ends), ("flat",)))
    assert ("softmax" in net.types) is (pixels > 1)


def test_a_softmax_that_others_read_stays():
    image = Input(name="input", shape=(2,))
    layers = (
        Dense(name="dense", inputs=("input",), kernel=np.eye(2, 3, dtype=np.float32)),
        Softmax(name="softmax", inputs=("dense",)),
    )
    last = Dense(name="last", inputs=("softmax",), kernel=np.eye(3, dtype=np.float32))
    assert "softmax" in remove_softmax(Network((image, *layers, last), ("softmax", "last"))).types
