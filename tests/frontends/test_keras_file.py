"""Keras files in by path: the same network as from the live model, without Keras, whichever Keras saved them."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings

import numpy as np
import pytest

import spica
from frontends.test_keras import MODELS, OPERATIONS, OPERATORS, randomise
from frontends.test_same_network import assert_equal, plain

h5py = pytest.importorskip("h5py")


def same_network(net, other):
    (layers, outputs), (others, where) = plain(net), plain(other)
    assert [type(layer).__name__ for layer in layers] == [type(layer).__name__ for layer in others]
    for ours, theirs in zip(layers, others, strict=True):
        assert_equal(ours, theirs)
    assert outputs == where and [layer.name for layer in net] == [layer.name for layer in other]


def built(name, keras):
    if name in MODELS:
        return randomise(MODELS[name](keras))
    if name in OPERATIONS:
        shape, build = OPERATIONS[name]
        return randomise(keras.Sequential([keras.Input(shape), *build(keras.layers)]))
    x = keras.Input((6, 6, 4))
    return randomise(keras.Model(x, OPERATORS[name](keras, x)))


def saved(model, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    return path


@pytest.mark.parametrize("name", [*MODELS, *OPERATIONS, *OPERATORS])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_gives_the_network_of_the_live_model(name, suffix, tmp_path, keras):
    model = built(name, keras)
    path = saved(model, tmp_path / f"model{suffix}")
    same_network(spica.from_keras(path), spica.from_keras(model))


def nested(keras):
    layers = keras.layers
    inner = keras.Sequential([keras.Input((6, 6, 4)), layers.Conv2D(4, 3), layers.BatchNormalization()], name="inner")
    deep = keras.Model(x := keras.Input((6, 6, 4)), layers.Add()([inner(x), layers.Conv2D(4, 3)(x)]), name="deep")
    x = keras.Input((6, 6, 4))
    return randomise(keras.Model(x, layers.Concatenate()([deep(x), inner(x), layers.Conv2D(2, 3)(x)])))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_models_in_models_and_layers_used_twice(suffix, tmp_path, keras):
    model = nested(keras)
    x = np.random.default_rng(0).normal(size=(3, 6, 6, 4)).astype(np.float32)
    net = spica.from_keras(saved(model, tmp_path / f"model{suffix}"))
    np.testing.assert_allclose(net.forward(x), model.predict(x, verbose=0), atol=1e-5)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_attention_and_several_inputs(suffix, tmp_path, keras):
    layers = keras.layers
    x, y = keras.Input((5, 8)), keras.Input((5, 8))
    mixed = layers.MultiHeadAttention(2, 4)(x, x)
    model = randomise(keras.Model([x, y], [layers.Add()([mixed, y]), layers.Dense(2)(mixed)]))
    net = spica.from_keras(saved(model, tmp_path / f"model{suffix}"))
    given = list(np.random.default_rng(0).normal(size=(2, 3, 5, 8)).astype(np.float32))
    for got, want in zip(net.forward(given), model.predict(given, verbose=0), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize(("shape", "axis"), [((8, 8, 8), -1), ((8, 8, 8), 1), ((8, 8), 1), ((4,), -1)])
def test_statistics_of_a_file_are_along_their_own_axis(shape, axis, tmp_path, keras):
    layer = keras.layers.Normalization(axis=axis)
    layer.adapt(np.random.default_rng(0).normal(size=(64, *shape)).astype(np.float32) * np.arange(1, 1 + shape[-1]))
    model = keras.Sequential([keras.Input(shape), layer])
    path = saved(model, tmp_path / "model.keras")
    if axis == 1:
        with pytest.raises(spica.SpicaError, match="a factor for every place is not supported"):
            spica.from_keras(path)
    else:
        same_network(spica.from_keras(path), spica.from_keras(model))


def as_keras_2(model, path):
    """Save a model of layers in a row as Keras 2 did: other names, calls as lists, batch_input_shape."""
    config = json.loads(model.to_json())
    entries = config["config"]["layers"]
    for i, entry in enumerate(entries):
        settings = entry["config"]
        for key in ("module", "registered_name", "build_config"):
            entry.pop(key, None)
        settings.pop("dtype", None)
        if "batch_shape" in settings:
            settings["batch_input_shape"] = settings.pop("batch_shape")
        if entry["class_name"] == "LeakyReLU":
            settings["alpha"] = settings.pop("negative_slope")
        if entry["class_name"] == "BatchNormalization":
            settings["axis"] = [3]
        settings.pop("keepdims", None), settings.pop("groups", None)
        entry["name"] = settings["name"]
        entry["inbound_nodes"] = [[[entries[i - 1]["config"]["name"], 0, 0, {}]]] if i else []
    config["class_name"] = "Functional"
    config["config"] |= {"input_layers": [[entries[0]["config"]["name"], 0, 0]]}
    config["config"] |= {"output_layers": [[entries[-1]["config"]["name"], 0, 0]]}
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["model_config"] = b"2.4.0", json.dumps(config).encode()
        weights = file.create_group("model_weights")
        for layer in model.layers:
            group, depthwise = weights.create_group(layer.name), type(layer).__name__ == "DepthwiseConv2D"
            names = []
            for variable in layer.weights:
                own = variable.path.split("/")[-1]
                own = "depthwise_kernel" if depthwise and own == "kernel" else own
                names.append(f"{layer.name}/{own}:0")
                group.create_dataset(names[-1], data=np.asarray(variable.value))
            group.attrs["weight_names"] = [name.encode() for name in names]
    return path


def test_files_of_keras_2_are_read(tmp_path, keras):
    k = keras.layers
    model = randomise(keras.Sequential([
        keras.Input((9, 8, 3)), k.Conv2D(4, 3, 2, "same", use_bias=False), k.BatchNormalization(), k.LeakyReLU(0.1),
        k.DepthwiseConv2D(3, padding="same"), k.Activation("relu"), k.SeparableConv2D(5, 3), k.Dropout(0.2),
        k.AveragePooling2D(2), k.GlobalAveragePooling2D(), k.Dense(3, activation="softmax"),
    ]))  # fmt: skip
    net = spica.from_keras(as_keras_2(model, tmp_path / "old.h5"))
    same_network(net, spica.from_keras(model))


def test_operators_of_keras_2_are_read(tmp_path, keras):
    model = randomise(keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Conv2D(4, 3)]))
    path = as_keras_2(model, tmp_path / "old.h5")
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        entries = config["config"]["layers"]
        source = entries[0]["config"]["name"]
        for name, function, read in (("tf.math.truediv", "math.truediv", source),
                                     ("tf.math.subtract", "math.subtract", "tf.math.truediv")):  # fmt: skip
            call = [[read, 0, 0, {"y": 127.5 if "true" in name else 1.0, "name": None}]]
            call = call[0] if "sub" in name else call
            entries.insert(-1, {
                "class_name": "TFOpLambda", "name": name, "inbound_nodes": [call],
                "config": {"name": name, "trainable": True, "dtype": "float32", "function": function},
            })  # fmt: skip
        entries[-1]["inbound_nodes"] = [[["tf.math.subtract", 0, 0, {}]]]
        file.attrs["model_config"] = json.dumps(config).encode()
    x = np.random.default_rng(0).uniform(0, 255, (2, 6, 6, 3)).astype(np.float32)
    want = model.predict(x / 127.5 - 1, verbose=0)
    np.testing.assert_allclose(spica.from_keras(path).forward(x), want, atol=1e-5)


def test_keras_is_not_needed(tmp_path, keras):
    path = saved(built("signals", keras), tmp_path / "model.keras")
    code = f"import sys, spica; print(len(spica.from_file({str(path)!r}))); assert 'keras' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_layers_over_time_are_loaded_by_keras(tmp_path, keras):
    from spica.keras import DiagonalSSM

    for layers in ([keras.layers.Conv1D(4, 3, padding="causal")], [DiagonalSSM(), keras.layers.Dense(2)]):
        model = randomise(keras.Sequential([keras.Input((8, 5)), *layers]))
        same_network(spica.from_keras(saved(model, tmp_path / "model.keras")), spica.from_keras(model))


def test_what_is_not_keras_own_is_refused(tmp_path, keras):
    class Dense(keras.layers.Dense):
        def call(self, x):
            return super().call(x) * 2

    def squared(x):
        return x * x

    for i, (layer, message) in enumerate((
        (Dense(3), r"a layer .*Dense with code of its own|Dense.*cannot be followed"),
        (keras.layers.Dense(3, activation=squared), "not Keras' own"),
        (keras.layers.Lambda(lambda x: x + 1), "Keras layer Lambda is not supported"),
    )):  # fmt: skip
        path = saved(keras.Sequential([keras.Input((4,)), layer]), tmp_path / f"model_{i}.keras")
        with pytest.raises(spica.SpicaError, match=message):
            spica.from_keras(path)


def test_files_that_are_no_models_are_refused(tmp_path, keras):
    model = built("signals", keras)
    whole = saved(model, tmp_path / "whole.keras").read_bytes()
    model.save_weights(tmp_path / "only.weights.h5")
    for content in (b"", b"no model", whole[: len(whole) // 2], whole[:-40]):
        (tmp_path / "bad.keras").write_bytes(content)
        with pytest.raises(spica.SpicaError, match=r"bad\.keras"):
            spica.from_keras(tmp_path / "bad.keras")
    with pytest.raises(spica.SpicaError, match="holds weights alone"):
        spica.from_keras(tmp_path / "only.weights.h5")


def test_a_file_is_known_by_what_it_holds(tmp_path, keras):
    model = randomise(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    net = spica.from_file(saved(model, tmp_path / "model.h5"))
    net.save(tmp_path / "net.spica")
    same_network(spica.from_file(tmp_path / "net.spica"), net)
    for name, message in (("model.pt", "can hold code"), ("model.txt", "not a whole .spica file")):
        (tmp_path / name).write_bytes(b"x")
        with pytest.raises(spica.SpicaError, match=message):
            spica.from_file(tmp_path / name)
