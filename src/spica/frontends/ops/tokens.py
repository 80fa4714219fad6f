"""What transformers add: token embeddings, normalisation of each token, attention."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spica.frontends.ops.base import Base, refuse
from spica.frontends.view import View
from spica.layers import Attention, LayerNormalization, Reshape, Scale, TokenEmbedding

Array = NDArray[np.float32]


class Tokens(Base):
    """Operations on tokens ``(N, T, C)``; see ``GraphBuilder``."""

    def token_embedding(self, x: View, constants: Array, *, class_token: bool, at: str) -> View:
        """Put a token before all others where ``class_token`` is set, and add ``constants`` (T, C) to all of them."""
        return self.make(TokenEmbedding, at, self.whole(x, at), class_token=class_token, constants=constants)

    def class_token(self, x: View, token: NDArray, axis: int = 1, *, at: str) -> View:
        """Put one token ``(batch, 1, C)``, the same for every sample, before all others, along ``axis``."""
        tokens = x.numbers.ndim == 3 and axis in (1, -2) and token.shape[1:] == (1, x.sizes[-1])
        bad = not tokens or (token != token[:1]).any()
        refuse(at, bad, "concatenation with constants", "put one token before the others")
        constants = np.concatenate([token[0], np.zeros(x.sizes, np.float32)])
        return self.token_embedding(x, constants, class_token=True, at=at)

    def layer_norm(self, x: View, gamma: Array | None, beta: Array | None, epsilon: float, *, at: str) -> View:
        """Normalise the channels of each token, of each pixel, or of a vector."""
        x = self.tokens(x, at)
        if x.rows() is None and len(x.sizes) == 1 and x.is_ordered():
            x = self.whole(x, at)
        refuse(at, x.rows() is None, "normalisation of more than channels", "normalise the channels of tokens")
        channels = x.shape[-1]
        if len(x.shape) != 2:  # a vector is one token, an image as many as it has pixels
            name = f"{at}/token" if len(x.shape) == 1 else f"{at}/tokens"
            x = x.on(self.move(Reshape, name, x, shape=(x.size // channels, channels)))
        gamma = np.ones(channels, np.float32) if gamma is None else gamma
        beta = np.zeros(channels, np.float32) if beta is None else beta
        return x.on(self.make(LayerNormalization, at, x, gamma=gamma, beta=beta, epsilon=float(epsilon)))

    def attention(self, q: View, k: View, v: View, *, heads: int, scale: float | None = None, at: str) -> View:
        """Mix the tokens of ``v`` by how much those of ``q`` and ``k`` agree, in heads of channels side by side.

        ``scale`` is what the products of queries and keys are multiplied by: 1 / sqrt(channels of a head) if left out.
        """
        q, k, v = (self.whole(part, at) for part in (q, k, v))
        usual = 1 / np.sqrt(q.shape[-1] // heads)
        if scale is not None and not np.isclose(scale, usual, rtol=1e-6):
            factor = np.full(q.shape[-1], scale / usual, np.float32)
            q = self.make(Scale, f"{at}/scale", q, scale=factor, offset=np.zeros_like(factor))
        return self.make(Attention, at, q, k, v, heads=heads)
