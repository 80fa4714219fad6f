"""What outputs predict, and which labels are taken."""

from __future__ import annotations

import numpy as np
import pytest

import spica
from spica.layers import Conv2D, Dense, Input
from spica.network import Network
from spica.network.classification import check_labels


def test_one_output_is_a_logit():
    dense = Dense(name="d", inputs=("x",), kernel=np.array([[1]], np.float32), bias=np.array([-2], np.float32))
    net = Network((Input(name="x", shape=(1,)), dense), ("d",))
    x = np.array([[0], [1], [3], [9]], np.float32)
    assert net.predict(x).tolist() == [0, 0, 1, 1]
    assert net.evaluate(x, [0, 1, 1, 1]) == 0.75 and net.evaluate(x, np.array([False, False, True, True])) == 1


def test_a_map_has_a_class_at_each_pixel():
    kernel = np.eye(3, dtype=np.float32)[None, None]
    net = Network((Input(name="x", shape=(2, 2, 3)), Conv2D(name="c", inputs=("x",), kernel=kernel)), ("c",))
    x = np.random.default_rng(0).normal(size=(5, 2, 2, 3)).astype(np.float32)
    np.testing.assert_array_equal(net.predict(x), x.argmax(axis=-1))
    assert net.evaluate(x, x.argmax(axis=-1)) == 1
    one = Network((Input(name="x", shape=(1, 1, 3)), net.layers[1]), ("c",))
    assert one.predict(x[:, :1, :1]).shape == (5,)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["1", "2"], "type <U1"),
        ([None, None], "type object"),
        ([0.0, np.nan], "type float64"),
        ([0.5, 1.0], "type float64"),
        ([0, 3], "reach from 0 to 3, but there are classes 0 to 2"),
        ([-1, 0], "reach from -1 to 0"),
        ([[0], [1]], r"shape \(2, 1\)"),
        ([0, 1, 2], r"shape \(3,\)"),
        ([[0], [1, 2]], "not an array"),
        (np.ma.array([0, 1], mask=[True, False]), "masked"),
        ([True, False], "type bool"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, message):
    with pytest.raises(spica.SpicaError, match=message):
        check_labels(labels, (2,), 3)
