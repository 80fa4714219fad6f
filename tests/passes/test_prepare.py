"""All passes together, and those that change no weights."""

from __future__ import annotations

from hypothesis import given

from spica.layers import Activation, Softmax
from spica.passes import FUSE, PASSES, PREPARE, fuse, prepare
from support.networks import integer_networks
from support.passes import check_pass
from support.profiles import examples
from support.unfused_networks import unfused_networks


@examples(80)
@given(unfused_networks())
def test_outputs_of_random_networks_stay(case):
    net = check_pass(PREPARE, *case)
    assert not any(isinstance(layer, Softmax) for layer in net)
    assert prepare(net) is net


@examples(40)
@given(integer_networks())
def test_fusing_keeps_every_integer(case):
    net, x = case
    fused = check_pass(FUSE, net, x)
    assert (fuse(net).forward(x) == net.forward(x)).all() and not any(isinstance(r, Activation) for r in fused)


def test_every_pass_has_a_name_and_a_text():
    assert len({step.name for step in PASSES}) == len(PASSES) and all(step.__doc__ for step in PASSES)
