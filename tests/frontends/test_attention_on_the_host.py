"""Attention that no chip computes, in parts: with a bias, a mask, or between windows; products of matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import spica
from spica.layers import Input
from spica.layers.host import MatrixProduct
from spica.network import Network

X = np.random.default_rng(0).normal(size=(24, 6, 8)).astype(np.float32)


class Biased(nn.Module):
    """Self-attention whose scores get a bias (as Swin's of positions), a mask, or neither before their softmax."""

    def __init__(self, masked=False, windows=1):
        super().__init__()
        torch.manual_seed(0)
        self.qkv, self.last, self.windows = nn.Linear(8, 24), nn.Linear(8, 3), windows
        tokens = 6 // windows
        bias = torch.full((tokens, tokens), -100.0).triu(1) if masked else torch.randn(2, tokens, tokens)
        self.register_buffer("bias", bias)

    def forward(self, x):
        n, tokens = len(x) * self.windows, 6 // self.windows
        q, k, v = self.qkv(x.reshape(n, tokens, 8)).reshape(n, tokens, 3, 2, 4).permute(2, 0, 3, 1, 4)
        scores = (q * 0.5) @ k.transpose(-2, -1) + self.bias
        made = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, tokens, 8)
        return self.last(made).reshape(len(x), 6, 3)


@pytest.mark.parametrize("options", [{}, {"masked": True}, {"windows": 2}, {"windows": 3, "masked": True}], ids=str)
def test_attention_with_a_bias_or_a_mask(options):
    module = Biased(**options).eval()
    net, wanted = spica.from_torch(module, X), module(torch.tensor(X)).detach().numpy()
    assert sum(isinstance(layer, MatrixProduct) for layer in net) == 2
    np.testing.assert_allclose(net.forward(X), wanted, atol=1e-5)
    with pytest.raises(
        spica.SpicaError, match=r": a (MatrixProduct|Softmax|Scale) .*spica\.split\(net, device, samples"
    ):
        spica.quantize(net, X)


def test_a_product_of_two_tensors():
    class Gram(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first = nn.Linear(8, 5)

        def forward(self, x):
            y = self.first(x)
            return torch.bmm(y, y.transpose(1, 2))

    module = Gram().eval()
    np.testing.assert_allclose(
        spica.from_torch(module, X).forward(X), module(torch.tensor(X)).detach().numpy(), atol=1e-5
    )


@given(st.lists(st.integers(1, 3), max_size=2), st.tuples(*[st.integers(1, 4)] * 3), st.integers(0, 99))
def test_the_layer_is_numpys_product(lead, sizes, seed):
    random, (m, k, n) = np.random.default_rng(seed), sizes
    a, b = (random.normal(size=(3, *lead, *shape)).astype(np.float32) for shape in ((m, k), (k, n)))
    net = Network(
        (
            Input(name="a", shape=a.shape[1:]),
            Input(name="b", shape=b.shape[1:]),
            MatrixProduct(name="p", inputs=("a", "b")),
        ),
        ("p",),
    )
    np.testing.assert_array_equal(net.forward([a, b]), a @ b)
    assert net.macs(net["p"]) == a[0].size * n


def test_matrices_that_do_not_fit_are_refused():
    layers = (Input(name="a", shape=(3, 4)), MatrixProduct(name="p", inputs=("a", "a")))
    with pytest.raises(spica.SpicaError, match=r"p: needs float matrices .* got \(3, 4\) and \(3, 4\)"):
        Network(layers, ("p",))
