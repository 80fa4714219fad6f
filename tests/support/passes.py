"""Checks that every pass must stand."""

from __future__ import annotations

import numpy as np

from spica.layers import Softmax
from spica.network import Network
from spica.passes.base import Pass, Pipeline


def softmax(y: np.ndarray) -> np.ndarray:
    exponentials = np.exp(y - y.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def check_pass(step: Pass | Pipeline, net: Network, x: np.ndarray) -> Network:
    """Check that a pass keeps the outputs (a softmax at the end aside), tells whether it modified, and settles."""
    wanted = net.forward(x)
    layers = net.layers
    network, modified, _ = step.run(net)
    got = network.forward(x)
    if isinstance(net[net.outputs[0]], Softmax) and network.outputs != net.outputs:
        got = softmax(got)
    np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-3 * max(1.0, float(np.abs(wanted).max())))
    same = len(network) == len(net) and all(a is b for a, b in zip(network, net))
    assert modified is not same and (network is net) is same
    assert net.layers is layers and not step.run(network).modified
    return network
