"""Passes that turn a float network into an equal one that quantises and maps well. Each is one file, one reason.

``prepare`` runs them all until nothing changes.
"""

from spica.network import Network
from spica.rewrite.fold_padding import fold_padding
from spica.rewrite.fold_scale import fold_scale
from spica.rewrite.fuse_activation import fuse_activation
from spica.rewrite.fuse_pooling import fuse_pooling
from spica.rewrite.remove_softmax import remove_softmax

PASSES = (remove_softmax, fold_padding, fold_scale, fuse_activation, fuse_pooling)


def prepare(net: Network) -> Network:
    """Run every pass until the network no longer changes."""
    while True:
        before = len(net)
        for rewrite in PASSES:
            net = rewrite(net)
        if len(net) == before:
            return net


def fuse(net: Network) -> Network:
    """Run the passes that make no change to weights, on a float or an integer network, until nothing changes."""
    while True:
        before = len(net)
        net = fuse_pooling(fuse_activation(net))
        if len(net) == before:
            return net


__all__ = [
    "PASSES",
    "fold_padding",
    "fold_scale",
    "fuse",
    "fuse_activation",
    "fuse_pooling",
    "prepare",
    "remove_softmax",
]
