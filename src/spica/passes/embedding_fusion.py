"""Add constants to tokens once: fuse positions with the class token that they follow."""

from dataclasses import replace

from spica.layers import TokenEmbedding
from spica.network import Layer, Network
from spica.passes.base import Result, graph_pass
from spica.passes.merge import merge_pairs


@graph_pass()
def merge_embeddings(net: Network) -> Result:
    """Merge each ``TokenEmbedding`` that only adds constants into the one that it reads."""
    return merge_pairs(net, _merge)


def _merge(before: Layer, after: Layer) -> Layer | None:
    if not isinstance(before, TokenEmbedding) or not isinstance(after, TokenEmbedding) or after.class_token:
        return None
    return replace(before, constants=before.constants + after.constants)
