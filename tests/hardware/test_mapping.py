"""Networks on the chip: how many processors they need, the same integers, and what they cost."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import spica
from spica import SpicaError, zoo
from spica.hardware import check, load_device, map_network, specs
from spica.layers import Dequantize, GlobalAverage, MaxPool
from spica.network import Network
from support.chip_networks import conv, dense, flatten, max_pool, network, quantized, separable
from support.profiles import examples

AKD1000 = load_device("AKD1000")
ROOMY = AKD1000.replace(nodes=500)

# -- published counts ----------------------------------------------------------------------------------------

PUBLISHED = [
    (zoo.akidanet, 0.25, 160, 20),
    (zoo.akidanet, 0.5, 160, 24),
    (zoo.akidanet, 1.0, 160, 68),
    (zoo.akidanet, 0.25, 224, 22),
    (zoo.akidanet, 0.5, 224, 32),
    (zoo.akidanet, 1.0, 224, 116),
    (zoo.mobilenet, 0.25, 160, 20),
    (zoo.mobilenet, 0.5, 160, 24),
    (zoo.mobilenet, 1.0, 160, 65),
    (zoo.mobilenet, 0.25, 224, 22),
    (zoo.mobilenet, 0.5, 224, 32),
    (zoo.mobilenet, 1.0, 224, 110),
]


@pytest.mark.parametrize(("build", "alpha", "resolution", "count"), PUBLISHED)
def test_published_np_counts(build, alpha, resolution, count):
    """Zoo totals count the classifier as one NP and leave the input-convolution unit out."""
    chip = map_network(quantized(build(alpha, resolution)), ROOMY)
    assert chip.nps == count
    assert [len(p.nps) for p in (chip.placements[0], chip.placements[-1])] == [0, 1]


@pytest.mark.parametrize(("classes", "count"), [(2, 71), (20, 72)])
def test_published_np_counts_of_yolo(classes, count):
    """YOLOv2 has no classifier, so its count shows that the input-convolution unit is left out of it.

    71 for two classes in the vendor's zoo; 73 for twenty where that unit is counted.
    """
    strides = [(32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), *[(256, 1)] * 5, (512, 2), (512, 1)]
    body = [(conv if i < 3 else separable)(f, strides=s) for i, (f, s) in enumerate(strides)]
    head = [separable(1024), separable(1024), separable(1024), conv(5 * (5 + classes), 1)]
    net = network((224, 224, 3), conv(16, strides=2), *body, *head)
    assert map_network(net, ROOMY).nps == count


def test_published_nps_of_layers():
    """AkidaNet 0.5 at 224, layer by layer, as measured on AKD1500 in its minimal mapping."""
    chip = map_network(quantized(zoo.akidanet(0.5, 224)), AKD1000)
    assert [len(p.nps) for p in chip.placements] == [0, 4, 6, 3, 3, 2, 2, 1, 1, 1, 1, 1, 2, 4, 1]
    assert chip.estimate(0.5).layers[-1].external_weights


@pytest.mark.parametrize(
    ("alpha", "resolution", "minimal", "every", "fastest"),
    [
        (0.25, 96, (17, 1), (29, 1), None),
        (0.25, 160, (21, 1), (33, 1), (107, 4)),
        (0.25, 224, (23, 1), (33, 1), (110, 4)),
        (0.5, 160, (25, 1), (33, 1), (107, 4)),
        (0.5, 224, (33, 1), (33, 1), (130, 5)),
        (1.0, 160, (69, 3), (79, 3), (130, 5)),
        (1.0, 224, (117, 4), (117, 4), (134, 5)),
    ],
)
def test_published_nps_and_passes_on_akd1500(alpha, resolution, minimal, every, fastest):
    """NPs and passes in the vendor's three modes, the input-convolution unit counted as one.

    The last network has 132 in the vendor's fastest mode, not 134; all others are its own.
    """
    net = quantized(zoo.akidanet(alpha, resolution, 2 if resolution == 96 else 1000))
    for mode, published in (("minimal", minimal), ("all", every), ("fastest", fastest)):
        chip = map_network(net, "AKD1500", mode=mode)
        assert published is None or (chip.nps + 1, chip.passes) == published


def test_the_zoo_builds_float_networks_from_a_seed():
    a, b, c = zoo.akidanet(0.25, 32, 10), zoo.akidanet(0.25, 32, 10), zoo.akidanet(0.25, 32, 10, seed=1)
    x = np.ones((1, 32, 32, 3))
    assert not a.is_integer and a.forward(x).shape == (1, 10)
    assert np.array_equal(a.forward(x), b.forward(x)) and not np.array_equal(a.forward(x), c.forward(x))
    with pytest.raises(SpicaError, match="alpha"):
        zoo.mobilenet(0.01)


# -- the same integers ---------------------------------------------------------------------------------------


@st.composite
def networks(draw) -> Network:
    """Small networks that keep the rules of the first generation, of every shape that those allow."""

    def middle(last: bool):
        kernel = draw(st.sampled_from([1, 3, 5, 7]))
        strides = draw(st.sampled_from([1, 2])) if kernel == 3 else 1
        pool = (
            None
            if last
            else draw(
                st.sampled_from([None, max_pool(2, 1), max_pool(2, 2), max_pool(2, 1, "same"), max_pool(2, 2, "same")])
            )
        )
        make = conv if kernel == 1 else draw(st.sampled_from([conv, separable]))
        bits = draw(st.sampled_from([2, 4]))
        return make(
            draw(st.integers(1, 12)),
            kernel,
            strides,
            pool=pool,
            weights=bits,
            bounded=draw(st.booleans()),
            activations=draw(st.sampled_from([1, 2, 4])),
        )

    shape = (draw(st.integers(5, 14)), draw(st.integers(5, 14)), draw(st.sampled_from([1, 3])))
    first = conv(draw(st.integers(1, 10)), draw(st.sampled_from([3, 5])), weights=8)
    body = [middle(last=False) for _ in range(draw(st.integers(0, 2)))]
    end = draw(st.sampled_from(["average", "average at the end", "flat"]))
    if end == "flat":
        tail = [middle(last=True), flatten(), dense(5)]
    else:
        make = draw(st.sampled_from([conv, separable]))
        average = make(6, 3, pool=GlobalAverage(), bounded=draw(st.booleans()))
        tail = [average, dense(5)] if end == "average" else [average]
    try:
        return network(shape, first, *body, *tail, seed=draw(st.integers(0, 99)))
    except SpicaError:  # pooling left no room for the next window
        assume(False)
        raise


def smallest_memories(net: Network) -> tuple[int, int]:
    """Bytes for inputs and weights that let every layer be cut down to one row and one filter."""
    inputs, weights = 1, 1
    for layer in net.layers[2:]:
        spec = specs(net)[layer.name]
        if spec.op_type.endswith("convolution"):
            (x,) = net.input_types(layer)
            inputs = max(inputs, (1 + spec.halo) * x.shape[1] * x.channels * x.bits // 8 + 1)
            weights = max(weights, (spec.shared_weight_bits + spec.weight_bits_per_filter) // 8 + 1)
    return inputs, weights


@examples(150)
@given(networks(), st.tuples(st.floats(1, 3), st.floats(1, 3)), st.integers(1, 6), st.integers(1, 3))
def test_the_chip_gives_the_networks_integers(net, stretch, rows, samples):
    inputs, weights = (int(size * factor) for size, factor in zip(smallest_memories(net), stretch))
    device = ROOMY.replace(input_memory_bytes=inputs, weight_memory_bytes=weights, max_band_rows=rows)
    assume(check(net, device).ok)
    chip = map_network(net, device)
    x = np.random.default_rng(0).integers(0, 256, (samples, *net.types["input"].shape)).astype(np.uint8)
    expected = net.forward(x, engine="reference")
    assert np.array_equal(net.forward(x), expected)
    assert np.array_equal(chip.forward(x, batch_size=2, threads=1), expected)
    assert np.array_equal(chip.forward(x, engine="reference"), expected)
    for place in chip.placements[1:]:
        layer, spec = net[place.layer], place.spec
        if place.op_type != "fully_connected":
            filters = max(map(len, place.groups))
            assert spec.shared_weight_bits + filters * spec.weight_bits_per_filter <= 8 * weights
            if not isinstance(layer.pool, MaxPool):
                (kind,) = net.input_types(layer)
                held = max(len(band.rows) for band in place.bands)
                assert held * kind.shape[1] * kind.channels * kind.bits <= 8 * inputs
    counted = net.run(x, count=True)
    for cost in chip.statistics.layers:
        assert cost.events * samples == pytest.approx(counted.events[cost.layer])
        assert cost.inputs * samples == counted.inputs[cost.layer]


def test_layers_are_really_cut():
    net = network((16, 16, 3), conv(8), conv(12, pool=max_pool()), separable(12), separable(10, pool=GlobalAverage()))
    chip = map_network(net, ROOMY.replace(input_memory_bytes=250, weight_memory_bytes=140))
    tiles = [(len(p.bands), len(p.groups)) for p in chip.placements]
    assert tiles == [(1, 1), (16, 4), (3, 3), (3, 2)]
    x = np.random.default_rng(1).integers(0, 256, (4, 16, 16, 3)).astype(np.uint8)
    assert np.array_equal(chip.forward(x), net.forward(x))
    places = {place for p in chip.placements for place in p.nps}
    assert len(places) == chip.nps == sum(b * g for b, g in tiles[1:])


def test_akidanet_on_the_chip():
    net = quantized(zoo.akidanet(0.25, 96, 10))
    chip = map_network(net, "AKD1000")
    x = np.random.default_rng(2).integers(0, 256, (3, 96, 96, 3)).astype(np.uint8)
    assert np.array_equal(chip.forward(x), net.forward(x))
    assert np.array_equal(chip.predict(x), net.predict(x))
    assert chip.evaluate(x, net.predict(x)) == 1.0
    assert all(0.05 < cost.sparsity < 0.95 for cost in chip.statistics.layers[1:])


def test_layers_after_the_dequantiser_run_on_the_host():
    chain = network((8, 8, 1), conv(4), conv(4, pool=GlobalAverage()), dense(3))
    end = Dequantize(name="end", inputs=("layer_3",))
    net = Network((*chain.layers, end), ("end", "layer_3"), "two outputs")
    chip = map_network(net, "AKD1000")
    x = np.full((2, 8, 8, 1), 9, np.uint8)
    for ours, theirs in zip(chip.forward(x), net.forward(x)):
        assert np.array_equal(ours, theirs)
    assert [p.layer for p in chip.placements] == ["layer_1", "layer_2", "layer_3"]
    with pytest.raises(SpicaError, match="2 outputs"):
        chip.predict(x)


UNREAD = "recurrent_anomaly_w8a8.h5"  # has a layer without an exact counterpart; test_conformance.py holds it to that
GOLDEN = sorted(
    p for p in (Path(__file__).parent.parent / "conformance" / "golden").glob("*_w8a8.h5") if p.name != UNREAD
)
SIX = load_device("AKIDA2-6")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_networks_of_the_second_generation_give_their_integers_in_every_mode_or_are_refused(path):
    """Transposed, temporal, depthwise, table and skip layers, cut small, in passes and on several devices."""
    net = spica.from_quantizeml(path)
    if found := [*check(net, SIX)]:
        with pytest.raises(SpicaError, match=re.escape(found[0].layer)):
            map_network(net, SIX)
        return
    golden = np.load(path.with_suffix(".npz"))
    inputs = [golden[f"input_{i}"] for i in range(len(net.inputs))]
    x = inputs if len(inputs) > 1 else inputs[0]
    expected = as_list(net.forward(x))
    sizes = [(3, 10**6, 2048), (64, 700, 700), (1, 10**6, 10**6)]
    for rows, input_bytes, weight_bytes in sizes:
        small = SIX.replace(max_band_rows=rows, input_memory_bytes=input_bytes, weight_memory_bytes=weight_bytes)
        for options in ({"mode": "minimal"}, {"mode": "all"}, {"mode": "fastest", "passes": 3}, {"chips": 2}):
            try:
                chip = map_network(net, small, **options)
            except SpicaError as error:
                assert "NP" in str(error)
                continue
            for ours, theirs in zip(as_list(chip.forward(x)), expected):
                assert np.array_equal(ours, theirs)
            assert {place.pass_index for place in chip.placements} == set(range(chip.passes))


def as_list(y):
    return y if isinstance(y, list) else [y]


@pytest.mark.parametrize("mode", ["minimal", "all", "fastest"])
def test_passes_and_chips_give_the_networks_integers(mode):
    net = quantized(zoo.akidanet(0.5, 96, 10))
    x = np.random.default_rng(9).integers(0, 256, (2, 96, 96, 3)).astype(np.uint8)
    expected = net.forward(x)
    small = load_device("AKD1500").replace(nodes=2)
    for device, chips in ((small, 1), (small.replace(max_chips=4), 3), (AKD1000, 1), (AKD1000, 2)):
        chip = map_network(net, device, mode=mode, chips=chips)
        assert np.array_equal(chip.forward(x), expected)
        for turn in range(chip.passes):
            held = [np_ for place in chip.placements if place.pass_index == turn for np_ in place.nps]
            assert len(held) == len(set(held)) and all(np_.chip < chips for np_ in held)
        cost = chip.statistics
        assert (cost.reload_bytes > 0) == (chip.passes > 1)
        if chip.passes > 1:
            assert cost.interval_ms == cost.latency_ms and "passes" in str(cost)
    spread = map_network(net, small.replace(max_chips=8), chips=8)
    spread.forward(x)
    assert spread.passes == 1 and sum(c.crossings for c in spread.statistics.layers) > 0


def test_memory_is_moved_where_it_can_be():
    net = network(
        (32, 32, 3), conv(8, weights=8, activations=8), conv(64, weights=8, activations=8), conv(64, 1, weights=8)
    )
    tight = SIX.replace(input_memory_bytes=4096 * 2, weight_memory_bytes=4096 * 6)
    assert map_network(net, tight, fit_memory=True).nps < map_network(net, tight).nps
    fixed = AKD1000.replace(input_memory_bytes=2000)
    plain = network((16, 16, 3), conv(8), conv(8))
    assert map_network(plain, fixed, fit_memory=True).device.input_memory_bytes == 2000


# -- limits -------------------------------------------------------------------------------------------------


def test_a_network_too_large_says_which_layer_and_by_how_much():
    net = quantized(zoo.akidanet(1.0, 224))
    with pytest.raises(SpicaError, match=r"separable_11: needs 8 NPs, but 3 of AKD.*116.*29 nodes, or 2 chips"):
        map_network(net, "AKD1000")
    with pytest.raises(SpicaError, match=r"separable_12: needs 7 NPs by itself .* has 4, 3 too few"):
        map_network(net, load_device("AKD1500").replace(nodes=1, max_band_rows=300, input_memory_bytes=10**6))
    with pytest.raises(SpicaError, match=r"needs 4 passes of AKD1500, which runs networks in at most 3"):
        map_network(net, load_device("AKD1500").replace(max_passes=3))


def test_rows_and_filters_that_no_np_holds():
    net = network((16, 16, 3), conv(8), conv(8))
    with pytest.raises(SpicaError, match=r"layer_2: 3 rows of 16x8 4-bit .* 192 bytes.*at most 8 columns"):
        map_network(net, AKD1000.replace(input_memory_bytes=100))
    with pytest.raises(SpicaError, match=r"layer_2: one filter .* 36 bytes.*at most 4 channels"):
        map_network(net, AKD1000.replace(weight_memory_bytes=20))


def test_a_network_that_breaks_rules_cannot_be_mapped():
    with pytest.raises(SpicaError, match=r"cannot run on AKD1000: layer_1: kernel is 4.*1 more"):
        map_network(network((16, 16, 3), conv(8, 4), conv(8, 2)), "AKD1000")


def test_bad_samples_and_options_are_refused():
    chip = map_network(network((8, 8, 1), conv(4), conv(4, pool=GlobalAverage())), "AKD1000")
    x = np.zeros((2, 8, 8, 1), np.uint8)
    with pytest.raises(SpicaError, match="call forward first"):
        _ = chip.statistics
    with pytest.raises(SpicaError, match="shape"):
        chip.forward(x[:, :4])
    with pytest.raises(SpicaError, match="batch_size"):
        chip.forward(x, batch_size=0)
    with pytest.raises(SpicaError, match="labels"):
        chip.evaluate(x, [1])
    assert repr(chip) == "<MappedNetwork 'chain' on AKD1000: 1 of 80 NPs>"
    with pytest.raises(SpicaError, match="mode 'quick' is unknown; choose from minimal, all, fastest"):
        map_network(chip.network, "AKD1500", mode="quick")
    for options, words in (
        ({"passes": 2}, "in the fastest mode only"),
        ({"passes": 99, "mode": "fastest"}, "in 1 to 16"),
        ({"chips": 2}, "in groups of 1 to 1"),
    ):
        with pytest.raises(SpicaError, match=words):
            map_network(chip.network, "AKD1500", **options)
    for density, words in ((1.5, "density of .* is 1.5"), ({"nobody": 0.5}, "'nobody' is not a layer")):
        with pytest.raises(SpicaError, match=words):
            chip.estimate(density)
