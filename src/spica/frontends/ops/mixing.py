"""Operations on several tensors or tokens without a kernel: padding, joining, attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spica import layers
from spica.frontends.ops.base import NONE, Array, Base, refuse
from spica.frontends.view import BATCH, View
from spica.semantics.primitives import Padding


class Mixing(Base):
    """Borders around images, tensors side by side, tokens; see ``GraphBuilder``."""

    def pad(self, x: View, padding: Padding, value: float = 0, mode: str = "constant", *, at: str) -> View:
        """Put zeros around an image, ``((top, bottom), (left, right))``; negative amounts cut it.

        ``mode`` "edge" repeats the border instead, "reflect" mirrors the image at it, "wrap" goes round.
        """
        refuse(at, bool(value), f"padding with {value}", "pad with zeros")
        if min(map(min, padding)) < 0:
            for axis, (before, after) in enumerate(padding, 1):
                x = x.slice(axis, max(0, -before), x.numbers.shape[axis] - max(0, -after))
            padding = tuple((max(0, before), max(0, after)) for before, after in padding)  # type: ignore[assignment]
        if padding == NONE:
            return x
        if mode == "constant":
            return self.make(layers.ZeroPad, at, self.image(x, at), padding=padding)
        refuse(at, mode not in ("edge", "reflect", "wrap"), f"padding by {mode!r}", "pad with zeros")
        return x.pad(((0, 0), *padding, (0, 0)), mode).named(at)

    def pad_axes(
        self, x: View, widths: Sequence[tuple[int, int]], value: float = 0, mode: str = "constant", *, at: str
    ) -> View:
        """Put zeros around any axes of a tensor, ``(before, after)`` for each; channels last or first; see ``pad``."""
        refuse(at, any(widths[0]), "padding of the batch axis", "pad other axes")
        refuse(at, bool(value), f"padding with {value}", "pad with zeros")
        for axis, (before, after) in enumerate(widths):
            x = x.slice(axis, max(0, -before), x.numbers.shape[axis] - max(0, -after))
        widths = [(max(0, before), max(0, after)) for before, after in widths]
        first, rank = not x.is_ordered(), x.numbers.ndim
        places = range(2, rank) if first else range(1, rank - 1)
        if mode != "constant":
            return x.pad(widths, mode).named(at)
        if rank not in (3, 4) or any(sum(widths[axis]) for axis in range(rank) if axis not in places):
            zeros = np.pad(np.zeros(x.numbers.shape, bool), widths, constant_values=True)[0]
            padded = x.pad(widths, "edge")
            if first and rank == 4:
                return self.gathered(padded.channels_last(), at, np.moveaxis(zeros, 0, -1)).channels_first()
            return self.gathered(padded, at, zeros)
        image = x if rank == 4 else x.unsqueeze(places[0])
        rows, columns = ((0, 0), *(widths[axis] for axis in places))[-2:]
        made = self.pad(image.channels_last() if first else image, (rows, columns), at=at)
        made = made.channels_first() if first else made
        return made if rank == 4 else made.squeeze(places[0])

    def concat(self, parts: Sequence[View], axis: int = -1, *, at: str) -> View:
        """Put tensors side by side: their channels, also where images have theirs first, or along any other axis."""
        rank = parts[0].numbers.ndim
        axis %= rank
        if rank == 4 and axis == 1 and not parts[0].is_ordered():
            return self.concat([part.channels_last() for part in parts], at=at).channels_first()
        if axis == rank - 1 and rank > 2:
            return self.make(layers.Concatenate, at, *(self.whole(part, at) for part in parts))
        refuse(at, axis == 0, "concatenation of samples", "concatenate along another axis")
        # Values lie one tensor after the other in a vector, whatever their order; the view says where each belongs.
        vectors = [self.vector(part, at) for part in parts]
        made = self.make(layers.Concatenate, at, *vectors)
        starts = np.cumsum([0, *(v.size for v in vectors)])
        places = [v.positions + start for v, start in zip(vectors, starts)]
        samples = np.arange(BATCH).reshape(-1, *[1] * (rank - 1))
        return View(made.tensor, made.shape, np.concatenate(places, axis) + made.size * samples)

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

    def matmul(self, x: View, y: View, *, at: str) -> View:
        """Multiply the matrices of two tensors, ``(N, ..., M, K)`` by ``(N, ..., K, L)``; ``N`` may hold windows."""
        refuse(at, not x.numbers.ndim == y.numbers.ndim > 2, "a product of tensors of these axes", "give them as many")
        lead = np.broadcast_shapes(x.numbers.shape[:-2], y.numbers.shape[:-2])
        both = [view.expand((*lead, *view.numbers.shape[-2:])) for view in (x, y)]
        refuse(at, any(view.batch_axis() != (0, 1) for view in both), "a product across samples", "keep them first")
        joined = lead[0] != BATCH
        parts = [self.whole(view.unflatten(0, (BATCH, -1)) if joined else view, at) for view in both]
        made = self.make(layers.MatrixProduct, at, *parts)
        return made.flatten(0, 1) if joined else made

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
