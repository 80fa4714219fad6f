"""The engine's benchmarks: their networks, their export, and that both sides compute the same thing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spica.network import Network

FOLDER = Path(__file__).parent.parent / "benchmarks" / "engine"


@pytest.fixture(autouse=True)
def on_path(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)


@pytest.fixture
def small() -> tuple[Network, np.ndarray]:
    import studied

    net = studied.integer("resnet8")
    return net, studied.samples(net, 4)


@pytest.mark.parametrize("density", [1.0, 0.3, 0.05])
def test_a_network_takes_the_wished_density(small, density):
    import studied

    net, x = small
    found = studied.densities(studied.at_density(net, x, density), x)
    assert found["conv_1b"] == pytest.approx(density, abs=0.02)
    assert found["conv_2b"] == pytest.approx(density, abs=0.02)


@pytest.mark.parametrize("kind", ["conv3x3", "conv1x1", "depthwise3x3", "dense"])
def test_single_layers_run(kind):
    import studied

    net = studied.single(kind, 1 if kind == "dense" else 5, 8)
    x = studied.sparse((3, *net.inputs[0].shape), 0.5)
    assert net.run(x, keep=["layer"]).tensors["layer"].any()


@pytest.mark.parametrize("name", ["resnet8", "ds_cnn", "mobilenet_0.25_96_fused", "autoencoder"])
def test_the_exported_model_means_what_the_network_does(name):
    onnxruntime = pytest.importorskip("onnxruntime")
    import qdq
    import studied

    net = studied.integer(name)
    x = studied.samples(net, 4)
    session = onnxruntime.InferenceSession(qdq.to_qdq(net, x).SerializeToString())
    (theirs,) = session.run(None, {net.inputs[0].name: np.moveaxis(x, -1, 1)})
    assert np.corrcoef(theirs.ravel(), np.ravel(net.forward(x)))[0, 1] > 0.97


def test_the_export_is_valid_onnx(small):
    onnx = pytest.importorskip("onnx")
    import qdq

    net, x = small
    model = qdq.to_qdq(net, x)
    onnx.checker.check_model(model, full_check=True)
    kinds = {node.op_type for node in model.graph.node}
    assert {"QuantizeLinear", "DequantizeLinear", "Conv", "Gemm", "Add", "Relu"} <= kinds
