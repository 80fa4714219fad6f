"""Operations on several places, tokens or tensors without a kernel: pooling, joining, padding, attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spica import layers
from spica.errors import SpicaError
from spica.frontends.ops.base import NONE, Array, Base, refuse
from spica.frontends.view import BATCH, View
from spica.semantics.primitives import Padding, Pair


class Mixing(Base):
    """Maxima and means over places, zeros around images, tensors side by side, tokens; see ``GraphBuilder``."""

    def max_pool(
        self, x: View, size: Pair, strides: Pair | None = None, padding: str | Padding = "valid", *, at: str
    ) -> View:
        """Take the largest value of each window; ``strides`` are ``size`` where left out."""
        x, strides = self.image(x, at), strides or size
        pool = layers.MaxPool(size=size, strides=strides, padding=self.spelled(padding, x, size, strides, at))
        return self.make(layers.MaxPool2D, at, x, pool=pool)

    def average_pool(self, x: View, size: Pair, padding: str | Padding = "valid", *, at: str) -> View:
        """Take the mean of each window, of which there must be one: the whole image. Returns ``(N, 1, 1, C)``."""
        x = self.image(x, at)
        part = size != x.shape[:2] or padding not in ("valid", NONE)
        refuse(at, part, "average pooling over part of an image", "use GlobalAveragePooling2D or a strided convolution")
        return self.mean(x, (1, 2), keep=True, at=at)

    def mean(self, x: View, axes: Sequence[int], keep: bool = False, *, at: str) -> View:
        """Take the mean over all places of an image or over all tokens; ``keep`` leaves axes of one."""
        x, axes = self.narrowed(x, at), sorted(axis % x.numbers.ndim for axis in axes)
        last = np.moveaxis(x.numbers, axes, range(-len(axes), 0))
        values = np.sort(last.reshape(*last.shape[: last.ndim - len(axes)], -1), axis=-1)
        rows, channels = x.size // x.shape[-1], x.shape[-1]
        sample, first = np.divmod(values[..., :1], x.size)
        wanted = sample * x.size + first + channels * np.arange(rows)
        if not axes or len(x.shape) not in (2, 3) or not np.array_equal(values, wanted):
            raise SpicaError(f"{at}: a mean over axes {axes} is not supported; average whole images, or all tokens")
        if len(x.shape) == 2:
            x = self.move(layers.Reshape, f"{at}/row", x, shape=(1, *x.shape))
        made = self.make(layers.GlobalAveragePooling2D, at, x)
        numbers = (sample * channels + first)[..., 0]
        return View(made.tensor, made.shape, np.expand_dims(numbers, axes) if keep else numbers)

    def pad(self, x: View, padding: Padding, value: float = 0, *, at: str) -> View:
        """Put zeros around an image, ``((top, bottom), (left, right))``."""
        refuse(at, bool(value) or min(map(min, padding)) < 0, "padding other than by zeros", "pad with zeros")
        x = self.image(x, at)
        return x if padding == NONE else self.make(layers.ZeroPad, at, x, padding=padding)

    def concat(self, parts: Sequence[View], axis: int = -1, *, at: str) -> View:
        """Put the channels of tensors side by side; images may have theirs first, where ``axis`` says so."""
        rank = parts[0].numbers.ndim
        if rank == 4 and axis in (1, -3):
            return self.concat([part.channels_last() for part in parts], at=at).channels_first()
        refuse(at, axis not in (-1, rank - 1), f"concatenation along axis {axis}", "concatenate channels")
        if rank > 2 or all(part.is_ordered() for part in parts):
            return self.make(layers.Concatenate, at, *(self.whole(part, at) for part in parts))
        vectors = [self.vector(part, at) for part in parts]  # their values may be in any order
        made = self.make(layers.Concatenate, at, *vectors)
        starts = np.cumsum([0, *(v.size for v in vectors)])
        places = [v.positions + start for v, start in zip(vectors, starts)]
        return View(made.tensor, made.shape, np.concatenate(places, -1) + made.size * np.arange(BATCH)[:, None])

    # -- tokens (N, T, C) --------------------------------------------------------------------------------------------

    def token_embedding(self, x: View, constants: Array, *, class_token: bool, at: str) -> View:
        """Put a token before all others where ``class_token`` is set, and add ``constants`` (T, C) to all of them."""
        return self.make(layers.TokenEmbedding, at, self.whole(x, at), class_token=class_token, constants=constants)

    def class_token(self, x: View, token: Array, axis: int = 1, *, at: str) -> View:
        """Put one token ``(batch, 1, C)``, the same for every sample, before all others, along ``axis``."""
        tokens = x.numbers.ndim == 3 and axis in (1, -2) and token.shape[1:] == (1, x.sizes[-1])
        bad = not tokens or (token != token[:1]).any()
        refuse(at, bad, "concatenation with constants", "put one token before the others")
        constants = np.concatenate([token[0], np.zeros(x.sizes, np.float32)])
        return self.token_embedding(x, constants, class_token=True, at=at)

    def attention(self, q: View, k: View, v: View, *, heads: int, scale: float | None = None, at: str) -> View:
        """Mix the tokens of ``v`` by how much those of ``q`` and ``k`` agree, in heads of channels side by side.

        ``scale`` is what the products of queries and keys are multiplied by: 1 / sqrt(channels of a head) if left out.
        """
        q, k, v = (self.whole(part, at) for part in (q, k, v))
        usual = 1 / np.sqrt(q.shape[-1] // heads)
        if scale is not None and not np.isclose(scale, usual, rtol=1e-6):
            factor = np.full(q.shape[-1], scale / usual, np.float32)
            q = self.make(layers.Scale, f"{at}/scale", q, scale=factor, offset=np.zeros_like(factor))
        return self.make(layers.Attention, at, q, k, v, heads=heads)
