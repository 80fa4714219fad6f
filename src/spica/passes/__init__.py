"""Passes that turn a float network into an equal one that quantises and maps well. Each is one file, one reason.

``prepare`` runs them all until nothing changes.
"""

from collections.abc import Callable, Sequence

from spica.network import Network
from spica.passes.fold_padding import fold_padding
from spica.passes.fold_scale import fold_scale
from spica.passes.fuse_activation import fuse_activation
from spica.passes.fuse_pooling import fuse_pooling
from spica.passes.merge_embeddings import merge_embeddings
from spica.passes.remove_softmax import remove_softmax
from spica.passes.scale_to_depthwise import scale_to_depthwise

PASSES = (remove_softmax, fold_padding, fold_scale, merge_embeddings, fuse_activation, fuse_pooling)


def prepare(net: Network) -> Network:
    """Run every pass until the network no longer changes; last, give what could not be folded a layer of its own."""
    return fuse(scale_to_depthwise(_until_stable(net, PASSES)))


def fuse(net: Network) -> Network:
    """Run the passes that change no weights, on a float or an integer network, until nothing changes."""
    return _until_stable(net, (fuse_activation, fuse_pooling))


def _until_stable(net: Network, passes: Sequence[Callable[[Network], Network]]) -> Network:
    while True:
        before = len(net)
        for rewrite in passes:
            net = rewrite(net)
        if len(net) == before:
            return net


__all__ = [
    "PASSES",
    "fold_padding",
    "fold_scale",
    "fuse",
    "fuse_activation",
    "fuse_pooling",
    "merge_embeddings",
    "prepare",
    "remove_softmax",
    "scale_to_depthwise",
]
