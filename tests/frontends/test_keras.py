"""Keras models in: the same outputs, or a message that names the layer."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import spica
from spica.layers import Softmax
from spica.layers.functions import FUNCTIONS
from spica.passes import prepare


def randomise(model, seed=0):
    """Give every variable of a model, statistics included, values that matter."""
    random = np.random.default_rng(seed)
    for variable in model.variables:
        if "seed" in variable.path:
            continue
        low, high = (0.5, 1.5) if "variance" in variable.path or "gamma" in variable.path else (-0.5, 0.5)
        variable.assign(random.uniform(low, high, variable.shape).astype(np.float32))
    return model


def sequential(build):
    def make(keras):
        return keras.Sequential([keras.Input((9, 8, 3)), *build(keras.layers)])

    return make


def skip(keras):
    """A residual block, a concatenation, a layer used twice and a model within the model."""
    layers = keras.layers
    x = image = keras.Input((8, 8, 3))
    shared = layers.Conv2D(4, 3, padding="same", activation="relu", name="shared")
    inner_input = keras.Input((8, 8, 4))
    inner = keras.Model(inner_input, layers.ReLU(6)(layers.Conv2D(4, 1)(inner_input)), name="inner")
    x = shared(image)
    y = inner(x)
    x = layers.Add()([x, y, inner(y)])
    x = layers.Concatenate()([layers.ReLU()(x), y])
    return keras.Model(image, layers.Dense(5, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


MODELS = {
    "convolutions": sequential(
        lambda k: [
            k.Conv2D(4, 3, strides=2, padding="same", use_bias=False),
            k.BatchNormalization(),
            k.ReLU(),
            k.DepthwiseConv2D(3, padding="same"),
            k.BatchNormalization(),
            k.ReLU(6.0),
            k.SeparableConv2D(6, 3, padding="same"),
            k.BatchNormalization(scale=False),
            k.Activation("relu"),
            k.Flatten(),
            k.Dropout(0.5),
            k.Dense(4, activation="relu"),
            k.Dense(3),
        ]
    ),
    "pooling before normalisation": sequential(
        lambda k: [
            k.Conv2D(4, (3, 2)),
            k.MaxPooling2D(2),
            k.BatchNormalization(center=False),
            k.ReLU(),
            k.Conv2D(5, 2, activation="relu6"),
            k.MaxPooling2D(2, strides=1, padding="same"),
            k.GlobalAveragePooling2D(),
        ]
    ),
    "rescaled input": sequential(
        lambda k: [
            k.Rescaling(1 / 128, offset=-1),
            k.Conv2D(4, 3, padding="same"),
            k.ReLU(),
            k.Reshape((-1,)),
            k.Dense(3),
        ]
    ),
    "explicit padding": sequential(
        lambda k: [
            k.ZeroPadding2D(((0, 1), (1, 0))),
            k.Conv2D(4, 3, strides=2),
            k.ReLU(),
            k.ZeroPadding2D(1),
            k.DepthwiseConv2D(3, padding="valid"),
            k.GlobalAveragePooling2D(keepdims=True),
            k.Flatten(),
            k.Dense(2),
        ]
    ),
    "normalisation after the activation": sequential(
        lambda k: [
            k.Conv2D(4, 3, activation="relu"),
            k.BatchNormalization(),
            k.Conv2D(4, 3),
            k.Dense(2),
            k.Softmax(),
        ]
    ),
    "normalisation in front of everything": sequential(
        lambda k: [
            k.BatchNormalization(),
            k.BatchNormalization(),
            k.DepthwiseConv2D(3, padding="valid"),
            k.BatchNormalization(),
            k.SeparableConv2D(4, 3, padding="valid"),
            k.ReLU(),
            k.Flatten(),
            k.BatchNormalization(),
            k.Dense(2),
        ]
    ),
    "scales that nothing can take in": sequential(
        lambda k: [
            k.Rescaling(1 / 128, offset=-1),
            k.DepthwiseConv2D(3, padding="same", activation="relu"),
            k.MaxPooling2D(2),
            k.BatchNormalization(),
            k.Conv2D(4, 3, padding="same", activation="relu"),
            k.Flatten(),
            k.Dense(3),
        ]
    ),
    "dilation, groups and multipliers": sequential(
        lambda k: [
            k.Conv2D(4, 3, dilation_rate=(2, 1), padding="same"),
            k.Conv2D(6, 3, groups=2, activation="relu"),
            k.DepthwiseConv2D(2, depth_multiplier=2, strides=2, padding="same"),
            k.ReLU(),
            k.SeparableConv2D(5, 3, depth_multiplier=3, padding="same", activation="relu"),
            k.Conv2D(5, 2, groups=5),
            k.GlobalAveragePooling2D(),
        ]
    ),
    "moves": sequential(
        lambda k: [
            k.Conv2D(4, 3, activation="relu"),
            k.Reshape((6, 7, 4)),
            k.Conv2D(4, 2, padding="same", activation="relu"),
            k.Flatten(),
            k.ReLU(),
            k.Reshape((2, -1)),
            k.Flatten(),
            k.Dense(3),
        ]
    ),
    "skip connections": skip,
}


@pytest.mark.parametrize("name", MODELS)
def test_imported_and_rewritten_networks_compute_what_keras_computes(keras, name):
    model = randomise(MODELS[name](keras))
    x = np.random.default_rng(1).uniform(0, 2, (6, *model.input_shape[1:])).astype(np.float32)
    expected = model.predict(x, verbose=0)
    net = spica.from_keras(model)
    np.testing.assert_allclose(net.forward(x), expected, rtol=2e-4, atol=2e-5)
    prepared = prepare(net)
    if net.outputs == prepared.outputs:  # a softmax at the end is dropped
        np.testing.assert_allclose(prepared.forward(x), expected, rtol=2e-4, atol=2e-5)
    np.testing.assert_array_equal(prepared.forward(x).argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize("name", MODELS)
def test_every_model_survives_quantisation(keras, name):
    net = spica.from_keras(randomise(MODELS[name](keras)))
    x = np.random.default_rng(1).integers(0, 256, (32, *net.types[net.inputs[0].name].shape), dtype=np.uint8)
    qnet, wanted = spica.quantize(net, x), prepare(net).forward(x)
    got = qnet.forward(x)
    assert 10 * np.log10(np.mean(wanted**2) / np.mean((wanted - got) ** 2)) > 20
    np.testing.assert_array_equal(got, qnet.forward(x, engine="reference", batch_size=7))


def test_what_float_networks_alone_take(keras):
    layers, x = keras.layers, np.random.default_rng(1).normal(size=(3, 6, 4)).astype(np.float32)
    for build in (
        lambda k: [k.Reshape((2, 3, 4)), k.LayerNormalization(), k.Conv2D(3, 2)],
        lambda k: [k.Flatten(), k.LayerNormalization(), k.Dense(3)],
        lambda k: [k.Dense(5), k.GlobalAveragePooling1D()],
        lambda k: [k.Dense(5), k.GlobalAveragePooling1D(keepdims=True), k.Flatten()],
        lambda k: [k.Reshape((2, 3, 4)), k.Conv2DTranspose(3, 3, strides=2, padding="same", activation="relu")],
        lambda k: [k.Reshape((2, 3, 4)), k.Conv2DTranspose(3, (2, 3), strides=2)],
        lambda k: [k.Permute((2, 1)), k.Dense(3)],
        lambda k: [k.Reshape((2, 3, 4)), k.Permute((1, 2, 3)), k.AveragePooling2D((2, 3)), k.Conv2D(2, 1), k.Flatten()],
    ):
        model = randomise(keras.Sequential([keras.Input((6, 4)), *build(layers)]))
        np.testing.assert_allclose(spica.from_keras(model).forward(x), model.predict(x, verbose=0), atol=2e-5)


def test_a_softmax_inside_the_network_is_refused_by_name(keras):
    model = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Conv2D(3, 3, activation="softmax", name="inner"),
                              keras.layers.Conv2D(2, 3)])  # fmt: skip
    with pytest.raises(spica.SpicaError, match="inner/softmax: a Softmax in this place has no integer meaning"):
        spica.quantize(spica.from_keras(model), np.zeros((1, 6, 6, 2), np.uint8))


def test_passes_leave_only_layers_that_hardware_has(keras):
    kinds = {
        name: [type(layer).__name__ for layer in prepare(spica.from_keras(MODELS[name](keras)))] for name in MODELS
    }
    assert kinds["convolutions"] == [
        "Input",
        "Conv2D",
        "DepthwiseConv2D",
        "SeparableConv2D",
        "Flatten",
        "Dense",
        "Dense",
    ]
    assert kinds["pooling before normalisation"][:3] == ["Input", "Conv2D", "Conv2D"]
    assert kinds["rescaled input"] == ["Input", "Conv2D", "Flatten", "Dense"]
    assert "Scale" not in {kind for name in MODELS for kind in kinds[name]}
    assert "ZeroPad" not in kinds["explicit padding"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda k: [k.Flatten(), k.RepeatVector(2), k.RNN(k.LSTMCell(4))],
            "Keras layer (RepeatVector|RNN) is not supp",
        ),
        (lambda k: [k.MaxPooling2D(2, data_format="channels_first")], "max_pooling2d.*use channels_last"),
        (lambda k: [k.ReLU(threshold=0.1)], "re_lu.*a ReLU with a threshold"),
        (lambda k: [k.UpSampling2D(2, interpolation="bicubic")], "up_sampling2d.*use nearest or bilinear"),
        (lambda k: [k.BatchNormalization(axis=1)], "batch_normalization.*axis 1 is not supported; use the last axis"),
        (lambda k: [k.Conv2D(4, 3, data_format="channels_first")], "conv2d.*use channels_last"),
        (lambda k: [k.Dense(4, activation=relu)], "dense.*activation \"relu .not Keras' own"),
    ],
)
def test_what_cannot_be_taken_is_named_with_what_would_work(keras, build, message):
    shape = (9, 8) if "lstm" in message or "gru" in message else (9, 8, 3)
    model = keras.Sequential([keras.Input(shape), *build(keras.layers)])
    with pytest.raises(spica.SpicaError, match=message):
        spica.from_keras(model)


def test_unbuilt_and_foreign_models_are_refused(keras):
    for model in (keras.Sequential([keras.layers.Dense(3)]), 3, None):
        with pytest.raises(spica.SpicaError, match="not a built Sequential or functional Keras 3 model"):
            spica.from_keras(model)
    unknown = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(4, 3)])
    with pytest.raises(spica.SpicaError, match="has unknown sizes"):
        spica.from_keras(unknown)


def relu(x):
    """Not what its name says."""
    return x * x


def own_code(keras):
    """Models that compute more than their layers: a layer of Keras' name, a sequential and a functional model."""

    class Dense(keras.layers.Dense):
        def call(self, x, training=None):
            return super().call(x) / 2.5

    class Pair(keras.Sequential):
        def call(self, x, training=None, mask=None):
            return super().call(x) / 2.5

    class Calibrated(keras.Model):
        def __init__(self):
            x = keras.Input((6,))
            super().__init__(x, keras.layers.Dense(4)(x))

        def call(self, x, training=None):
            return super().call(x, training=training) / 2.5

    inside = keras.Input((6,))
    return [
        keras.Sequential([keras.Input((6,)), Dense(4)]),
        Pair([keras.Input((6,)), keras.layers.Dense(4)]),
        Calibrated(),
        keras.Model(inside, Calibrated()(inside)),
    ]


def test_code_of_ones_own_is_never_left_out(keras):
    for model in own_code(keras):
        with pytest.raises(spica.SpicaError, match="with a call of its own cannot be followed"):
            spica.from_keras(model)


def test_weights_that_keras_quantised_are_refused(keras):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, activation="relu"), keras.layers.Dense(2)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.quantize("int8")
    with pytest.raises(spica.SpicaError, match=r"dense.*Keras has quantised its weights \(int8\); give the model as"):
        spica.from_keras(model)


@pytest.mark.parametrize("shape", [(5, 6, 4), (7, 4), (4,)])
@pytest.mark.parametrize("invert", [False, True])
def test_normalization_of_channels_is_what_keras_does(shape, invert, keras):
    x = np.random.default_rng(0).normal(2, 3, (64, *shape)).astype(np.float32) * np.arange(1, 5, dtype=np.float32)
    layer = keras.layers.Normalization(axis=-1, invert=invert)
    layer.adapt(x)
    model = keras.Sequential([keras.Input(shape), layer])
    want = keras.ops.convert_to_numpy(model(x[:4]))
    np.testing.assert_allclose(spica.from_keras(model).forward(x[:4]), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("shape", "axis"), [((8, 8), 1), ((8, 8, 8), 1), ((8, 8, 8), 2), ((4, 8), (1, 2))])
def test_normalization_of_other_axes_is_refused_whatever_their_sizes(shape, axis, keras):
    layer = keras.layers.Normalization(axis=axis)
    places = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    layer.adapt(places * np.random.default_rng(0).normal(size=(64, *shape)).astype(np.float32))
    with pytest.raises(spica.SpicaError, match=r"normalization.*a factor for every place is not supported"):
        spica.from_keras(keras.Sequential([keras.Input(shape), layer]))


def test_functions_of_keras_ops_are_activations(keras):
    for function in (keras.activations.gelu, keras.ops.gelu, keras.ops.relu):
        compare(keras, keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, activation=function)]))


def compare(keras, model, seed=0):
    """The network of a model with weights and statistics that all matter, held to it on random samples."""
    randomise(model)
    random = np.random.default_rng(seed)
    x = random.normal(size=(3, *model.input_shape[1:])).astype(np.float32)
    net = spica.from_keras(model)
    want = model.predict(x, verbose=0)
    np.testing.assert_allclose(net.forward(x), want, atol=2e-5)
    if not isinstance(net[net.outputs[0]], Softmax):
        np.testing.assert_allclose(prepare(net).forward(x), want, atol=2e-5)
    return net


OPERATIONS = {
    "activations": ((6, 7, 3), lambda k: [
        k.Conv2D(4, 3, activation="tanh"), *map(k.Activation, ("silu", "hard_swish", "elu", "selu", "mish")),
        *map(k.Activation, ("leaky_relu", "hard_sigmoid", "softplus", "hard_tanh", "celu", "log_sigmoid", "sigmoid")),
        k.LeakyReLU(0.2), k.PReLU(shared_axes=(1, 2)), k.ELU(0.7), k.ReLU(negative_slope=0.1), k.ReLU(max_value=1.5)]),
    "average pooling": ((9, 11, 3), lambda k: [k.AveragePooling2D(3, 2)]),
    "average pooling without its border": ((9, 11, 3), lambda k: [k.AveragePooling2D(3, 2, "same")]),
    "nearest": ((5, 4, 3), lambda k: [k.UpSampling2D((2, 3))]),
    "bilinear": ((5, 4, 3), lambda k: [k.UpSampling2D(2, interpolation="bilinear")]),
    "global maximum": ((5, 4, 3), lambda k: [k.Conv2D(4, 3), k.GlobalMaxPooling2D(), k.Dense(2)]),
    "group norm": ((4, 5, 6), lambda k: [k.GroupNormalization(3), k.Conv2D(3, 1)]),
    "crops": ((8, 8, 3), lambda k: [k.Cropping2D(((1, 2), (0, 3))), k.Conv2D(3, 3)]),
    "augmentation": ((8, 8, 3), lambda k: [k.RandomFlip(), k.RandomRotation(0.1), k.RandomZoom(0.2), k.Conv2D(3, 3)]),
    "signals": ((16, 3), lambda k: [
        k.Conv1D(6, 3, 2, "same"), k.BatchNormalization(), k.ReLU(), k.DepthwiseConv1D(3, padding="same"),
        k.SeparableConv1D(4, 3), k.MaxPooling1D(2), k.ZeroPadding1D(1), k.AveragePooling1D(2), k.UpSampling1D(2),
        k.GlobalAveragePooling1D(), k.Dense(2)]),
    "causal convolutions of a whole clip": ((16, 3), lambda k: [
        k.Conv1D(6, 3, padding="causal", dilation_rate=2), k.ReLU(), k.Conv1D(6, 3, 2, padding="causal"), k.Flatten(),
        k.Dense(2)]),
    "a maximum over time": ((16, 3), lambda k: [k.Conv1D(6, 3), k.GlobalMaxPooling1D(), k.Dense(2)]),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_that_networks_use(name, keras):
    shape, build = OPERATIONS[name]
    compare(keras, keras.Sequential([keras.Input(shape), *build(keras.layers)]))


@pytest.mark.parametrize("name", ["relu", "relu6", "linear", "exponential", "hard_swish", "swish", *FUNCTIONS])
def test_functions_are_those_that_keras_has_under_their_names(name, keras):
    if not hasattr(keras.activations, name) or name == "threshold":
        return
    model = keras.Sequential([keras.Input((6,)), keras.layers.Activation(name)])
    x = np.linspace(-6, 6, 600).reshape(100, 6).astype(np.float32)
    np.testing.assert_allclose(spica.from_keras(model).forward(x), model.predict(x, verbose=0), rtol=1e-5, atol=2e-6)


def squeeze_and_excite(keras, x):
    y = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    y = keras.layers.Dense(4, activation="sigmoid")(keras.layers.Dense(2, activation="relu")(y))
    return keras.layers.Multiply()([x, y])


OPERATORS = {
    "scaling by operators": lambda keras, x: keras.layers.Conv2D(3, 3)(x / 127.5 - 1),
    "constants before and behind": lambda keras, x: keras.layers.Conv2D(3, 1)(2 - x * 0.5) + 5.0,
    "an array": lambda keras, x: keras.layers.Dense(3)(x) + np.array([1, 2, 3], np.float32),
    "rectifiers": lambda keras, x: keras.ops.relu(keras.layers.Conv2D(3, 3)(keras.ops.relu6(x))),
    "gates": lambda keras, x: keras.ops.sigmoid(keras.layers.Conv2D(3, 3)(x)) * keras.layers.Conv2D(3, 3)(x),
    "means": lambda keras, x: keras.ops.mean(keras.layers.Conv2D(3, 3)(x), axis=(1, 2), keepdims=True),
    "a softmax": lambda keras, x: keras.ops.softmax(keras.layers.Conv2D(3, 3)(x)),
    "squeeze and excite": squeeze_and_excite,
    "a difference": lambda keras, x: keras.layers.Subtract()([keras.layers.Conv2D(4, 1)(x), x]),
    "an average": lambda keras, x: keras.layers.Average()([keras.layers.Conv2D(4, 1)(x), x]),
    "rows": lambda keras, x: keras.layers.Concatenate(axis=1)([keras.layers.Conv2D(4, 1)(x), x]),
    "shapes": lambda keras, x: keras.ops.reshape(keras.ops.transpose(x, (0, 2, 1, 3)), (-1, 144)),
    "an edge": lambda keras, x: keras.ops.pad(x, ((0, 0), (1, 1), (0, 2), (0, 0)), "reflect"),
    "powers": lambda keras, x: keras.layers.Conv2D(3, 3)(x) ** 2,
    "bounds": lambda keras, x: keras.ops.minimum(keras.ops.maximum(keras.layers.Conv2D(3, 3)(x), -1.0), 2.0),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_of_keras_are_followed(name, keras):
    x = keras.Input((6, 6, 4))
    compare(keras, keras.Model(x, OPERATORS[name](keras, x)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda k, x: k.MultiHeadAttention(2, 4)(x, x, use_causal_mask=True), "called with use_causal_mask"),
        (lambda k, x: k.MultiHeadAttention(2, 4)(x, x, attention_mask=np.ones((1, 6, 6))), "with attention_mask"),
        (lambda k, x: k.MultiHeadAttention(2, 4)(x, x, return_attention_scores=True)[1], "return_attention_scores"),
    ],
)
def test_what_layers_are_called_with_is_not_lost(call, message, keras):
    x = keras.Input((6, 8))
    with pytest.raises(spica.SpicaError, match=message):
        spica.from_keras(keras.Model(x, call(keras.layers, x)))


def test_a_sum_by_operator_is_a_sum(keras):
    x = keras.Input((6, 6, 2))
    model = keras.Model(x, keras.layers.Conv2D(3, 1)(x) + keras.layers.Conv2D(3, 3, padding="same")(x))
    values = np.random.default_rng(0).normal(size=(2, 6, 6, 2)).astype(np.float32)
    np.testing.assert_allclose(spica.from_keras(model).forward(values), model.predict(values, verbose=0), atol=1e-5)


def test_frames_of_a_camera_before_a_recurrence(keras):
    layers = keras.layers
    camera = keras.Sequential([keras.Input((7, 7, 2)), layers.Conv2D(4, 3, 2), layers.ReLU(), layers.Flatten()])
    model = keras.Sequential(
        [keras.Input((5, 7, 7, 2)), layers.TimeDistributed(camera), layers.GRU(4, return_sequences=True)]
    )
    x = np.random.default_rng(0).normal(size=(3, 5, 7, 7, 2)).astype(np.float32)
    parts = spica.split(model)
    frames = parts.network.forward(x.reshape(-1, 7, 7, 2))
    np.testing.assert_allclose(parts.finish(frames), model.predict(x, verbose=0), atol=1e-5)
    for call, message in (
        (lambda: parts.network.forward(x), r"give the frames: x.reshape"),
        (lambda: parts.finish(frames[:4]), "are not what the host reads"),
    ):
        with pytest.raises(spica.SpicaError, match=message):
            call()


@pytest.mark.parametrize("kind", ["GRU", "LSTM"])
def test_what_no_layer_can_express_is_left_to_the_host_by_name(kind, keras):
    layers = keras.layers
    from spica.keras import TemporalConv

    model = keras.Sequential(
        [keras.Input((12, 6)), TemporalConv(8, 3), layers.ReLU(),
         getattr(layers, kind)(5, return_sequences=True, name="gates"), layers.Dense(3, name="classes")]
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(4, 12, 6)).astype(np.float32)
    parts = spica.split(model)
    assert parts.on_host == ("gates", "classes")
    wanted = model.predict(x, verbose=0)
    np.testing.assert_allclose(parts.finish(parts.network.forward(x)), wanted, atol=1e-5)
    qnet = spica.quantize(parts.network, x)
    got = parts.finish(qnet.forward(spica.to_input_integers(qnet, x)))
    assert np.corrcoef(got.ravel(), wanted.ravel())[0, 1] > 0.98


def test_a_model_that_can_be_taken_whole_is_not_split(keras):
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
    whole, x = spica.split(model), np.ones((2, 6), np.float32)
    assert whole.on_host == ()
    np.testing.assert_allclose(whole.finish(whole.network.forward(x)), model.predict(x, verbose=0), atol=1e-6)
    impossible = keras.Sequential([keras.Input((6, 2)), keras.layers.LSTM(3)])
    with pytest.raises(spica.SpicaError, match=r"lstm.*: a GatedRecurrence stays on the host"):
        spica.split(impossible)
