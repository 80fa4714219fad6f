"""The contract of a pass, and how pipelines run passes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from spica import SpicaError
from spica.layers import Dense, Flatten, ReLU
from spica.network import edit
from spica.passes.base import Pass, Pipeline, Result
from support.float_networks import float_network


@Pass
def rectify(net):
    """Rectify the first layer that is not."""
    for layer in net:
        if getattr(layer, "activation", 0) is None:
            return Result(edit.replace_layer(net, layer.name, replace(layer, activation=ReLU())), True, layer.name)
    return Result(net)


@Pass
def broken(net):
    """Break the last layer."""
    return Result(edit.replace_layer(net, "dense", replace(net["dense"], bias=net["dense"].bias[:2])), True)


@Pass
def lying(net):
    """Say that something was modified."""
    return Result(net, True)


@Pass
def cutting(net):
    """Leave the last layer out."""
    return Result(edit.subgraph(net, ("averaged",)), True)


def refuse(net):
    if any(isinstance(layer, Dense) for layer in net):
        raise SpicaError("dense: no dense layers, please")


@partial(Pass, requires=[refuse])
def picky(net):
    """Do nothing to networks without dense layers."""
    return Result(net)


@partial(Pass, ensures=[refuse])
def failing(net):
    """Change a network, and leave what was to go."""
    return Result(edit.insert_after(net, "averaged", Flatten(name="flat", inputs=("averaged",))), True)


def test_a_pass_has_the_name_and_the_docstring_of_its_function():
    assert rectify.name == "rectify" and rectify.__doc__ == "Rectify the first layer that is not."


def test_a_pass_returns_the_network_and_whether_it_is_another():
    net = float_network()
    network, modified, note = rectify.run(net)
    assert modified and note == "point" and network["point"].activation is not None
    assert net["point"].activation is None and rectify(net)["point"].activation is not None


def test_pipelines_run_until_nothing_changes():
    net = float_network()
    once = Pipeline(rectify).run(net)
    assert once.modified and once.network["dense"].activation is None
    stable = Pipeline(rectify, until_stable=True).run(net)
    assert stable.modified and stable.network["dense"].activation is not None
    assert Pipeline(rectify, until_stable=True).run(stable.network) == (stable.network, False, "")


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (broken, "pass broken: dense: bias has shape"),
        (lying, "pass lying: .* modified=True, which is not so"),
        (cutting, "pass cutting: network: its inputs and outputs must stay"),
        (picky, "pass picky: dense: no dense layers, please"),
        (failing, "pass failing: dense: no dense layers, please"),
    ],
)
def test_a_pass_that_fails_its_contract_is_named(step, message):
    for run in (step.run, Pipeline(step).run):
        with pytest.raises(SpicaError, match=message):
            run(float_network())


def test_what_is_no_network_is_refused():
    with pytest.raises(SpicaError, match="expected a Network, got NoneType"):
        rectify(None)
