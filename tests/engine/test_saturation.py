"""Counting sums that saturate, against a loop over whole numbers and on networks with memory."""

import numpy as np
import pytest
from hypothesis import given

import spica
from spica.engine.saturation import Counting, saturated_shares
from spica.layers import Dense, Input
from spica.network import Network
from support.networks import integer_networks
from support.profiles import examples


def dense_network(accumulator_bits: int, bias: np.ndarray) -> Network:
    random = np.random.default_rng(0)
    kernel = random.integers(-8, 8, (12, 5)).astype(np.int8)
    layer = Dense(
        name="dense", inputs=("image",), kernel=kernel, weight_bits=4, weight_scale=np.ones(5, np.float32),
        bias=bias, accumulator_bits=accumulator_bits,
    )  # fmt: skip
    return Network([Input(name="image", shape=(12,), bits=8, signed=False), layer], ["dense"])


@pytest.mark.parametrize("accumulator_bits", [8, 9, 27])
def test_shares_are_those_of_a_loop_over_whole_numbers(accumulator_bits):
    bias, x = np.array([0, 40, -40, 300, -300]), np.random.default_rng(1).integers(0, 256, (50, 12), np.uint8)
    net = dense_network(accumulator_bits, bias)
    limit, lost = 1 << accumulator_bits, 0
    for row in x.tolist():
        for column, added in zip(net["dense"].kernel.T.tolist(), bias.tolist()):
            total = sum(a * b for a, b in zip(row, column))
            kept = max(min(total, limit - 1), -limit)
            lost += not (-limit <= total < limit and -limit <= kept + added < limit)
    assert saturated_shares(net, x) == {"dense": lost / 250}
    assert (lost == 0) == (accumulator_bits == 27)


def test_additions_count():
    ops = Counting(1)
    x, none = np.array([[0, 127, 128, 255]]), np.zeros(4, np.int64)
    ops.add(x, x, (none, none), 8)
    assert (ops.saturated[""], ops.sums[""]) == (2, 4)


@examples(100)
@given(integer_networks())
def test_every_network_can_be_counted(case):
    net, x = case
    shares = saturated_shares(net, x)
    assert all(0 <= share <= 1 for share in shares.values())
    assert set(shares) <= {layer.name for layer in net}


def test_check_says_it():
    net = dense_network(8, np.array([0, 0, 0, 0, 255]))
    x = np.zeros((4, 12), np.uint8)
    assert not spica.check(net, "AKD1000", x).saturated
    x[0], sums = 255, 255 * net["dense"].kernel.astype(int).sum(axis=0) + [0, 0, 0, 0, 255]
    share = np.sum((sums < -256) | (sums > 255)) / 20
    assert share > 0 and spica.check(net, "AKD1000", x).to_dict()["saturated"] == {"dense": share}
    assert f"dense: {share:.2%} of its sums saturate" in str(spica.check(net, "AKD1000", x))
