"""A softmax along any axis, and in the middle of a network: what it computes, from each source."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import helper
from torch import nn

import spica

SHAPES = [(6,), (5, 6), (4, 5, 6), (1, 5, 6), (4, 1, 1), (4, 5, 1), (4, 1, 6), (1, 1, 6), (1, 5, 1), (1, 1, 1)]
AXES = [(shape, axis) for shape in SHAPES for axis in range(1, len(shape) + 1)]


def samples(shape):
    return np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)


class Own(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.own = forward

    def forward(self, x):
        return self.own(x)


@pytest.mark.parametrize("shape, axis", AXES)
@pytest.mark.parametrize("function", [F.softmax, F.log_softmax])
def test_pytorch(shape, axis, function):
    x = samples(shape)
    wanted = function(torch.tensor(x), axis).numpy()
    image = len(shape) == 3
    got = spica.from_torch(Own(lambda x: function(x, axis)), x).forward(np.moveaxis(x, 1, -1) if image else x)
    np.testing.assert_allclose(np.moveaxis(got, -1, 1) if image else got, wanted, atol=1e-6)


@pytest.mark.parametrize("shape, axis", AXES)
def test_keras(shape, axis, keras):
    x = samples(shape)
    model = keras.Sequential([keras.Input(shape), keras.layers.Softmax(axis=axis)])
    np.testing.assert_allclose(spica.from_keras(model).forward(x), model.predict(x, verbose=0), atol=1e-6)


@pytest.mark.parametrize("shape, axis", AXES)
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
def test_onnx(shape, axis, kind):
    x, value = samples(shape), helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node(kind, ["x"], ["y"], axis=axis)], "g",
        [value("x", 1, [None, *shape])], [value("y", 1, [None, *shape])],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    image = len(shape) == 3
    got = spica.from_onnx(model).forward(np.moveaxis(x, 1, -1) if image else x)
    wanted = session.run(None, {"x": x})[0]
    np.testing.assert_allclose(np.moveaxis(got, -1, 1) if image else got, wanted, atol=1e-6)


class Selective(nn.Module):
    """Two paths, mixed channel by channel in shares that a softmax over the paths gives."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.paths = nn.ModuleList(nn.Conv2d(4, 6, 3, padding=d, dilation=d) for d in (1, 2))
        self.scores, self.last = nn.Conv2d(6, 12, 1), nn.Linear(6, 3)

    def forward(self, x):
        made = torch.stack([F.relu(path(x)) for path in self.paths], 1)
        scores = self.scores(made.sum(1).mean((2, 3), keepdim=True))
        shares = F.softmax(scores.view(len(x), 2, 6, 1, 1), 1)
        return self.last((made * shares).sum(1).mean((2, 3)))


class Places(nn.Module):
    """Attention to places: a softmax over all pixels gates them."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.scores, self.last = nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(6, 1, 1), nn.Linear(6, 3)

    def forward(self, x):
        x = F.relu(self.first(x))
        shares = F.softmax(self.scores(x).flatten(1), 1).view(len(x), 1, *x.shape[2:])
        return self.last((x * shares).mean((2, 3)) * 64)


@pytest.mark.parametrize("build", [Selective, Places])
def test_in_the_middle_of_a_network(build):
    module, x = build().eval(), np.random.default_rng(0).normal(size=(48, 4, 8, 8)).astype(np.float32)
    net, ours = spica.from_torch(module, x), np.moveaxis(x, 1, -1)
    wanted = module(torch.tensor(x)).detach().numpy()
    np.testing.assert_allclose(net.forward(ours), wanted, atol=1e-5)
    with pytest.raises(spica.SpicaError, match=r"in this place has no integer meaning; .* spica\.split"):
        spica.quantize(net, ours)
    hybrid = spica.split(net, "AKIDA2-6", ours)
    got = hybrid.forward(spica.to_input_integers(hybrid.network, ours))
    assert np.corrcoef(got.ravel(), wanted.ravel())[0, 1] > 0.99 and hybrid.share > 0.5


def test_over_samples_it_is_refused():
    with pytest.raises(spica.SpicaError, match="a softmax over samples is not supported"):
        spica.from_torch(Own(lambda x: F.softmax(x, 0)), samples((5, 6)))
