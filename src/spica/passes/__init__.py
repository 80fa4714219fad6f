"""Passes that turn a float network into an equal one that quantises and maps well, one a file.

``prepare`` runs them all until nothing changes; ``spica.passes.base`` says what a pass is.
"""

from spica.network import Network
from spica.passes.activation_fusion import fuse_activation
from spica.passes.base import Pipeline
from spica.passes.embedding_fusion import merge_embeddings
from spica.passes.padding_folding import fold_padding, padding_to_gather
from spica.passes.pooling_fusion import fuse_pooling
from spica.passes.scale_folding import fold_scale
from spica.passes.scale_lowering import scale_to_depthwise
from spica.passes.scale_moving import move_scale
from spica.passes.softmax_removal import remove_softmax

PASSES = (remove_softmax, fold_padding, fold_scale, move_scale, merge_embeddings, fuse_activation, fuse_pooling)

FUSE = Pipeline(fuse_activation, fuse_pooling, until_stable=True)
PREPARE = Pipeline(Pipeline(*PASSES, until_stable=True), scale_to_depthwise, padding_to_gather, FUSE)


def prepare(net: Network) -> Network:
    """Return an equal float network that is ready to be quantised: folded, fused, without a softmax at the end.

    Scales that no neighbour can take in become depthwise convolutions, and padding becomes a ``Gather``.
    """
    return PREPARE.run(net).network


def fuse(net: Network) -> Network:
    """Return an equal network, float or integer, with activations and pooling fused; no weight changes."""
    return FUSE.run(net).network


__all__ = [
    "PASSES",
    "fold_padding",
    "fold_scale",
    "fuse",
    "fuse_activation",
    "fuse_pooling",
    "merge_embeddings",
    "move_scale",
    "padding_to_gather",
    "prepare",
    "remove_softmax",
    "scale_to_depthwise",
]
