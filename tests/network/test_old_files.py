"""Files that version 0.1 wrote (networks, learners, states of streams) still load and give what they gave then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import spica

FOLDER = Path(__file__).parent / "version_0_1"
EXPECTED = np.load(FOLDER / "expected.npz")
NETWORKS = sorted(path.stem for path in FOLDER.glob("*.spica"))
STREAMS = sorted(path.stem for path in FOLDER.glob("*.state"))


def test_the_set_is_whole():
    assert len(NETWORKS) >= 40 and len(STREAMS) == 2


@pytest.mark.parametrize("engine", ["native", "reference"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_load_and_give_the_same_outputs(name, engine):
    net = spica.load(FOLDER / f"{name}.spica")
    got = net.forward(EXPECTED[f"{name}/x"], engine=engine)
    if net.is_integer:
        np.testing.assert_array_equal(got, EXPECTED[f"{name}/y0"])
    else:  # float sums depend on the order in which a machine's matrix routine adds
        np.testing.assert_allclose(got, EXPECTED[f"{name}/y0"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", ["swap", "prototype"])
def test_learners_go_on_learning_as_they_did(rule):
    name = f"learner_{rule}"
    learner = spica.learn(spica.load(FOLDER / f"{name}.spica"))
    learner.partial_fit(EXPECTED[f"{name}/x"][30:], EXPECTED[f"{name}/labels"][30:])
    np.testing.assert_array_equal(learner.network.forward(EXPECTED[f"{name}/x"]), EXPECTED[f"{name}/after"])


@pytest.mark.parametrize("name", STREAMS)
def test_states_of_streams_go_on_where_they_stopped(name):
    net = spica.load(FOLDER / f"{name.replace('stream', 'quantized')}_88.spica")
    with net.stream() as stream:
        stream.load(FOLDER / f"{name}.state")
        assert stream.frames == 3
        got = np.concatenate([stream.push(frame[None]) for frame in EXPECTED[f"{name}/x"]])
    np.testing.assert_array_equal(got, EXPECTED[f"{name}/y0"])
