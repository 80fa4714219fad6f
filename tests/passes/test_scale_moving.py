"""Scales move behind pooling and reshaping, to the weights that can take them in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from spica.layers import Dense, Flatten, GlobalAveragePooling2D, Input, MaxPool, MaxPool2D, Reshape, Scale
from spica.network import Network
from spica.passes import move_scale, prepare
from support.passes import check_pass
from support.profiles import examples
from support.unfused_networks import unfused_networks

X = np.random.default_rng(0).normal(size=(3, 6, 5, 2)).astype(np.float32)
SCALE = Scale(name="scale", inputs=("input",), scale=np.float32([2, 3]), offset=np.float32([1, -4]))


@examples(50)
@given(unfused_networks())
def test_outputs_of_random_networks_stay(case):
    check_pass(move_scale, *case)


def chain(*layers):
    names = ["input", *(layer.name for layer in layers)]
    read = [replace(layer, inputs=(source,)) for layer, source in zip(layers, names)]
    return Network((Input(name="input", shape=(6, 5, 2)), *read), (names[-1],))


def test_a_scale_goes_to_the_dense_layer():
    pool = MaxPool2D(name="pool", inputs=(), pool=MaxPool())
    kernel = np.random.default_rng(1).normal(size=(12, 3)).astype(np.float32)
    net = chain(SCALE, pool, Flatten(name="flat", inputs=()), Dense(name="dense", inputs=(), kernel=kernel))
    moved = check_pass(move_scale, net, X)
    assert [layer.name for layer in moved] == ["input", "pool", "flat", "scale", "dense"]
    assert [type(layer).__name__ for layer in prepare(net)] == ["Input", "MaxPool2D", "Flatten", "Dense"]


@pytest.mark.parametrize(
    "reader", [GlobalAveragePooling2D(name="mean", inputs=()), Reshape(name="tokens", inputs=(), shape=(30, 2))]
)
def test_means_and_tokens_are_scaled_after_them(reader):
    last = Dense(name="dense", inputs=(), kernel=np.ones((2, 2), np.float32))
    moved = check_pass(move_scale, chain(SCALE, reader, last), X)
    assert [layer.name for layer in moved][2] == "scale"


def test_what_would_change_the_outputs_stays():
    negative = replace(SCALE, scale=np.float32([2, -3]))
    pool = MaxPool2D(name="pool", inputs=(), pool=MaxPool())
    last = Dense(name="dense", inputs=(), kernel=np.ones((2, 2), np.float32))
    flat = Reshape(name="r", inputs=(), shape=(60,))
    for net in (chain(negative, pool, last), chain(SCALE, pool), chain(SCALE, flat)):
        assert move_scale(net) is net
