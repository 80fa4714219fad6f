"""Constants that are added to tokens one after the other are added once."""

from __future__ import annotations

import numpy as np
from hypothesis import given

from spica.layers import Input, TokenEmbedding
from spica.network import Network
from spica.passes import merge_embeddings
from support.passes import check_pass
from support.profiles import examples
from support.unfused_networks import unfused_networks


@examples(50)
@given(unfused_networks())
def test_outputs_of_random_networks_stay(case):
    check_pass(merge_embeddings, *case)


def test_positions_join_the_class_token_and_a_second_token_does_not():
    first = TokenEmbedding(name="token", inputs=("input",), class_token=True, constants=np.ones((4, 2), np.float32))
    second = TokenEmbedding(name="place", inputs=("token",), class_token=False, constants=np.ones((4, 2), np.float32))
    other = TokenEmbedding(name="other", inputs=("place",), class_token=True, constants=np.ones((5, 2), np.float32))
    net = merge_embeddings(Network((Input(name="input", shape=(3, 2)), first, second, other), ("other",)))
    assert [layer.name for layer in net] == ["input", "token", "other"]
    np.testing.assert_array_equal(net["token"].constants, np.full((4, 2), 2))
