"""Networks over time: clips in Keras, frames on the chip, and the same numbers from both."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spica
from spica.engine.plan import plan
from spica.layers import (
    BufferTempConv,
    Conv2D,
    Dense,
    DepthwiseBufferTempConv,
    DepthwiseConv2D,
    DiagonalRecurrence,
    Input,
    Reshape,
)
from spica.zoo.builders import tenn
from support.networks import SEEDS, integer_networks
from support.profiles import examples
from support.training import shaken

CLIPS = np.random.default_rng(0).normal(size=(24, 6, 8, 8, 2)).astype(np.float32)
LABELS = np.arange(24) % 3


def video(keras, basis=None):
    """Spatial and temporal layers of both kinds, a residual, an average over each frame."""
    from spica.keras import DepthwiseTemporalConv, TemporalConv

    layers = keras.layers
    keras.utils.set_random_seed(0)
    source = x = keras.Input((6, 8, 8, 2))
    x = layers.TimeDistributed(layers.Conv2D(4, 3, padding="same"), name="spatial")(x)
    x = layers.ReLU()(layers.BatchNormalization(name="norm")(x))
    x = layers.ReLU()(TemporalConv(5, 4, basis, name="temporal")(x))
    y = DepthwiseTemporalConv(3, basis, name="depthwise")(x)
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.TimeDistributed(layers.GlobalAveragePooling2D())(x)
    return keras.Model(source, layers.Dense(3, name="classes")(layers.Dropout(0.2)(x)))


def series(keras, scale=False):
    from spica.keras import TemporalConv

    layers = keras.layers
    first = [layers.Rescaling(1 / 4)] if scale else []
    return keras.Sequential(
        [keras.Input((20, 6)), *first, TemporalConv(8, 5), layers.BatchNormalization(), layers.ReLU(),
         TemporalConv(4, 3, use_bias=False), layers.ReLU(), layers.Dense(2)]
    )  # fmt: skip


@pytest.fixture(scope="module")
def jacobi(keras):
    from spica.keras import Jacobi

    return Jacobi


@pytest.fixture(scope="module")
def float_net(keras):
    return spica.from_keras(video(keras))


@pytest.fixture(scope="module")
def quantized(float_net):
    return spica.quantize(float_net, CLIPS, weights=4, activations=4)


@pytest.mark.parametrize("count", [None, 3])
def test_the_network_of_a_frame_computes_what_the_model_of_clips_does(count, keras, jacobi):
    model = video(keras, None if count is None else jacobi(count))
    net = spica.from_keras(model)
    assert isinstance(net["temporal"], BufferTempConv) and isinstance(net["depthwise"], DepthwiseBufferTempConv)
    np.testing.assert_allclose(net.forward(CLIPS), model.predict(CLIPS, verbose=0), atol=1e-5)


def test_causal_convolutions_of_keras_are_layers_over_time(keras):
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((20, 6)), layers.Conv1D(8, 3, padding="causal", activation="relu"),
         layers.Conv1D(4, 3, padding="causal", dilation_rate=3, use_bias=False), layers.ReLU(), layers.Dense(2)]
    )  # fmt: skip
    net = spica.from_keras(model)
    assert [len(layer.kernel) for layer in net if isinstance(layer, BufferTempConv)] == [3, 7]
    x = np.random.default_rng(1).normal(size=(5, 20, 6)).astype(np.float32)
    np.testing.assert_allclose(net.forward(x), model.predict(x, verbose=0), atol=1e-5)
    assert spica.check(spica.quantize(net, x), "Akida2-6").ok
    for layer, message in ((layers.Conv1D(8, 3, strides=2, padding="causal"), "a stride over time is not supported"),):
        with pytest.raises(spica.SpicaError, match=message):
            spica.from_keras(keras.Sequential([keras.Input((20, 6)), layer]))


def clips_as_volumes(keras):
    """A network of clips as Keras writes it: three-dimensional convolutions, over time and in space by turns."""
    layers = keras.layers
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((6, 8, 8, 2)), layers.Conv3D(4, (1, 3, 3), (1, 2, 2), padding="same", use_bias=False),
         layers.BatchNormalization(), layers.ReLU(), layers.SpatialDropout3D(0.1),
         layers.ZeroPadding3D(((3, 0), (0, 0), (0, 0))), layers.Dropout(0.1),
         layers.Conv3D(6, (4, 1, 1), activation="relu", name="over_time"),
         layers.ZeroPadding3D(((4, 0), (0, 0), (0, 0))),
         layers.Conv3D(6, (3, 1, 1), dilation_rate=(2, 1, 1), groups=6, name="each_over_time"),
         layers.ReLU(), layers.MaxPooling3D((1, 2, 2)), layers.ZeroPadding3D(((0, 0), (1, 1), (1, 1))),
         layers.Conv3D(6, (1, 3, 3), groups=6, activation="relu", name="each_in_space"),
         layers.TimeDistributed(layers.Flatten()), layers.Dense(3)]
    )  # fmt: skip


def test_convolutions_over_clips_are_layers_over_time_and_in_space(keras):
    model = clips_as_volumes(keras)
    net = spica.from_keras(model)
    np.testing.assert_allclose(net.forward(CLIPS), model.predict(CLIPS, verbose=0), atol=1e-5)
    assert net["over_time"].kernel.shape == (4, 4, 6) and net["each_over_time"].kernel.shape == (5, 6)
    assert isinstance(net["each_in_space"], DepthwiseConv2D)
    qnet = spica.quantize(net, CLIPS)
    integers = spica.to_input_integers(qnet, CLIPS)
    whole = qnet.forward(integers)
    assert ratio(net.forward(CLIPS), whole) > 25
    with qnet.stream(streams=len(integers)) as stream:
        np.testing.assert_array_equal(np.stack([stream.push(frames) for frames in integers.swapaxes(0, 1)], 1), whole)


def test_convolutions_over_clips_that_do_not_stream_are_named(keras):
    layers = keras.layers
    early = layers.ZeroPadding3D(((2, 0), (0, 0), (0, 0)))
    for parts, message in (
        ([layers.Conv3D(4, (3, 1, 1), name="late")], r"late: an output of 3 frames.*put ZeroPadding3D\(\(\(2, 0\)"),
        ([early, layers.ReLU(name="r"), layers.Conv3D(4, (3, 1, 1))], "r: an output of 1 frames .* 2 of zeros"),
        ([early, layers.Conv3D(4, (2, 1, 1))], "output of 2 frames where clips begin with 2"),
        ([early, layers.Conv3D(4, 3)], r"use two layers, with kernels \(3, 1, 1\) and \(1, 3, 3\)"),
        ([early, layers.Conv3D(4, (3, 1, 1), strides=(2, 1, 1))], "stride over time"),
        ([early, layers.Conv3D(4, (3, 1, 1), padding="same")], "padding other than before"),
        ([layers.ZeroPadding3D(((0, 1), (0, 0), (0, 0))), layers.Conv3D(4, 1)], "padding after the last frame"),
        ([layers.Conv3D(4, 1), layers.MaxPooling3D(2)], r"pooling over time .* pool_size=\(1, 2, 2\)"),
    ):
        with pytest.raises(spica.SpicaError, match=message):
            spica.from_keras(keras.Sequential([keras.Input((6, 8, 8, 2)), *parts]))


def test_dilation_and_groups_over_clips_are_lowered(keras):
    layers = keras.layers
    early = layers.ZeroPadding3D(((2, 0), (0, 0), (0, 0)))
    for shape, parts in (
        ((6, 8, 8, 2), [layers.Conv3D(4, (1, 3, 3), dilation_rate=(1, 2, 2)), early, layers.Conv3D(3, (3, 1, 1))]),
        ((6, 8, 8, 2), [layers.Conv3D(4, (1, 3, 3), groups=2), early, layers.Conv3D(3, (3, 1, 1))]),
        ((6, 8, 8, 2), [early, layers.Conv3D(4, (3, 1, 1), groups=2)]),
        ((7, 4), [layers.Conv1D(4, 3, padding="causal", groups=4)]),
        ((7, 4), [layers.Conv1D(6, 3, padding="causal", groups=2, dilation_rate=2)]),
    ):
        model = keras.Sequential([keras.Input(shape), *parts])
        x = np.random.default_rng(0).normal(size=(3, *shape)).astype(np.float32)
        net = spica.from_keras(model)
        np.testing.assert_allclose(net.forward(x), model.predict(x, verbose=0), atol=1e-5)


@pytest.mark.parametrize("end", ["temporal", "rectified", "softmax", "state", "nested", "space"])
def test_outputs_have_the_shapes_of_the_model(end, keras):
    from spica.keras import DiagonalSSM, TemporalConv

    layers = keras.layers
    early = layers.ZeroPadding3D(((2, 0), (0, 0), (0, 0)))
    parts = {
        "temporal": [TemporalConv(4, 3)],
        "rectified": [TemporalConv(4, 3), layers.BatchNormalization(axis=2), layers.Dense(3), layers.ReLU()],
        "softmax": [TemporalConv(4, 3), layers.Dense(3, activation="softmax")],
        "state": [layers.Dense(5), DiagonalSSM()],
        "nested": [keras.Sequential([keras.Input((7, 5, 5, 2)), early]), layers.Conv3D(3, (3, 1, 1))],
        "space": [TemporalConv(2, 2), layers.TimeDistributed(layers.Conv2D(4, 5))],
    }[end]
    model = keras.Sequential([keras.Input((7, 5, 5, 2) if end in ("nested", "space") else (7, 5)), *parts])
    x = np.random.default_rng(0).normal(size=(4, *model.input_shape[1:])).astype(np.float32)
    net, wanted = spica.from_keras(model), model.predict(x, verbose=0)
    np.testing.assert_allclose(net.forward(x), wanted, atol=1e-5)
    qnet = spica.quantize(net, x)
    got = qnet.forward(spica.to_input_integers(qnet, x))
    assert got.shape == wanted.shape and (end == "softmax" or ratio(wanted, got) > 25)


def test_time_is_not_hidden(keras):
    from spica.keras import DiagonalSSM, TemporalConv

    layers = keras.layers
    each, early = layers.TimeDistributed, layers.ZeroPadding3D(((2, 0), (0, 0), (0, 0)))
    for shape, parts, message in (
        ((8, 6, 3), [each(DiagonalSSM())], "hides time"),
        ((8, 6, 3), [each(layers.Conv1D(3, 3, padding="causal"))], "hides time"),
        ((6, 4, 4, 4), [TemporalConv(4, 3), layers.BatchNormalization(axis=3)], "axis 3 is not supported"),
        ((6, 4, 4, 4), [TemporalConv(4, 3), layers.Softmax(axis=3)], "axis 3 is not supported"),
        ((6, 4, 4, 4), [TemporalConv(4, 3), early], "output's clips begin with zeros"),
    ):
        with pytest.raises(spica.SpicaError, match=message):
            spica.from_keras(keras.Sequential([keras.Input(shape), *parts]))


def test_small_signals_keep_their_bits(keras):
    from spica.keras import DiagonalSSM

    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((40, 5)), layers.Dense(8, use_bias=False), DiagonalSSM(), layers.Dense(3, use_bias=False)]
    )
    net, small = spica.from_keras(model), SIGNALS * np.float32(1e-7)
    qnet = spica.quantize(net, small)
    assert ratio(net.forward(small), qnet.forward(spica.to_input_integers(qnet, small))) > 30


@pytest.mark.parametrize("scale", [False, True])
def test_series_become_images_of_one_pixel(scale, keras):
    model = series(keras, scale)
    net = spica.from_keras(model)
    assert net.inputs[0].shape == (6,) and isinstance(net.layers[1], Reshape) and isinstance(net.layers[-1], Dense)
    x = np.random.default_rng(1).normal(size=(5, 20, 6)).astype(np.float32)
    np.testing.assert_allclose(net.forward(x), model.predict(x, verbose=0), atol=1e-5)
    qnet = spica.quantize(net, x)
    integers = spica.to_input_integers(qnet, x)
    assert integers.shape == x.shape
    assert np.corrcoef(qnet.forward(integers).ravel(), net.forward(x).ravel())[0, 1] > 0.99


def test_a_model_is_saved_with_its_polynomials(keras, jacobi, tmp_path):
    model = video(keras, jacobi(3, 0.5, 0.25))
    model.save(tmp_path / "video.keras")
    again = keras.models.load_model(tmp_path / "video.keras")
    np.testing.assert_array_equal(again.predict(CLIPS, verbose=0), model.predict(CLIPS, verbose=0))


@pytest.mark.parametrize(("alpha", "beta"), [(0, 0), (-0.25, -0.25), (1, 0.5)])
def test_polynomials_are_orthogonal_under_their_weight(alpha, beta, jacobi):
    x, step = np.linspace(-1, 1, 200_001, retstep=True)
    values = jacobi(5, alpha, beta)._at(x[1:-1])
    gram = (values * ((1 - x[1:-1]) ** alpha * (1 + x[1:-1]) ** beta)) @ values.T * step
    off = gram / np.sqrt(np.outer(np.diag(gram), np.diag(gram))) - np.eye(5)
    assert np.abs(off).max() < 2e-2
    if alpha == beta == 0:
        wanted = np.polynomial.legendre.legvander(x[1:-1], 4).T
        np.testing.assert_allclose(values, wanted, atol=1e-9)


def test_builders_and_layers_refuse_what_is_none(keras):
    from spica.keras import TemporalConv
    from spica.zoo.builders.vit import build_vit

    for call, message in (
        (lambda: TemporalConv(3, 2.5), "frames is 2.5"),
        (lambda: TemporalConv(3, 2, basis=3), "must be a Jacobi"),
        (lambda: tenn.build_tenn((3, 4, 5), 2), r"shape of a series must be \(T, C\); got \(3, 4, 5\)"),
        (lambda: tenn.build_spatiotemporal_tenn((3, 4), 2), r"shape must be \(T, H, W, C\)"),
        (lambda: build_vit(heads=3), "heads the width"),
        (lambda: spica.quantize(keras.Sequential(), CLIPS), "expected a Network, got Sequential; spica.from_keras"),
        (lambda: spica.trainable(None), "expected a Network, got NoneType; give the network that spica.quantize made"),
        (lambda: spica.to_input_integers(None, CLIPS), "expected a Network, got NoneType"),
    ):
        with pytest.raises(spica.SpicaError, match=message):
            call()


@pytest.mark.parametrize(("count", "alpha"), [(0, 0.0), (3, -1.0), (2.5, 0.0)])
def test_polynomials_that_are_none_are_refused(count, alpha, jacobi):
    with pytest.raises(spica.SpicaError, match="count must be an integer of at least 1"):
        jacobi(count, alpha)


def test_at_twice_the_rate_a_slow_clip_gives_the_same(keras, jacobi):
    from spica.keras import DiagonalSSM, TemporalConv, resample

    model = keras.Sequential([keras.Input((40, 3)), TemporalConv(4, 16, jacobi(3)), keras.layers.Dense(2)])
    time = np.linspace(0, 1, 40, endpoint=False)[:, None] * np.array([1.0, 0.5, 0.25]) * 2 * np.pi
    slow, fast = np.sin(time)[None], np.sin(np.repeat(time, 2, axis=0))[None]
    twice = resample(model, 2)
    assert twice.layers[-2].frames == 32
    wanted, got = model.predict(slow, verbose=0), twice.predict(fast, verbose=0)[:, 1::2]
    assert np.abs(wanted - got)[:, 16:].max() < 0.05 * np.abs(wanted).max()
    layers = keras.layers
    for rate, which, message in (
        (0, model, "above 0"),
        ("2", model, "a number above 0"),
        (2, None, "expected a keras.Model, got NoneType"),
        (2, [keras.Sequential([keras.Input((40, 3)), DiagonalSSM()])], "counts in frames"),
        (2, [TemporalConv(4, 16)], "counts in frames"),
        (2, [layers.Conv1D(4, 16, padding="causal")], "counts in frames"),
        (2, [DiagonalSSM()], "counts in frames"),
        (2, [layers.GRU(3)], "counts in frames"),
    ):
        which = keras.Sequential([keras.Input((40, 3)), *which]) if isinstance(which, list) else which
        with pytest.raises(spica.SpicaError, match=message):
            resample(which, rate)


def test_layers_that_would_mix_frames_are_named(keras):
    from spica.keras import TemporalConv

    layers = keras.layers
    model = keras.Sequential([keras.Input((9, 8, 1)), layers.Conv2D(3, 3, name="mixes"), TemporalConv(4, 3)])
    with pytest.raises(
        spica.SpicaError, match="mixes: Keras layer Conv2D would mix frames; wrap it in TimeDistributed"
    ):
        spica.from_keras(model)
    model = keras.Sequential([keras.Input((9, 4)), TemporalConv(4, 3), layers.GlobalAveragePooling1D(name="mean")])
    with pytest.raises(spica.SpicaError, match="mean: Keras layer GlobalAveragePooling1D"):
        spica.from_keras(model)


def ratio(wanted, got):
    """Signal-to-noise ratio in decibels."""
    return 10 * np.log10((wanted**2).sum() / ((wanted - got) ** 2).sum())


@pytest.mark.parametrize(("weights", "activations", "least"), [(8, 8, 34), (4, 8, 30), (4, 4, 25)])
def test_quantising_keeps_the_outputs(weights, activations, least, float_net):
    qnet = spica.quantize(float_net, CLIPS, weights=weights, activations=activations)
    integers, wanted = spica.to_input_integers(qnet, CLIPS), float_net.forward(CLIPS)
    got = qnet.forward(integers)
    assert ratio(wanted, got) > least
    np.testing.assert_array_equal(got, qnet.forward(integers, engine="reference", batch_size=7))
    plain = {"equalization": False, "reconstruction": False, "bias_correction": False}
    rough = spica.quantize(float_net, CLIPS, weights=weights, activations=activations, **plain)
    assert ratio(wanted, got) > ratio(wanted, rough.forward(integers)) - 0.5


def test_fine_tuning_learns_clips_and_stays_exact(float_net, quantized, keras):
    integers = spica.to_input_integers(quantized, CLIPS)
    model = spica.trainable(quantized, float_net)
    np.testing.assert_array_equal(model.predict(integers, verbose=0), quantized.forward(integers))
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(integers, np.repeat(LABELS[:, None], 6, axis=1), epochs=2, verbose=0)
    learned = spica.convert(model)
    got = model.predict(integers, verbose=0)
    np.testing.assert_array_equal(got, learned.forward(integers, engine="reference"))
    assert (got != quantized.forward(integers)).any()
    fitted = spica.finetune(quantized, integers, LABELS, net=float_net, epochs=1, distillation=0.5)
    assert 0 <= fitted.evaluate(integers, LABELS) <= 1


def test_what_is_trained_is_checked(float_net, quantized, keras):
    integers = spica.to_input_integers(quantized, CLIPS)
    model = spica.trainable(quantized, float_net)
    each = np.repeat(LABELS[:, None], 6, axis=1)
    finetune = spica.finetune
    for call, message in (
        (lambda: model.predict(CLIPS, verbose=0), "samples are float32"),
        (lambda: model.predict(integers[0], verbose=0), r"is trained on \(S, T, 8, 8, 2\)"),
        (lambda: model.predict(integers[..., :1], verbose=0), "samples have shape"),
        (lambda: model.fit(integers.astype(np.int64) * 100, each, verbose=0), "samples reach from"),
        (lambda: finetune(quantized, integers[0], LABELS[:6]), "is trained on clips"),
        (
            lambda: finetune(quantized, integers, LABELS[:5]),
            "labels have shape .5,. and type int64; give one class index",
        ),
    ):
        with pytest.raises(spica.SpicaError, match=message):
            call()
    by_frame, by_clip = (finetune(quantized, integers, y, epochs=1).forward(integers) for y in (each, LABELS))
    np.testing.assert_array_equal(by_frame, by_clip)


def test_a_clip_has_one_label(quantized):
    integers = spica.to_input_integers(quantized, CLIPS)
    wanted = quantized.forward(integers).mean(axis=1).argmax(axis=1)
    np.testing.assert_array_equal(quantized.predict(integers), wanted)
    assert quantized.evaluate(integers, wanted) == 1


def test_clips_start_from_rest(quantized):
    integers = spica.to_input_integers(quantized, CLIPS)
    whole = quantized.forward(integers, batch_size=50)
    for size in (1, 4, 13):
        np.testing.assert_array_equal(quantized.forward(integers, batch_size=size), whole)
    for wrong, message in ((0, "batch_size is 0"), ("many", "batch_size is 'many'")):
        with pytest.raises(spica.SpicaError, match=message):
            quantized.forward(integers, batch_size=wrong)
    with pytest.raises(spica.SpicaError, match="samples are not an array"):
        quantized.forward([integers[0], integers[1, :3]])
    for clip, outputs in zip(integers, whole):
        np.testing.assert_array_equal(quantized.forward(clip), outputs)


def test_engines_count_the_same_events(quantized):
    integers = spica.to_input_integers(quantized, CLIPS[:3])
    native, reference = (quantized.run(integers, engine=e, count=True) for e in ("native", "reference"))
    assert native.events == reference.events and native.inputs == reference.inputs


@examples(25)
@given(integer_networks(memory=True), SEEDS, st.integers(2, 4))
def test_streams_side_by_side_are_streams_alone(network_and_batch, seed, streams):
    net, x = network_and_batch
    random = np.random.default_rng(seed)
    clips = random.choice(x, (streams, 7))
    clips[:, 3:5] = 0
    with net.stream(streams=streams, threads=1) as together:
        frames = [together.push(clips[:, i]) for i in range(clips.shape[1])]
    for i, clip in enumerate(clips):
        with net.stream(engine="reference") as alone:
            wanted = np.concatenate([alone.push(frame[None]) for frame in clip])
        np.testing.assert_array_equal(np.stack([frame[i] for frame in frames]), wanted)
        np.testing.assert_array_equal(net.forward(clip, batch_size=3), wanted)


def test_a_chip_streams_the_same_integers(keras):
    x = np.random.default_rng(2).normal(size=(4, 20, 6)).astype(np.float32)
    qnet = spica.quantize(spica.from_keras(series(keras)), x)
    integers = spica.to_input_integers(qnet, x)
    chip = spica.map(qnet, "Akida2-6", mode="all")
    whole = qnet.forward(integers)
    np.testing.assert_array_equal(chip.forward(integers), whole)
    np.testing.assert_array_equal(chip.predict(integers), qnet.predict(integers))
    events = chip.statistics.events
    with chip.stream() as stream:
        got = np.concatenate([stream.push(frame[None]) for frame in integers[0]])
        np.testing.assert_array_equal(got, whole[0])
        busy = chip.statistics.events
        for _ in range(9):
            stream.push(np.zeros_like(integers[0, :1]))
        assert chip.statistics.events < busy and events > 0


@pytest.mark.parametrize(
    ("builder", "shape", "options", "device"),
    [
        ("build_tenn", (12, 6), {}, "Akida2-6"),
        ("build_tenn", (12, 6), {"basis": 4, "scale": 0.5}, "Akida2-6"),
        ("build_recurrent_tenn", (12, 6), {}, "pico"),
        ("build_spatiotemporal_tenn", (12, 16, 20, 3), {}, "Akida2-6"),
        ("build_spatiotemporal_tenn", (12, 16, 20, 3), {"depthwise": True, "basis": 3}, "Akida2-6"),
    ],
)
def test_networks_of_the_zoo_train_map_and_stream(builder, shape, options, device, keras, jacobi):
    options = options | ({"basis": jacobi(options["basis"])} if "basis" in options else {})
    keras.utils.set_random_seed(0)
    model = getattr(tenn, builder)(shape, 4, **options)
    clips = np.abs(np.random.default_rng(0).normal(size=(8, *shape))).astype(np.float32)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(clips, np.zeros((8, 12), np.int64), epochs=1, verbose=0)
    qnet = spica.quantize(spica.from_keras(model), clips)
    assert spica.check(qnet, device).ok
    integers = spica.to_input_integers(qnet, clips)
    whole = qnet.forward(integers)
    assert ratio(model.predict(clips, verbose=0), whole) > 15
    with spica.map(qnet, device).stream() as stream:
        np.testing.assert_array_equal(np.concatenate([stream.push(frame[None]) for frame in integers[0]]), whole[0])


def test_the_state_of_streams_is_kept_in_a_file(quantized, tmp_path):
    integers = spica.to_input_integers(quantized, CLIPS[:2])
    with quantized.stream(streams=2) as stream:
        for i in range(4):
            stream.push(integers[:, i])
        stream.save(tmp_path / "state")
        (tmp_path / "cut").write_bytes((tmp_path / "state").read_bytes()[:-5])
        wanted = stream.push(integers[:, 4])
        assert stream.frames == 5 and 0 < stream.latency_ms < 1000
    layers = [replace(r, kernel=-r.kernel) if r.name == "spatial" else r for r in quantized]
    changed = spica.Network(tuple(layers), quantized.outputs, quantized.name)
    with quantized.stream(streams=2) as again, quantized.stream() as other, changed.stream(streams=2) as twin:
        again.load(tmp_path / "state")
        assert again.frames == 4
        np.testing.assert_array_equal(again.push(integers[:, 4]), wanted)
        again.reset()
        np.testing.assert_array_equal(again.push(integers[:, 0]), quantized.forward(integers)[:, 0])
        for call, message in (
            (lambda: other.load(tmp_path / "state"), "with one stream"),
            (lambda: other.restore(None), "not a state of this network"),
            (lambda: again.load(tmp_path / "cut"), "not a whole file"),
            (lambda: twin.load(tmp_path / "state"), "state of another network"),
            (lambda: again.load(tmp_path / "absent"), "cannot be read"),
            (lambda: again.load(__file__), "not a whole file"),
            (lambda: again.push(integers[:1, 0]), "1 frames for 2 streams"),
            (lambda: other.latency_ms, "nothing has been pushed"),
            (lambda: quantized.stream(streams=0), "at least 1"),
        ):
            with pytest.raises(spica.SpicaError, match=message):
                call()


def test_nothing_is_computed_for_frames_that_change_nothing(quantized, monkeypatch):
    empty = np.zeros((1, *quantized.inputs[0].shape), quantized.types[quantized.inputs[0].name].dtype)
    with quantized.stream() as stream:
        busy = spica.to_input_integers(quantized, CLIPS)[0]
        outputs = [stream.push(frame[None]) for frame in busy] + [stream.push(empty) for _ in range(8)]
        wanted = quantized.forward(np.concatenate([busy, *[empty] * 8]))
        np.testing.assert_array_equal(np.concatenate(outputs), wanted)
        monkeypatch.setattr(type(stream), "_take", None)
        outputs[-1][:] = 99  # what a caller does with an answer is his own
        np.testing.assert_array_equal(stream.push(empty), wanted[-1:])
        with pytest.raises(TypeError):
            stream.push(busy[:1])


def test_layers_of_a_frame_keep_their_kind(quantized):
    assert isinstance(quantized["spatial"], Conv2D) and quantized["temporal"].weight_bits == 4


def recurrent(keras, length=40):
    from spica.keras import DiagonalSSM

    layers = keras.layers
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((length, 5)), layers.Dense(16), DiagonalSSM(name="memory"), layers.Dense(12),
         layers.BatchNormalization(), layers.ReLU(), layers.Dense(8), DiagonalSSM(), layers.Dense(3)]
    )  # fmt: skip


SIGNALS = np.random.default_rng(3).normal(size=(12, 40, 5)).astype(np.float32)


def test_a_state_space_layer_is_trained_as_convolution_and_run_as_recurrence(keras, tmp_path):
    model = recurrent(keras)
    net = spica.from_keras(model)
    wanted = model.predict(SIGNALS, verbose=0)
    assert isinstance(net["memory"], DiagonalRecurrence)
    np.testing.assert_allclose(net.forward(SIGNALS), wanted, atol=1e-4 * np.abs(wanted).max())
    model.save(tmp_path / "ssm.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "ssm.keras").predict(SIGNALS, verbose=0), wanted)
    model.compile("adam", "mse")
    before = model.get_layer("memory").get_weights()
    model.fit(SIGNALS, np.zeros_like(wanted), epochs=1, verbose=0)
    assert all((a != b).any() for a, b in zip(before, model.get_layer("memory").get_weights()))


@pytest.mark.parametrize(("weights", "activations", "least"), [(8, 8, 30), (4, 8, 16)])
def test_recurrent_networks_are_quantised_and_streamed(weights, activations, least, keras):
    net = spica.from_keras(recurrent(keras))
    qnet = spica.quantize(net, SIGNALS, weights=weights, activations=activations)
    integers = spica.to_input_integers(qnet, SIGNALS)
    whole = qnet.forward(integers)
    assert ratio(net.forward(SIGNALS), whole) > least
    np.testing.assert_array_equal(whole, qnet.forward(integers, engine="reference"))
    with qnet.stream(streams=len(integers)) as stream:
        frames = np.stack([stream.push(integers[:, i]) for i in range(40)], axis=1)
    np.testing.assert_array_equal(frames, whole)
    assert spica.check(qnet, "pico").ok


@pytest.mark.parametrize("weights", [4, 8])
def test_recurrent_networks_are_fine_tuned_and_stay_exact(weights, keras):
    net = spica.from_keras(recurrent(keras))
    qnet = spica.quantize(net, SIGNALS, weights=weights)
    integers, labels = spica.to_input_integers(qnet, SIGNALS), np.arange(len(SIGNALS)) % 3
    for model in (spica.trainable(qnet), spica.trainable(qnet, net)):
        wanted = qnet.forward(integers)
        np.testing.assert_array_equal(model.predict(integers, verbose=0), wanted)
        in_training = keras.ops.convert_to_numpy(model(integers, training=True))
        np.testing.assert_allclose(in_training, wanted, atol=1e-2 * np.abs(wanted).max())
    tuned = spica.finetune(qnet, integers, labels, epochs=40, batch_size=4, learning_rate=1e-2)
    assert tuned.evaluate(integers, labels) > qnet.evaluate(integers, labels)
    random = np.random.default_rng(0)
    for noise in (0.05, 0.5):
        got = shaken(model, random, noise).predict(integers, verbose=0)
        np.testing.assert_array_equal(got, spica.convert(model).forward(integers, engine="reference"))


@pytest.mark.parametrize("kind", ["buffers", "states"])
def test_frames_one_by_one_are_one_program_and_go_on_from_stretches(kind, quantized, keras):
    if kind == "buffers":
        net, x = quantized, spica.to_input_integers(quantized, CLIPS[:6]).reshape(-1, *CLIPS.shape[2:])
    else:
        net = spica.quantize(spica.from_keras(recurrent(keras)), SIGNALS)
        x = spica.to_input_integers(net, SIGNALS[:1])[0]
    (part,) = plan(net, net.outputs, streaming=True)
    assert {layer.name for layer in net.stateful_layers} == set(part.stateful)
    cuts = np.cumsum([1, 1, 5, 1, 8, 1, 1])
    with net.stream() as stream, net.stream(engine="reference") as slow:
        pieces = np.split(x, cuts)
        got = np.concatenate([stream.push(piece) for piece in pieces])
        np.testing.assert_array_equal(got, np.concatenate([slow.push(frame[None]) for frame in x]))
        slow.restore(stream.state())
        np.testing.assert_array_equal(stream.push(x[:1]), slow.push(x[:1]))


@pytest.mark.parametrize("first", ["camera", "buffer", "state"])
def test_both_kinds_of_memory_go_together_and_behind_a_camera(first, keras):
    from spica.keras import DepthwiseTemporalConv, DiagonalSSM, TemporalConv

    keras.utils.set_random_seed(0)
    layers, state = keras.layers, [keras.layers.Dense(6), DiagonalSSM(), keras.layers.Dense(6), keras.layers.ReLU()]
    each = layers.TimeDistributed
    parts = {
        "camera": [each(layers.Conv2D(4, 3, 2, activation="relu")), each(layers.Flatten()), *state],
        "buffer": [TemporalConv(8, 3), layers.ReLU(), *state],
        "state": [*state, DepthwiseTemporalConv(3), layers.ReLU()],
    }[first]
    shape = (9, 8, 8, 2) if first == "camera" else (9, 5)
    model = keras.Sequential([keras.Input(shape), *parts, layers.Dense(3)])
    x = np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    net, wanted = spica.from_keras(model), model.predict(x, verbose=0)
    np.testing.assert_allclose(net.forward(x), wanted, atol=1e-5)
    qnet = spica.quantize(net, x)
    integers = spica.to_input_integers(qnet, x)
    whole = qnet.forward(integers)
    assert ratio(wanted, whole) > 25
    with qnet.stream() as stream:
        np.testing.assert_array_equal(np.concatenate([stream.push(frame[None]) for frame in integers[0]]), whole[0])


def test_quantising_without_repairs_still_sees_the_states(keras):
    net = spica.from_keras(recurrent(keras))
    plain = {"equalization": False, "reconstruction": False, "bias_correction": False}
    qnet = spica.quantize(net, SIGNALS, **plain)
    assert ratio(net.forward(SIGNALS), qnet.forward(spica.to_input_integers(qnet, SIGNALS))) > 30


@pytest.mark.parametrize("channels", [4, 5])
def test_states_go_to_other_layers_on_a_chip(channels, keras):
    from spica.keras import DiagonalSSM

    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((12, 3)), layers.Dense(channels), DiagonalSSM(), layers.ReLU(), layers.Dense(4)]
    )
    x = np.random.default_rng(0).normal(size=(3, 12, 3)).astype(np.float32)
    qnet = spica.quantize(spica.from_keras(model), x)
    integers, chip = spica.to_input_integers(qnet, x), spica.map(qnet, "pico")
    np.testing.assert_array_equal(chip.forward(integers), qnet.forward(integers))
    assert chip.statistics.latency_ms > 0


def test_the_modes_of_a_memory_decay_and_spread():
    from spica.keras.recurrent import legendre_modes

    modes = legendre_modes(8)
    np.testing.assert_allclose(modes.real, -0.5, atol=1e-9)
    assert (np.diff(modes.imag) > 0).all() and modes.imag[0] > 0


def test_state_space_layers_that_cannot_be_are_refused(keras):
    from spica.keras import DiagonalSSM

    for call, message in (
        (lambda: DiagonalSSM(fastest=0), "0 < fastest"),
        (lambda: DiagonalSSM()(np.zeros((2, 3, 4, 5), np.float32)), "clips of vectors"),
    ):
        with pytest.raises(spica.SpicaError, match=message):
            call()
    one = np.ones(2, np.float32)
    forever = DiagonalRecurrence(name="forever", inputs=("x",), a_real=one, a_imag=one)
    with pytest.raises(spica.SpicaError, match="so that the state fades"):
        spica.Network((Input(name="x", shape=(1, 2)), forever), ("forever",))
