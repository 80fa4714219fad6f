"""Explicit padding becomes that of the convolution behind it."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from spica.layers import Conv2D, Input, MaxPool, MaxPool2D, ZeroPad
from spica.network import Network
from spica.passes import fold_padding
from support.passes import check_pass
from support.profiles import examples
from support.unfused_networks import unfused_networks


@examples(50)
@given(unfused_networks())
def test_outputs_of_random_networks_stay(case):
    check_pass(fold_padding, *case)


def padded(*behind, pads=((1, 2), (0, 1))):
    layers = (Input(name="input", shape=(6, 6, 2)), ZeroPad(name="pad", inputs=("input",), padding=pads), *behind)
    return Network(layers, (behind[-1].name,))


def conv(padding, name="conv", source="pad"):
    return Conv2D(name=name, inputs=(source,), kernel=np.ones((3, 3, 2, 2), np.float32), padding=padding)


def test_amounts_add_up():
    assert fold_padding(padded(conv("valid")))["conv"].padding == ((1, 2), (0, 1))
    assert fold_padding(padded(conv(((1, 0), (0, 1)))))["conv"].padding == ((2, 2), (0, 2))


def test_padding_stays_where_it_cannot_be_folded():
    pool = MaxPool2D(name="pool", inputs=("pad",), pool=MaxPool())
    shared = padded(conv("valid"), conv("valid", "second"))
    for net in (padded(conv("same")), padded(pool), shared):
        assert fold_padding(net) is net
