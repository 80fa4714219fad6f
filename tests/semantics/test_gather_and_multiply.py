"""Products of tensors and moves of any kind: the same integers from the reference, the engine and training."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spica
from spica.layers import Concatenate, Conv2D, Gather, Input, Multiply, TableActivation
from spica.layers.functions import FUNCTIONS
from spica.network import Network
from spica.network.layer import forward_integer
from spica.network.types import TensorType
from spica.program.checks import check
from spica.program.interpret import interpret
from spica.program.segments import trace_network
from spica.semantics.reference import Reference
from support.profiles import examples


@st.composite
def moves(draw):
    """A network of a gather from anywhere to anywhere, some of it zeros, and what it is in plain Python."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    target = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    bits, signed = draw(st.sampled_from([(8, True), (8, False), (4, False), (16, True)]))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    positions = random.integers(-1, prod(shape), prod(target))
    source = Input(name="input", shape=shape, bits=bits, signed=signed)
    return Network((source, Gather(name="g", inputs=("input",), positions=positions, shape=target)), ("g",))


def samples(net, seed=0):
    kind = net.types["input"]
    return np.random.default_rng(seed).integers(*kind.range, (5, *kind.shape), endpoint=True).astype(kind.dtype)


@examples(80)
@given(moves())
def test_a_gather_takes_what_its_positions_say(net):
    x, layer = samples(net), net["g"]
    want = [[row[p] if p >= 0 else 0 for p in layer.positions] for row in x.reshape(len(x), -1)]
    for engine in ("reference", "native"):
        got = net.forward(x, engine=engine, threads=2) if engine == "native" else net.forward(x, engine=engine)
        np.testing.assert_array_equal(got, np.reshape(want, (len(x), *layer.shape)))


@st.composite
def products(draw):
    """Two tensors of which the second spreads over the first."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=1, max_size=3)))
    other = tuple(draw(st.sampled_from([n, 1])) for n in shape)
    kinds = [draw(st.sampled_from([(8, True), (8, False), (4, False), (16, True)])) for _ in range(2)]
    sources = [
        Input(name=name, shape=s, bits=bits, signed=signed)
        for name, s, (bits, signed) in zip("ab", (shape, other), kinds)
    ]
    return Network((*sources, Multiply(name="m", inputs=("a", "b"))), ("m",))


@examples(80)
@given(products())
def test_products_spread_as_numpy_has_it(net):
    random = np.random.default_rng(1)
    x = [random.integers(*k.range, (4, *k.shape), endpoint=True).astype(k.dtype) for k in (net.types[n] for n in "ab")]
    want = (x[0].astype(np.int64) * x[1]).astype(np.float32)  # as which sums leave without an output stage
    for engine in ("reference", "native"):
        np.testing.assert_array_equal(net.forward(x, engine=engine), want)


def gated(seed=0):
    random = np.random.default_rng(seed)
    kernel = lambda *s: (random.normal(size=s) / np.sqrt(prod(s[:-1]))).astype(np.float32)  # noqa: E731
    order = random.integers(-1, 8 * 8 * 6, 5 * 7 * 4)
    layers = (
        Input(name="x", shape=(8, 8, 3)),
        Conv2D(name="c", inputs=("x",), kernel=kernel(3, 3, 3, 6), padding="same"),
        TableActivation(name="silu", inputs=("c",), function="silu"),
        Conv2D(name="one", inputs=("silu",), kernel=kernel(1, 1, 6, 1)),
        TableActivation(name="gate", inputs=("one",), function="sigmoid"),
        Multiply(name="m", inputs=("silu", "gate")),
        Gather(name="g", inputs=("m",), positions=order, shape=(5, 7, 4)),
        Conv2D(name="last", inputs=("g",), kernel=kernel(3, 3, 4, 5), padding="same"),
    )
    return Network(layers, ("last",))


def test_a_gated_network_is_the_same_everywhere(keras, tmp_path):
    net, x = gated(), np.random.default_rng(1).integers(0, 256, (24, 8, 8, 3)).astype(np.uint8)
    qnet = spica.quantize(net, x)
    want = qnet.forward(x, engine="reference")
    for threads in (1, 2):
        np.testing.assert_array_equal(qnet.forward(x, threads=threads), want)
    np.testing.assert_array_equal(spica.trainable(qnet).predict(x, verbose=0), want)
    qnet.save(tmp_path / "net.spica")
    np.testing.assert_array_equal(spica.load(tmp_path / "net.spica").forward(x), want)
    error, real = want - net.forward(x), net.forward(x)
    assert 10 * np.log10((real**2).sum() / (error**2).sum()) > 20
    (segment,) = trace_network(qnet)
    check(segment.program)
    assert {"Multiply", "Gather", "Lut"} <= {type(step).__name__ for step in segment.program.steps}
    np.testing.assert_array_equal(interpret(segment.program, [x])[0], want)


def test_tables_and_convolutions_are_joined_and_summed():
    random = np.random.default_rng(0)
    kernel = lambda *s: (random.normal(size=s) / np.sqrt(prod(s[:-1]))).astype(np.float32)  # noqa: E731
    layers = (
        Input(name="x", shape=(8, 8, 3)),
        Conv2D(name="a", inputs=("x",), kernel=kernel(3, 3, 3, 4), padding="same"),
        TableActivation(name="silu", inputs=("a",), function="silu"),
        Conv2D(name="b", inputs=("silu",), kernel=kernel(3, 3, 4, 4), padding="same"),
        Concatenate(name="both", inputs=("silu", "b")),
        Conv2D(name="last", inputs=("both",), kernel=kernel(3, 3, 8, 5), padding="same"),
    )
    net, x = Network(layers, ("last",)), random.integers(0, 256, (24, 8, 8, 3)).astype(np.uint8)
    qnet = spica.quantize(net, x)
    want, real = qnet.forward(x, engine="reference"), net.forward(x)
    np.testing.assert_array_equal(qnet.forward(x), want)
    assert 10 * np.log10((real**2).sum() / ((want - real) ** 2).sum()) > 20


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_becomes_a_table_that_is_near_it(name):
    random = np.random.default_rng(0)
    low = 0.2 if name == "power" else -3
    x = random.uniform(low, 3, (64, 16)).astype(np.float32)
    layers = (Input(name="x", shape=(16,)), TableActivation(name="y", inputs=("x",), function=name))
    net = Network(layers, ("y",))
    qnet = spica.quantize(net, x)
    got, want = qnet.forward(spica.to_input_integers(qnet, x)), net.forward(x)
    steps = abs(qnet.types["y"].scale.max()) * 2.0 ** -qnet.types["y"].frac_bits.max()
    slope = np.abs(np.diff(FUNCTIONS[name](np.linspace(low, 3, 500)))).max() * 500 / (3 - low)
    jump = 0.51 if name == "hard_shrink" else 0
    assert np.abs(got - want).max() <= steps + slope * 6 / 255 + jump


def test_what_does_not_fit_is_refused():
    kind = TensorType((2, 2, 3), 8, True, np.zeros((), np.int64), np.ones((), np.float32))
    gather = Gather(name="g", inputs=("x",), positions=np.array([0, 12]), shape=(2,))
    with pytest.raises(spica.SpicaError, match="position 12 is not within"):
        Network((Input(name="x", shape=(2, 2, 3), bits=8), gather), ("g",)).types  # noqa: B018
    both = (Input(name="x", shape=(2, 2, 3), bits=8), Input(name="z", shape=(2, 3, 3), bits=8))
    with pytest.raises(spica.SpicaError, match=r"m: .* does not spread over"):
        Network((*both, Multiply(name="m", inputs=("x", "z"))), ("m",)).types  # noqa: B018
    wide = Input(name="w", shape=(2, 2, 3), bits=32)
    with pytest.raises(spica.SpicaError, match=r"m: .* is beyond 32 bits"):
        Network((both[0], wide, Multiply(name="m", inputs=("x", "w"))), ("m",)).types  # noqa: B018
    x = np.arange(12).reshape(1, 2, 2, 3)
    layer = Gather(name="g", inputs=("x",), positions=np.array([-1, 11]), shape=(2,))
    np.testing.assert_array_equal(forward_integer(layer, [x], [kind], Reference()), [[0, 11]])
