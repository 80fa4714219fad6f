"""Recurrences with gates, from each source, by every option: what they compute, and what is refused by name."""

from __future__ import annotations

import io

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

import spica
from spica.layers.host import GatedRecurrence

X = np.random.default_rng(3).normal(size=(3, 7, 5)).astype(np.float32)
WITHIN = {"rtol": 1e-4, "atol": 1e-5}


# -- Keras -----------------------------------------------------------------------------------------------------------

KERAS = {
    "LSTM": lambda k: k.LSTM(4),
    "LSTM of all steps": lambda k: k.LSTM(4, return_sequences=True),
    "LSTM backwards": lambda k: k.LSTM(4, go_backwards=True),
    "LSTM of all steps backwards": lambda k: k.LSTM(4, return_sequences=True, go_backwards=True),
    "LSTM without bias": lambda k: k.LSTM(4, use_bias=False),
    "LSTM of other functions": lambda k: k.LSTM(4, activation="relu", recurrent_activation="hard_sigmoid"),
    "LSTM with dropout": lambda k: k.LSTM(4, dropout=0.3, recurrent_dropout=0.2),
    "LSTM unrolled": lambda k: k.LSTM(4, unroll=True),
    "GRU": lambda k: k.GRU(4),
    "GRU of all steps": lambda k: k.GRU(4, return_sequences=True),
    "GRU backwards": lambda k: k.GRU(4, go_backwards=True, return_sequences=True),
    "GRU with its reset before": lambda k: k.GRU(4, reset_after=False),
    "GRU without bias": lambda k: k.GRU(4, use_bias=False),
    "GRU of other functions": lambda k: k.GRU(4, activation="softsign", recurrent_activation="sigmoid"),
    "GRU without bias, its reset before": lambda k: k.GRU(4, use_bias=False, reset_after=False),
    "simple": lambda k: k.SimpleRNN(4),
    "simple, all steps": lambda k: k.SimpleRNN(4, return_sequences=True, activation="relu"),
}
BIDIRECTIONAL = {
    "LSTM both ways": lambda k: k.Bidirectional(k.LSTM(4)),
    "GRU both ways, all steps": lambda k: k.Bidirectional(k.GRU(4, return_sequences=True)),
    "LSTM both ways, added": lambda k: k.Bidirectional(k.LSTM(4, return_sequences=True), merge_mode="sum"),
    "GRU both ways, averaged": lambda k: k.Bidirectional(k.GRU(4), merge_mode="ave"),
    "GRU both ways, multiplied": lambda k: k.Bidirectional(k.GRU(4), merge_mode="mul"),
    "two ways of their own": lambda k: k.Bidirectional(k.LSTM(4), backward_layer=k.GRU(4, go_backwards=True)),
}


def keras_model(keras, *layers):
    """Return a model of these layers, of which no weight is zero."""
    model = keras.Sequential([keras.Input(X.shape[1:]), *layers])
    random = np.random.default_rng(0)
    model.set_weights([random.normal(size=w.shape).astype(np.float32) / 2 for w in model.get_weights()])
    return model


@pytest.mark.parametrize("name", KERAS | BIDIRECTIONAL)
def test_keras_recurrences(name, keras):
    model = keras_model(keras, (KERAS | BIDIRECTIONAL)[name](keras.layers))
    got = spica.from_keras(model).forward(X)
    np.testing.assert_allclose(got, model.predict(X, verbose=0), **WITHIN)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "GRU with its reset before", "LSTM without bias", "simple"])
def test_keras_files_with_recurrences(name, suffix, keras, tmp_path):
    model = keras_model(keras, KERAS[name](keras.layers), keras.layers.Dense(2))
    model.save(tmp_path / f"model{suffix}")
    got = spica.from_file(tmp_path / f"model{suffix}").forward(X)
    np.testing.assert_allclose(got, model.predict(X, verbose=0), **WITHIN)


def test_a_keras_file_with_both_ways(keras, tmp_path):
    model = keras_model(keras, BIDIRECTIONAL["LSTM both ways"](keras.layers), keras.layers.Dense(2))
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(
        spica.from_keras(tmp_path / "model.keras").forward(X), model.predict(X, verbose=0), **WITHIN
    )


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda k: k.LSTM(4, stateful=True), "r: a recurrence with stateful is not supported; leave it out"),
        (lambda k: k.GRU(4, activation="softmax"), "r: activation 'softmax' of a recurrence is not supported; use one"),
        (lambda k: k.LSTM(4, activation=lambda x: x), "r: activation .*not Keras' own"),
        (lambda k: k.Bidirectional(k.RNN(k.LSTMCell(4))), r"r: Bidirectional of \['RNN'\]"),
    ],
)
def test_keras_options_that_are_refused(build, message, keras):
    layer = build(keras.layers)
    layer.name = "r"
    inputs = keras.Input((7, 5), batch_size=3 if getattr(layer, "stateful", False) else None)
    with pytest.raises(spica.SpicaError, match=message):
        spica.from_keras(keras.Model(inputs, layer(inputs)))


def test_states_beside_the_output_are_refused(keras):
    x = keras.Input((7, 5))
    whole, _h, _c = keras.layers.LSTM(4, return_state=True, name="r")(x)
    with pytest.raises(spica.SpicaError, match="r: a recurrence with return_state is not supported"):
        spica.from_keras(keras.Model(x, whole))
    begun = keras.layers.GRU(4, name="r")(x, initial_state=keras.layers.Dense(4)(keras.layers.Flatten()(x)))
    with pytest.raises(spica.SpicaError, match="r: a given initial state is not supported"):
        spica.from_keras(keras.Model(x, begun))


# -- PyTorch ---------------------------------------------------------------------------------------------------------


class Read(nn.Module):
    """A recurrence of PyTorch, and what is read of its results."""

    def __init__(self, cell, read=lambda out, state: out, **options):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.read, self.first = cell(5, 4, **options), read, options.get("batch_first", False)

    def forward(self, x):
        return self.read(*self.cell(x if self.first else x.transpose(0, 1)))


def hidden(out, state):
    return state[0] if isinstance(state, tuple) else state


READS = {
    "all steps": lambda out, state: out,
    "the last step": lambda out, state: out[:, -1],
    "the last state": lambda out, state: hidden(out, state)[-1],
    "the last states": lambda out, state: hidden(out, state).transpose(0, 1).flatten(1),
    "the mean": lambda out, state: out.mean(1),
}
OPTIONS = [{}, {"bias": False}, {"num_layers": 2}, {"bidirectional": True}, {"num_layers": 2, "bidirectional": True}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_pytorch_recurrences(cell, read, options):
    module = Read(cell, READS[read], batch_first=True, dropout=0.0, **options).eval()
    got = spica.from_torch(module, X).forward(X)
    np.testing.assert_allclose(got, module(torch.tensor(X)).detach().numpy(), **WITHIN)


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_pytorch_recurrences_with_time_first(cell):
    module = Read(cell, lambda out, state: out.transpose(0, 1), num_layers=2).eval()
    got = spica.from_torch(module, X).forward(X)
    np.testing.assert_allclose(got, module(torch.tensor(X)).detach().numpy(), **WITHIN)
    last = Read(cell, lambda out, state: out[-1]).eval()
    np.testing.assert_allclose(spica.from_torch(last, X).forward(X), last(torch.tensor(X)).detach().numpy(), **WITHIN)


def test_pytorch_rectified():
    module = Read(nn.RNN, batch_first=True, nonlinearity="relu").eval()
    got = spica.from_torch(module, X).forward(X)
    np.testing.assert_allclose(got, module(torch.tensor(X)).detach().numpy(), **WITHIN)


def test_a_signal_goes_through_convolutions_and_a_recurrence():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.gru, self.last = (
                nn.Conv1d(5, 8, 3, padding=1),
                nn.GRU(8, 6, batch_first=True),
                nn.Linear(6, 3),
            )

        def forward(self, x):
            return self.last(self.gru(torch.relu(self.conv(x)).transpose(1, 2))[1][0])

    torch.manual_seed(0)
    module, x = Words().eval(), X.transpose(0, 2, 1)
    net = spica.from_torch(module, x)
    np.testing.assert_allclose(net.forward(X), module(torch.tensor(x)).detach().numpy(), **WITHIN)


class Begun(nn.Module):
    def __init__(self, computed):
        super().__init__()
        self.cell, self.computed = nn.GRU(5, 4, batch_first=True), computed

    def forward(self, x):
        given = x[:, 0, :4][None] if self.computed else torch.ones(1, len(x), 4)
        return self.cell(x, given.contiguous())[0]


@pytest.mark.parametrize(
    "module, message",
    [
        (Read(nn.LSTM, lambda out, state: state[1][0], batch_first=True), "cannot follow a cell state"),
        (Read(nn.LSTM, batch_first=True, proj_size=3), "cell/lstm: proj_size is not supported"),
        (Begun(False), "cell: a given initial state is not supported; start from zeros"),
        (Begun(True), "cell: .*(initial state|only its first argument)"),
    ],
)
def test_pytorch_options_that_are_refused(module, message):
    with pytest.raises(spica.SpicaError, match=message):
        spica.from_torch(module, X)


# -- ONNX ------------------------------------------------------------------------------------------------------------

BLOCKS = {"LSTM": 4, "GRU": 3, "RNN": 1}


def onnx_model(kind, output="y", inputs="x w r b", layout=0, more=(), tail=(), **attributes):
    """Return a model with one recurrence that reads ``(N, T, C)``, and one of its outputs."""
    random, ways = np.random.default_rng(1), 1 + (attributes.get("direction") == "bidirectional")
    rows = BLOCKS[kind] * 4
    held = {
        "w": random.normal(size=(ways, rows, 5)), "r": random.normal(size=(ways, rows, 4)),
        "b": random.normal(size=(ways, 2 * rows)), **dict(more),
    }  # fmt: skip
    names = [name if name != "-" else "" for name in inputs.split()]
    nodes = []
    if not layout:
        nodes.append(helper.make_node("Transpose", ["x"], ["turned"], perm=[1, 0, 2]))
        names = ["turned" if name == "x" else name for name in names]
    outputs = ["y", "y_h", "y_c"][: 3 if kind == "LSTM" else 2]
    given = {"layout": layout} if layout else {}
    nodes.append(helper.make_node(kind, names, outputs, name="cell", hidden_size=4, **given, **attributes))
    rank = 3 if output != "y" else 4
    if not layout:
        perm = [2, 0, 1, 3] if output == "y" else [1, 0, 2]
        nodes.append(helper.make_node("Transpose", [output], ["batch"], perm=perm))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", 1, [None, 7, 5])],
        [value(output if layout else "batch", 1, [None] * rank)],
        [numpy_helper.from_array(a.astype(np.int32 if a.dtype.kind == "i" else np.float32), n)
         for n, a in held.items() if n in inputs.split()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def by_onnxruntime(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("output", ["y", "y_h"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("inputs", ["x w r b", "x w r", "x w r b n h"])
@pytest.mark.parametrize("kind", BLOCKS)
def test_onnx_recurrences(kind, inputs, direction, output):
    more = {"n": np.full(3, 7, np.int32), "h": np.zeros((1 + (direction == "bidirectional"), 3, 4))}
    model = onnx_model(kind, output, inputs, direction=direction, more=more)
    got = spica.from_onnx(model).forward(X)
    np.testing.assert_allclose(got.reshape(-1), by_onnxruntime(model, X).reshape(-1), **WITHIN)


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_onnx_gru_with_its_reset_after(direction):
    model = onnx_model("GRU", direction=direction, linear_before_reset=1)
    np.testing.assert_allclose(spica.from_onnx(model).forward(X).ravel(), by_onnxruntime(model, X).ravel(), **WITHIN)


@pytest.mark.parametrize(
    "kind, activations",
    [("LSTM", ["Sigmoid", "Softsign", "Softsign"]), ("GRU", ["Sigmoid", "Relu"]), ("RNN", ["Relu"])],
)
def test_onnx_activations(kind, activations):
    model = onnx_model(kind, activations=activations)
    np.testing.assert_allclose(spica.from_onnx(model).forward(X).ravel(), by_onnxruntime(model, X).ravel(), **WITHIN)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
@pytest.mark.parametrize("output", ["y", "y_h"])
def test_onnx_with_the_batch_first(kind, output):
    """onnxruntime refuses this layout, so the other one says what is wanted."""
    got = spica.from_onnx(onnx_model(kind, output, layout=1)).forward(X)
    np.testing.assert_allclose(got.ravel(), by_onnxruntime(onnx_model(kind, output), X).ravel(), **WITHIN)


@pytest.mark.parametrize(
    "kind, options, message",
    [
        ("LSTM", {"clip": 2.0}, "a recurrence with clip"),
        ("LSTM", {"input_forget": 1}, "input_forget"),
        ("LSTM", {"output": "y_c"}, "cannot follow a cell state"),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Relu"]}, "different activations of cell and output"),
        ("GRU", {"activations": ["HardSigmoid", "Tanh"]}, r"activations \['HardSigmoid', 'Tanh'\] is not supported"),
        ("GRU", {"inputs": "x w r b n", "more": {"n": np.array([7, 3, 7], np.int32)}}, "sequences of several lengths"),
        ("GRU", {"inputs": "x w r b - h", "more": {"h": np.ones((1, 3, 4))}}, "a given initial state"),
        ("LSTM", {"inputs": "x w r b - - c", "more": {"c": np.ones((1, 3, 4))}}, "a given initial cell state"),
        ("LSTM", {"inputs": "x w r b - - - p", "more": {"p": np.ones((1, 12))}}, "peepholes"),
    ],
)
def test_onnx_options_that_are_refused(kind, options, message):
    with pytest.raises(spica.SpicaError, match=f"(cell|batch).*{message}|{message}"):
        spica.from_onnx(onnx_model(kind, **options))


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU])
def test_onnx_that_pytorch_wrote(cell):
    module = Read(cell, READS["the last step"], batch_first=True, num_layers=2, bidirectional=True).eval()
    file = io.BytesIO()
    torch.onnx.export(module, torch.tensor(X[:1]), file, dynamo=False, input_names=["x"])
    got = spica.from_onnx(onnx.load_from_string(file.getvalue())).forward(X)
    np.testing.assert_allclose(got, module(torch.tensor(X)).detach().numpy(), **WITHIN)


# -- the layer -------------------------------------------------------------------------------------------------------


def test_equal_sources_give_equal_layers(keras):
    """A recurrence of Keras, set to the weights of PyTorch's, is the same record."""
    module = nn.LSTM(5, 4, batch_first=True)
    (ours,) = [a for a in spica.from_torch(Read(nn.LSTM, batch_first=True), X) if isinstance(a, GatedRecurrence)]
    model = keras.Sequential([keras.Input(X.shape[1:]), keras.layers.LSTM(4, return_sequences=True)])
    model.set_weights([ours.kernel, ours.recurrent_kernel, ours.bias + ours.recurrent_bias])
    (theirs,) = [a for a in spica.from_keras(model) if isinstance(a, GatedRecurrence)]
    assert module.hidden_size == 4 and ours.cell == theirs.cell
    np.testing.assert_allclose(theirs.kernel, ours.kernel)
