"""Equalisation of channels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import spica
from spica.network.edit import replace_layer
from spica.quantization.scaling import equalize
from support.float_networks import SAMPLES, float_network


def test_equalization_changes_nothing_in_the_float_network():
    net = float_network()
    random = np.random.default_rng(0)
    reach = {
        r.name: random.uniform(0.01, 5, net.types[r.name].channels)
        for r in net
        if len(net.types[r.name].shape) == 3 and r.inputs
    }
    equal, gains = equalize(net, reach)
    assert "first" not in gains and gains  # a sum reads it, which cannot take a factor back
    x = SAMPLES.astype(np.float32)
    np.testing.assert_allclose(equal.forward(x), net.forward(x), rtol=1e-3, atol=1e-3)


def test_channels_that_only_zeros_read_are_left_as_they_are():
    """Blocks whose last normalisation starts at zero, as many are built, quantise before they are trained."""
    net = float_network()
    net = replace_layer(net, "point", replace(net["point"], kernel=np.zeros_like(net["point"].kernel)))
    x = SAMPLES.astype(np.float32)
    with np.errstate(all="raise", under="ignore"):
        qnet = spica.quantize(net, SAMPLES)
    assert np.abs(qnet.forward(SAMPLES) - net.forward(x)).max() < 0.1 * max(np.abs(net.forward(x)).max(), 1)
