"""TensorFlow.js models of layers in: the networks of the Keras models that they are, and their files."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

import spica
from frontends.test_keras import MODELS, OPERATIONS, randomise
from frontends.test_keras_file import as_keras_2, built, nested, same_network, saved

pytest.importorskip("h5py")
from support.tfjs import layers_of_h5, save

CAUSAL = "causal convolutions of a whole clip"


@pytest.mark.parametrize("name", [name for name in (*MODELS, *OPERATIONS) if name != CAUSAL])
def test_layers_give_the_network_of_the_live_model(name, tmp_path, keras):
    model = built(name, keras)
    path = layers_of_h5(saved(model, tmp_path / "model.h5"), tmp_path / "js", shards=2)
    same_network(spica.from_tfjs(path), spica.from_keras(model))


def test_layers_over_time_are_left_to_keras(tmp_path, keras):
    path = layers_of_h5(saved(built(CAUSAL, keras), tmp_path / "model.h5"), tmp_path / "js")
    with pytest.raises(spica.SpicaError, match=r"spica\.from_keras"):
        spica.from_tfjs(path)


def plain(keras):
    k = keras.layers
    return randomise(keras.Sequential([
        keras.Input((9, 8, 3)), k.Conv2D(4, 3, 2, "same", use_bias=False), k.BatchNormalization(), k.LeakyReLU(0.1),
        k.DepthwiseConv2D(3, padding="same"), k.Activation("relu"), k.SeparableConv2D(5, 3), k.Dropout(0.2),
        k.GlobalAveragePooling2D(), k.Dense(3, activation="softmax"),
    ]))  # fmt: skip


def test_layers_of_keras_2(tmp_path, keras):
    model = plain(keras)
    path = layers_of_h5(as_keras_2(model, tmp_path / "old.h5"), tmp_path / "js")
    same_network(spica.from_file(path), spica.from_keras(model))
    document = json.loads(path.read_text())
    document["modelTopology"] = document["modelTopology"]["model_config"]  # as TensorFlow.js itself saves it
    del document["format"]
    path.write_text(json.dumps(document))
    same_network(spica.from_tfjs(path), spica.from_keras(model))


def test_models_in_models(tmp_path, keras):
    model = nested(keras)
    x = np.random.default_rng(0).normal(size=(3, 6, 6, 4)).astype(np.float32)
    net = spica.from_tfjs(layers_of_h5(saved(model, tmp_path / "model.h5"), tmp_path / "js"))
    np.testing.assert_allclose(net.forward(x), model.predict(x, verbose=0), atol=1e-5)


@pytest.mark.parametrize("how", ["uint8", "uint16", "float16"])
def test_quantised_weights_are_those_of_tensorflow_js(how, tmp_path):
    kernel = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "Dense", "config": {"name": "d", "trainable": True, "batch_input_shape": [None, 5], "units": 4,
                                           "use_bias": False, "activation": "linear"}}]}}  # fmt: skip
    path = save(tmp_path, config, {"d/kernel": kernel}, "layers-model", quantization={"d/kernel": how})
    spec = json.loads(path.read_text())["weightsManifest"][0]["weights"][0]["quantization"]
    data = (tmp_path / "group1-shard1of1.bin").read_bytes()
    if how == "float16":
        want = kernel.astype(np.float16).astype(np.float32)
    else:  # numbers of JavaScript are doubles, a Float32Array rounds them
        values = [v * spec["scale"] + spec["min"] for v in np.frombuffer(data, how).tolist()]
        want = np.array(values, np.float32).reshape(5, 4)
    np.testing.assert_array_equal(spica.from_tfjs(path).layers[1].kernel, want)


def small(tmp_path):
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [
        {"class_name": "Dense", "config": {"name": "d", "trainable": True, "batch_input_shape": [None, 5], "units": 4,
                                           "use_bias": False, "activation": "relu"}}]}}  # fmt: skip
    path = save(tmp_path / "js", config, {"d/kernel": np.ones((5, 4), np.float32)}, "layers-model")
    return path, json.loads(path.read_text())


def test_weights_lie_in_the_folder_of_the_model(tmp_path):
    path, document = small(tmp_path)
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(80))
    os.symlink(secret, path.parent / "link.bin")
    os.mkfifo(path.parent / "pipe.bin")
    for name in ("../secret.bin", str(secret), "link.bin", "a/../../secret.bin", "..", "."):
        document["weightsManifest"][0]["paths"] = [name]
        path.write_text(json.dumps(document))
        with pytest.raises(spica.SpicaError, match="outside the folder of the model"):
            spica.from_tfjs(path)
    for name in ("http://x.org/a.bin", "nowhere.bin", "pipe.bin", "x" * 5000, "a\0", 3, None):
        document["weightsManifest"][0]["paths"] = [name]
        path.write_text(json.dumps(document))
        with pytest.raises(spica.SpicaError, match=r"model\.json: "):
            spica.from_tfjs(path)


def test_sizes_are_checked_before_weights_are_read(tmp_path):
    path, document = small(tmp_path)
    group = document["weightsManifest"][0]

    def refused(message):
        path.write_text(json.dumps(document))
        with pytest.raises(spica.SpicaError, match=message):
            spica.from_tfjs(path)

    (weights,), paths = group["weights"], list(group["paths"])
    for shape in ([5, 5], [1 << 40, 1 << 40], [5], [-1, -20], ["5", 4], [1] * 9, [True, 20], None):
        group["weights"] = [weights | {"shape": shape}]
        refused(r"model\.json: |weights 'd/kernel'")
    group["weights"] = [weights, weights]
    refused("it is not whole")
    group |= {"weights": [weights | {"dtype": "complex64"}]}
    refused("complex64")
    group |= {"weights": [weights | {"quantization": {"dtype": "uint8", "scale": float("inf"), "min": 0}}]}
    (path.parent / paths[0]).write_bytes(bytes(20))
    refused("cannot be quantised")
    group |= {"weights": [weights | {"shape": [10, 4]}], "paths": [*paths, *paths]}
    refused("twice")
    group |= {"weights": [weights | {"shape": [1 << 30, 4]}], "paths": paths}
    with open(path.parent / paths[0], "r+b") as file:
        file.truncate(16 << 30)  # of zeros, which take no room
    refused("claim to unpack")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"[" * 100_000, b"{" * 9, b'{"modelTopology": []}', b"\xff\xfe",
                                     b'{"modelTopology": {"class_name": "Sequential"}, "weightsManifest": []}',
                                     b'{"modelTopology": {}, "weightsManifest": 3}'])  # fmt: skip
def test_files_that_are_no_models_are_refused(content, tmp_path):
    path = tmp_path / "model.json"
    path.write_bytes(content)
    with pytest.raises(spica.SpicaError, match=r"model\.json: "):
        spica.from_file(path)


def test_lists_too_long_are_refused(tmp_path):
    path, document = small(tmp_path)
    manifest = document["weightsManifest"]
    for group in ({"paths": ["a.bin"] * 100_000, "weights": []}, {"paths": [], "weights": [{}] * 100_000}):
        path.write_text(json.dumps(document | {"weightsManifest": [group]}))
        with pytest.raises(spica.SpicaError, match="are the most"):
            spica.from_tfjs(path)
    layers = document["modelTopology"]["config"]["layers"]
    document["modelTopology"]["config"]["layers"] = layers * 20_000
    path.write_text(json.dumps(document | {"weightsManifest": manifest}))
    with pytest.raises(spica.SpicaError, match="are the most"):
        spica.from_tfjs(path)


def test_a_text_too_long_is_not_read(tmp_path):
    path = tmp_path / "model.json"
    with open(path, "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(spica.SpicaError, match="at most"):
        spica.from_tfjs(path)
