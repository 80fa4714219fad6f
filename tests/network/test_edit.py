"""Edits of a graph: valid networks come out, outputs stay, and the network that was edited is as it was."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica import SpicaError
from spica.layers import Flatten, Input, Permute, ReLU
from spica.network import edit
from support.float_networks import float_network
from support.networks import integer_networks
from support.profiles import examples


def equal_outputs(a, b, x):
    np.testing.assert_array_equal(a.forward(x), b.forward(x))


def identity(net, source, name="identity"):
    """A layer that gives what it reads."""
    axes = tuple(range(len(net.types[source].shape)))
    return Permute(name=name, inputs=(source,), axes=axes)


def a_layer(data, net, first=0):
    return net.layers[data.draw(st.integers(first, len(net) - 1))]


@examples(40)
@given(integer_networks(), st.data())
def test_a_layer_inserted_after_another_takes_over_its_readers(case, data):
    net, x = case
    names = [layer.name for layer in net]
    layer = a_layer(data, net)
    edited = edit.insert_after(net, layer.name, identity(net, layer.name))
    equal_outputs(net, edited, x)
    assert [r.name for r in edited.consumers[layer.name]] == ["identity"]
    assert edited.outputs == tuple("identity" if o == layer.name else o for o in net.outputs)
    assert [layer.name for layer in net] == names


@examples(40)
@given(integer_networks(), st.data())
def test_a_layer_is_replaced_by_a_chain(case, data):
    net, x = case
    layer = a_layer(data, net, first=1)
    chain = (replace(layer, name="first"), identity(net, layer.name, "last"))
    edited = edit.replace_layer(net, layer.name, chain[0], replace(chain[1], inputs=("first",)))
    equal_outputs(net, edited, x)
    assert layer.name not in edited.types and len(edited) == len(net) + 1


@examples(40)
@given(integer_networks(), st.data())
def test_a_subgraph_gives_the_tensors_of_the_whole_and_has_nothing_else(case, data):
    net, x = case
    layer = a_layer(data, net)
    part = edit.subgraph(net, (layer.name,))
    tensors = net.run(x, keep=[layer.name]).tensors
    np.testing.assert_array_equal(part.run(x).tensors[layer.name], tensors[layer.name])
    assert all(r.name in part.outputs or part.consumers[r.name] for r in part)
    assert edit.subgraph(net, net.outputs).outputs == net.outputs


def test_a_subgraph_starts_at_the_sources_it_is_given():
    net = float_network()
    kind = net.types["skip"]
    part = edit.subgraph(net, net.outputs, (Input(name="skip", shape=kind.shape),))
    assert [layer.name for layer in part] == ["skip", "separable", "averaged", "dense"]
    x = np.random.default_rng(0).random((2, *net.types["image"].shape), np.float32)
    skip = net.run(x, keep=["skip"]).tensors["skip"]
    np.testing.assert_array_equal(part.forward(skip), net.forward(x))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda net: edit.replace_layer(net, "absent", net["first"]), "has no layer 'absent'"),
        (lambda net: edit.replace_layer(net, "first", Flatten(name="flat", inputs=("image",))), "depthwise: its input"),
        (lambda net: edit.insert_after(net, "first", identity(net, "first", "point")), "point: two layers have this"),
        (lambda net: edit.subgraph(net, ("absent",)), "has no layer 'absent'"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused_by_name(change, message):
    with pytest.raises(SpicaError, match=message):
        change(float_network())


def test_layers_without_the_name_stay_the_same_records():
    net = float_network()
    edited = edit.replace_layer(net, "first", replace(net["first"], activation=ReLU()))
    assert all(a is b for a, b in zip(edited, net) if a.name != "first")
    assert edit.redirect(net["dense"], {"image": "other"}) is net["dense"]
