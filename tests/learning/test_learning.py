"""Learning on the chip: what a sample changes, what it leaves alone, and that every path agrees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import spica
from spica.hardware import learning_step
from spica.layers import Conv2D, Dequantize, Flatten, Input, LearningDense, ReLU, Requantize
from spica.layers.learning import UNIT
from spica.learning import binarize, elbow
from spica.learning.rules import State
from support.networks import SEEDS
from support.profiles import examples


def extractor(seed=0, bits=1):
    """A convolution that gives binary spikes for images of 8 x 8, and their flattening."""
    random = np.random.default_rng(seed)
    kernel = random.integers(-7, 8, (3, 3, 1, 6)).astype(np.int8)
    stage = Requantize(multiplier=np.full(6, 1), shift=np.full(6, 9), bits=bits, signed=False, frac_bits=np.array(0))
    layers = (
        Input(name="image", shape=(8, 8, 1), bits=8),
        Conv2D(name="spikes", inputs=("image",), kernel=kernel, weight_bits=4, weight_scale=np.ones(6, np.float32),
               activation=ReLU(), requantize=stage),
        Flatten(name="flat", inputs=("spikes",)),
    )  # fmt: skip
    return spica.Network(layers, ("flat",), "extractor")


def patterns(seed=0, count=60, classes=3):
    """Noisy copies of one random image a class."""
    random = np.random.default_rng(seed)
    prototypes = np.random.default_rng(99).integers(0, 256, (classes, 8, 8, 1))
    y = random.integers(0, classes, count)
    return np.clip(prototypes[y] + random.normal(0, 25, (count, 8, 8, 1)), 0, 255).astype(np.uint8), y


@pytest.fixture(params=["swap", "prototype"])
def learner(request):
    x, _ = patterns()
    return spica.learn(extractor(), 3, neurons_per_class=2, samples=x, rule=request.param, competition=0.1)


def test_a_few_samples_are_enough(learner):
    x, y = patterns()
    held_x, held_y = patterns(seed=5)
    first = [int(np.flatnonzero(y == c)[0]) for c in range(3)]
    one_shot = learner.fit(x[first], y[first]).score(held_x, held_y)
    assert one_shot > 0.8
    assert learner.fit(x, y).score(held_x, held_y) > 0.95
    np.testing.assert_array_equal(learner.predict_proba(held_x).argmax(axis=1), learner.predict(held_x))
    np.testing.assert_allclose(learner.predict_proba(held_x).sum(axis=1), 1)


@examples(40)
@given(
    SEEDS, st.sampled_from(["swap", "prototype"]), st.integers(1, 3), st.integers(1, 60), st.floats(0, 1),
    st.floats(0, 1), st.floats(0, 1), st.booleans(),
)  # fmt: skip
def test_only_the_winner_changes_and_connections_stay_as_many(
    seed, rule, each, weights, plasticity, decay, competition, known
):
    random = np.random.default_rng(seed)
    learner = spica.learn(
        extractor(), 3, neurons_per_class=each, weights_per_neuron=weights, rule=rule, competition=competition,
        initial_plasticity=plasticity, min_plasticity=plasticity / 3, plasticity_decay=decay, seed=seed,
    )  # fmt: skip
    state = State(learner.layer)
    for _ in range(12):
        spikes = (random.random(384) < random.random()).astype(np.uint8)
        label = int(random.integers(3)) if known else None
        before = State(state.record())
        winner = state.learn(spikes, label)
        assert label is None or winner // each == label
        others = np.arange(3 * each) != winner
        for name in ("kernel", "plasticity", "threshold", "learned", "memory"):
            a, b = getattr(before, name), getattr(state, name)
            if a.shape[-1]:
                np.testing.assert_array_equal(a[..., others], b[..., others])
        assert (state.kernel.sum(axis=0) == weights).all()
        overlap = [int(s.kernel[spikes == 1, winner].sum()) for s in (before, state)]
        assert overlap[1] >= overlap[0] or rule == "prototype"
        assert state.plasticity[winner] <= before.plasticity[winner] or rule == "prototype"
    spica.Network((*extractor().layers, replace(state.record(), inputs=("flat",))), ("learning",))  # still valid


@examples(15)
@given(SEEDS, st.sampled_from(["swap", "prototype"]), st.sampled_from([1, 7, 64]), st.sampled_from([1, 2]))
def test_every_path_thread_count_and_batch_split_learns_the_same(seed, rule, batch, threads):
    x, y = patterns(seed, count=24)

    def made():
        return spica.learn(extractor(), 3, neurons_per_class=2, weights_per_neuron=40, rule=rule, seed=seed)

    whole = made().fit(x, y, engine="reference")
    split = made()
    split.fit(x[:10], y[:10], threads=threads, batch_size=batch)
    split.partial_fit(x[10:], y[10:], threads=threads, batch_size=batch)
    for name in ("kernel", "plasticity", "threshold", "learned", "memory"):
        np.testing.assert_array_equal(getattr(whole.layer, name), getattr(split.layer, name))
    np.testing.assert_array_equal(
        whole.network.forward(x, engine="reference"), split.network.forward(x, threads=threads, batch_size=batch)
    )


@examples(60)
@given(
    SEEDS,
    st.sampled_from(["swap", "prototype"]),
    st.integers(1, 4),
    st.integers(1, 384),
    st.booleans(),
    st.floats(0, 1),
)
def test_native_learning_is_the_reference_bit_for_bit(seed, rule, each, weights, known, share):
    random = np.random.default_rng(seed)
    layer = spica.learn(
        extractor(), 3, neurons_per_class=each, weights_per_neuron=weights, rule=rule, competition=share,
        initial_plasticity=1 - share / 2, min_plasticity=share / 4, plasticity_decay=share, seed=seed,
    ).layer  # fmt: skip
    spikes = (random.random((30, 384)) < random.random((30, 1))).astype(np.uint8)
    labels = random.integers(0, 3, 30) if known else None
    plain, native = State(layer), State(layer)
    for i, sample in enumerate(spikes):
        plain.learn(sample, None if labels is None else int(labels[i]))
    native.learn_all(spikes, labels)
    for name in ("kernel", "memory", "plasticity", "threshold", "learned"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(native, name), err_msg=name)


def test_the_layer_gives_each_class_its_largest_potential(learner):
    x, y = patterns()
    learner.fit(x, y)
    potentials = learner.features(x).astype(int) @ learner.layer.kernel
    np.testing.assert_array_equal(learner.network.forward(x), potentials.reshape(len(x), 3, 2).max(axis=2))
    np.testing.assert_array_equal(learner.potentials(x), learner.network.forward(x))
    np.testing.assert_array_equal(learner.winners(x) // 2, learner.predict(x))
    np.testing.assert_array_equal(learner.network.predict(x), learner.predict(x))
    assert learner.score(x, y) == learner.network.evaluate(x, y)


def test_new_classes_leave_the_old_neurons_untouched(learner):
    x, y = patterns(classes=4, count=80)
    known = y < 3
    learner.fit(x[known], y[known])
    old = learner.layer
    learner.add_classes(1)
    assert learner.classes == 4
    learner.partial_fit(x[~known], y[~known])
    np.testing.assert_array_equal(learner.layer.kernel[:, :6], old.kernel)
    np.testing.assert_array_equal(learner.layer.learned[:6], old.learned)
    assert learner.score(*patterns(seed=5, classes=4)) > 0.9


def test_forgetting_makes_a_class_as_it_was(learner):
    x, y = patterns()
    blank = learner.layer
    learner.fit(x, y).forget(1)
    for name in ("kernel", "plasticity", "threshold", "learned", "memory"):
        a, b = (getattr(r, name) for r in (blank, learner.layer))
        if a.shape[-1]:
            np.testing.assert_array_equal(a[..., 2:4], b[..., 2:4])
    assert learner.layer.learned[[0, 1, 4, 5]].sum() == (y != 1).sum()


def test_a_saved_learner_goes_on_where_it_stopped(learner, tmp_path):
    x, y = patterns()
    learner.fit(x[:20], y[:20])
    learner.network.save(tmp_path / "half.spica")
    resumed = spica.learn(spica.load(tmp_path / "half.spica"))
    for one in (learner, resumed):
        one.partial_fit(x[20:], y[20:])
    for name in ("kernel", "plasticity", "threshold", "learned", "memory"):
        np.testing.assert_array_equal(getattr(learner.layer, name), getattr(resumed.layer, name))


def test_without_labels_neurons_share_the_patterns(learner):
    x, y = patterns(count=120)
    one = spica.learn(extractor(), 3, samples=x, rule=learner.layer.rule, competition=0.3)
    one.fit(x, epochs=3)
    groups = one.winners(x)
    purity = sum(np.bincount(y[groups == g]).max() for g in np.unique(groups)) / len(y)
    assert len(np.unique(groups)) > 1 and purity > 0.6


def test_competition_brings_in_more_neurons():
    x, y = patterns(count=60)
    used = []
    for competition in (0.0, 0.5):
        one = spica.learn(extractor(), 3, neurons_per_class=4, samples=x, competition=competition).fit(x, y)
        used.append(int((one.layer.learned > 0).sum()))
    assert used[1] > used[0]


def test_plasticity_decays_to_its_floor():
    x, y = patterns(count=60)
    layer = spica.learn(extractor(), 3, samples=x, plasticity_decay=0.5, min_plasticity=0.2).fit(x, y).layer
    assert (layer.plasticity == round(0.2 * UNIT)).all()


def test_the_learned_network_maps_and_runs_on_the_chip(learner):
    x, y = patterns()
    learner.fit(x, y)
    chip = spica.map(learner.network, "AKD1000")
    np.testing.assert_array_equal(chip.forward(x), learner.network.forward(x, engine="reference"))
    last = next(layer for layer in chip.statistics.layers if layer.layer == "learning")
    assert last.nps == 1 and last.energy_uj > 0
    assert last.events == pytest.approx(learner.features(x).sum() / len(x))


def test_a_step_is_charged_for_the_winners_inputs(learner):
    x, y = patterns()
    chip = spica.map(learner.fit(x, y).network, "AKD1000")
    with pytest.raises(spica.SpicaError, match="call forward first"):
        learning_step(chip)
    chip.forward(x)
    step, device = learning_step(chip), chip.device
    per_input, bits = {"swap": (2, 1), "prototype": (4, 9)}[learner.layer.rule]
    assert step.accesses == per_input * 384 and step.memory_bytes == 384 * 6 * bits // 8
    assert step.energy_uj == pytest.approx(step.accesses * device.dense_pj * 1e-6)
    assert step.latency_ms == pytest.approx(chip.statistics.latency_ms + step.cycles / (1e3 * device.clock_mhz))
    assert "modelled" in str(step) and "assumed" in str(step)
    plain = spica.map(extractor(), "AKD1000")
    plain.forward(x)
    with pytest.raises(spica.SpicaError, match="no learning layer"):
        learning_step(plain)


@pytest.mark.parametrize("rate", [0.03, 0.08])
def test_thresholds_let_every_channel_fire_as_often(rate):
    x, _ = patterns(count=200)
    spikes = binarize(extractor(bits=4), "spikes", x, rate=rate)
    fired = spikes.run(x).tensors["spikes"]
    assert set(np.unique(fired)) == {0, 1}
    np.testing.assert_allclose(fired.mean(axis=(0, 1, 2)), rate, atol=0.02)
    assert spica.learn(spikes, 3, samples=x).fit(*patterns(count=200)).score(*patterns(seed=5)) > 0.9


def test_no_threshold_lies_where_the_rectifier_stops():
    x = np.zeros((4, 8, 8, 1), np.uint8)
    assert not binarize(extractor(bits=4), "spikes", x).run(x).tensors["spikes"].any()


@pytest.mark.parametrize(
    ("layer", "rate", "message"),
    [("flat", 0.1, "choose one of spikes"), ("no", 0.1, "choose"), ("spikes", 1, "below 1")],
)
def test_thresholds_that_cannot_be_are_refused(layer, rate, message):
    with pytest.raises(spica.SpicaError, match=message):
        binarize(extractor(bits=4), layer, patterns()[0], rate=rate)


def test_elbow_finds_how_many_ways_a_class_looks():
    random = np.random.default_rng(0)
    prototypes = random.random((6, 200)) < 0.2
    labels = np.repeat([0, 1], 150)
    which = np.concatenate([random.integers(0, 3, 150), random.integers(3, 6, 150)])
    features = (prototypes[which] ^ (random.random((300, 200)) < 0.03)).astype(np.uint8)
    best, curve = elbow(features, labels, [1, 2, 3, 5, 8], 45)
    assert best == 3
    assert list(curve.values()) == sorted(curve.values(), reverse=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "weights_per_neuron, or samples"),
        ({"weights_per_neuron": 400}, "1 to 384"),
        ({"weights_per_neuron": 9, "classes": 0}, "at least 1"),
        ({"weights_per_neuron": 9, "competition": 1.5}, "competition is 1.5"),
        ({"weights_per_neuron": 9, "rule": "magic"}, "choose from swap, prototype"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(spica.SpicaError, match=message):
        spica.learn(extractor(), **({"classes": 3} | options))


def test_bad_calls_are_refused(learner):
    x, y = patterns()
    for call, message in (
        (lambda: learner.fit(x, y + 1), "add_classes makes room"),
        (lambda: learner.fit(x, y[:3]), "give one class index"),
        (lambda: learner.fit(x, y, epochs=0), "at least 1"),
        (lambda: learner.add_classes(0), "at least 1"),
        (lambda: learner.forget(3), "label is 3"),
        (lambda: spica.learn(extractor(bits=4), 3, weights_per_neuron=9), "must be binary spikes"),
    ):
        with pytest.raises(spica.SpicaError, match=message):
            call()


def test_a_layer_that_is_not_what_it_should_be_is_refused(learner):
    good = replace(learner.layer, inputs=("flat",))
    for change, message in (
        ({"kernel": good.kernel + 1}, "0 or 1"),
        ({"weights_per_neuron": 3}, "exactly|must have 3 connections"),
        ({"neurons_per_class": 4}, "whole classes"),
        ({"plasticity": good.plasticity[:1]}, "one a neuron"),
        ({"memory": np.zeros((3, 6), np.int16)}, "memory"),
    ):
        with pytest.raises(spica.SpicaError, match=message):
            spica.Network((*extractor().layers, replace(good, **change)), ("learning",))
    with pytest.raises(spica.SpicaError, match="binary spikes"):
        spica.Network((*extractor(bits=4).layers, good), ("learning",))
    assert isinstance(learner.network.layers[-2], LearningDense) and isinstance(learner.network.layers[-1], Dequantize)
