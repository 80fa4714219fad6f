"""Scales become weights and biases of their neighbours."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from spica.layers import Activation, Conv2D, Input, MaxPool, ReLU, Scale
from spica.network import Network
from spica.passes import fold_scale
from support.passes import check_pass
from support.profiles import examples
from support.unfused_networks import unfused_networks


@examples(50)
@given(unfused_networks())
def test_outputs_of_random_networks_stay(case):
    check_pass(fold_scale, *case)


def scale(name, source, factor=(2.0, -0.5), offset=(1.0, 3.0)):
    return Scale(name=name, inputs=(source,), scale=np.float32(factor), offset=np.float32(offset))


def conv(name, source, **fields):
    kernel = np.random.default_rng(0).normal(size=(3, 3, 2, 2)).astype(np.float32)
    return Conv2D(name=name, inputs=(source,), kernel=kernel, **fields)


def network(*layers):
    return Network((Input(name="input", shape=(6, 6, 2)), *layers), (layers[-1].name,))


def test_scales_in_a_row_become_one():
    net = network(scale("a", "input"), Activation(name="relu", inputs=("a",), function=ReLU()))
    both = network(scale("a", "input"), scale("b", "a"))
    assert fold_scale(net) is net
    folded = fold_scale(both)
    assert [layer.name for layer in folded] == ["input", "b"]
    np.testing.assert_array_equal(folded["b"].scale, np.float32([4, 0.25]))
    np.testing.assert_array_equal(folded["b"].offset, np.float32([3, 1.5]))


def test_a_border_of_the_input_is_padded_with_what_the_scale_makes_zero():
    folded = fold_scale(network(scale("a", "input"), conv("conv", "a")))
    np.testing.assert_array_equal(folded["conv"].padding_value, np.float32([-0.5, 6]))


def test_a_border_further_on_cannot_hold_an_offset():
    relu = Activation(name="relu", inputs=("input",), function=ReLU())
    kept = network(relu, scale("a", "relu"), conv("conv", "a"))
    assert fold_scale(kept) is kept
    assert len(fold_scale(network(relu, scale("a", "relu"), conv("conv", "a", padding="valid")))) == 3
    assert len(fold_scale(network(relu, scale("a", "relu", offset=(0, 0)), conv("conv", "a")))) == 3


def test_a_negative_factor_does_not_pass_a_maximum_nor_any_a_rectifier():
    for fields in ({"pool": MaxPool()}, {"activation": ReLU()}):
        net = network(conv("conv", "input", **fields), scale("a", "conv"))
        assert fold_scale(net) is net
    assert len(fold_scale(network(conv("conv", "input", pool=MaxPool()), scale("a", "conv", factor=(2, 1))))) == 2


def test_a_border_that_holds_something_already_stays_behind_the_scale():
    net = network(scale("a", "input", offset=(0, 0)), conv("conv", "a", padding_value=np.float32([1, 2])))
    assert fold_scale(net) is net
