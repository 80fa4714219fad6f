"""Rectifiers become part of the layer before them."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from spica.layers import Activation, Add, Conv2D, GlobalAverage, Input, ReLU
from spica.network import Network
from spica.passes import fuse_activation
from support.networks import integer_networks
from support.passes import check_pass
from support.profiles import examples
from support.unfused_networks import unfused_networks


@examples(50)
@given(unfused_networks())
def test_outputs_of_random_networks_stay(case):
    check_pass(fuse_activation, *case)


@examples(30)
@given(integer_networks())
def test_integers_of_random_networks_stay(case):
    check_pass(fuse_activation, *case)


def conv(**fields):
    return Conv2D(name="conv", inputs=("input",), kernel=np.ones((3, 3, 2, 2), np.float32), **fields)


def rectified(layer):
    relu = Activation(name="relu", inputs=(layer.name,), function=ReLU(max_value=np.array(6, np.float32)))
    return Network((Input(name="input", shape=(6, 6, 2)), layer, relu), ("relu",))


def test_the_layer_before_takes_the_rectifier_and_its_bound():
    for layer in (conv(), Add(name="add", inputs=("input", "input"))):
        net = fuse_activation(rectified(layer))
        assert net.outputs == (layer.name,) and net[layer.name].activation.max_value == 6


def test_a_second_rectifier_or_one_behind_an_average_stays():
    for layer in (conv(activation=ReLU()), conv(pool=GlobalAverage())):
        net = rectified(layer)
        assert fuse_activation(net) is net
