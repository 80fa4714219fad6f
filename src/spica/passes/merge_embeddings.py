"""Add constants to tokens once: positions that follow a class token are one layer with it."""

from dataclasses import replace

from spica.layers import TokenEmbedding
from spica.network import Layer, Network
from spica.passes.merge import merge_pairs


def merge_embeddings(net: Network) -> Network:
    return merge_pairs(net, _merge)


def _merge(before: Layer, after: Layer) -> Layer | None:
    if not isinstance(before, TokenEmbedding) or not isinstance(after, TokenEmbedding) or after.class_token:
        return None
    return replace(before, constants=before.constants + after.constants)
