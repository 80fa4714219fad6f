"""Pooling becomes part of the layer before it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from spica.layers import Conv2D, DepthwiseConv2D, GlobalAverage, GlobalAveragePooling2D, Input, MaxPool, MaxPool2D
from spica.network import Network
from spica.passes import fuse_pooling
from support.networks import integer_networks
from support.passes import check_pass
from support.profiles import examples
from support.unfused_networks import unfused_networks


@examples(50)
@given(unfused_networks())
def test_outputs_of_random_networks_stay(case):
    check_pass(fuse_pooling, *case)


@examples(30)
@given(integer_networks())
def test_integers_of_random_networks_stay(case):
    check_pass(fuse_pooling, *case)


@pytest.mark.parametrize("average", [False, True])
def test_the_layer_before_takes_the_pooling(average):
    conv = Conv2D(name="conv", inputs=("input",), kernel=np.ones((3, 3, 2, 2), np.float32))
    net = fuse_pooling(pooled(conv, average))
    assert len(net) == 2 and isinstance(net["conv"].pool, GlobalAverage if average else MaxPool)


def pooled(layer, average):
    pool = (
        GlobalAveragePooling2D(name="pool", inputs=(layer.name,))
        if average
        else MaxPool2D(name="pool", inputs=(layer.name,), pool=MaxPool())
    )
    return Network((Input(name="input", shape=(6, 6, 2)), layer, pool), ("pool",))


def test_a_depthwise_layer_takes_no_average_and_a_layer_that_pools_no_more():
    depthwise = DepthwiseConv2D(name="conv", inputs=("input",), kernel=np.ones((3, 3, 2), np.float32))
    twice = Conv2D(name="conv", inputs=("input",), kernel=np.ones((3, 3, 2, 2), np.float32), pool=MaxPool())
    for net in (pooled(depthwise, True), pooled(twice, False), pooled(twice, True)):
        assert fuse_pooling(net) is net
