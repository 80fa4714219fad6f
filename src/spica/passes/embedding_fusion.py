"""Add constants to tokens once: fuse positions with the class token that they follow."""

from dataclasses import replace

from spica.layers import TokenEmbedding
from spica.network import Layer, Network
from spica.passes.merge import merge_pass


@merge_pass
def merge_embeddings(net: Network, before: Layer, after: Layer) -> Layer | None:
    """Merge each ``TokenEmbedding`` that only adds constants into the one that it reads."""
    if not isinstance(before, TokenEmbedding) or not isinstance(after, TokenEmbedding) or after.class_token:
        return None
    return replace(before, constants=before.constants + after.constants)
