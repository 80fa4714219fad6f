"""Scales that are left become depthwise convolutions."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from spica.layers import DepthwiseConv2D, Input, Scale
from spica.network import Network
from spica.passes import scale_to_depthwise
from support.passes import check_pass
from support.profiles import examples
from support.unfused_networks import unfused_networks


@examples(50)
@given(unfused_networks())
def test_outputs_of_random_networks_stay(case):
    net = check_pass(scale_to_depthwise, *case)
    assert not any(isinstance(layer, Scale) and len(net.types[layer.name].shape) == 3 for layer in net)


def test_a_scale_of_an_image_becomes_a_depthwise_convolution_of_one_pixel():
    scale = Scale(name="scale", inputs=("input",), scale=np.float32([2, 3]), offset=np.float32([1, 0]))
    net = scale_to_depthwise(Network((Input(name="input", shape=(4, 4, 2)), scale), ("scale",)))
    assert isinstance(net["scale"], DepthwiseConv2D) and net["scale"].kernel.shape == (1, 1, 2)


def test_a_scale_of_a_vector_stays():
    scale = Scale(name="scale", inputs=("input",), scale=np.float32([2, 3]), offset=np.float32([1, 0]))
    net = Network((Input(name="input", shape=(2,)), scale), ("scale",))
    assert scale_to_depthwise(net) is net
