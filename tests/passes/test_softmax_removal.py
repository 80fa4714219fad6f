"""A softmax at the end goes, and the same class wins."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from spica.layers import Input, Softmax
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
