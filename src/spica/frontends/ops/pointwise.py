"""Operations that change every value where it is: sums, factors, activations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spica.errors import SpicaError
from spica.frontends.ops.base import Array, Base, refuse
from spica.frontends.view import View, same
from spica.layers import Activation, Add, Gelu, LayerNormalization, ReLU, Reshape, Scale, Softmax, TokenEmbedding
from spica.network import Layer


class Pointwise(Base):
    """Sums, normalisation and activations; see ``GraphBuilder``."""

    def add(self, x: View, y: View, *, at: str) -> View:
        """Add two tensors of one shape."""
        x, y = self.tokens(x, at), self.tokens(y, at)
        if x.numbers.shape == y.numbers.shape and x.is_ordered() and y.is_ordered() and x.shape != y.shape:
            x, y = self.whole(x, at), self.whole(y, at)
        if x.shape != y.shape or not same(x.numbers, y.numbers):
            raise SpicaError(
                f"{at}: adds tensors of shapes {x.sizes} and {y.sizes} whose axes are in different orders, or differ; "
                "bring them in the same order before"
            )
        return x.on(self.make(Add, at, x, y))

    def affine(self, x: View, scale: ArrayLike, offset: ArrayLike, *, at: str) -> View:
        """Return ``x * scale + offset``, each of which spreads over the elements of ``x`` as numpy has it."""
        x = self.tokens(x, at)
        factors, offsets = self._by_row(x, scale, 1, at), self._by_row(x, offset, 0, at)
        if len(x.sizes) == 1 and any((rows != rows[0]).any() for rows in (factors, offsets)):
            x = self.vector(x, at)
            factors, offsets = factors.reshape(1, -1), offsets.reshape(1, -1)
        if all((rows == rows[0]).all() for rows in (factors, offsets)):
            return self._each(Scale, at, x, scale=factors[0], offset=offsets[0])
        refuse(at, (factors != 1).any() or len(x.shape) != 2, "a factor for every place", "use one a channel")
        return self._each(TokenEmbedding, at, x, class_token=False, constants=offsets)

    def batch_norm(
        self, x: View, gamma: Array | None, beta: Array | None, mean: Array, variance: Array, epsilon: float, *, at: str
    ) -> View:
        """Normalise each channel by given statistics."""
        scale = 1 / np.sqrt(variance + np.float32(epsilon))
        scale = scale if gamma is None else scale * gamma
        offset = -mean * scale
        return self.affine(x, scale, offset if beta is None else offset + beta, at=at)

    def layer_norm(self, x: View, gamma: Array | None, beta: Array | None, epsilon: float, *, at: str) -> View:
        """Normalise the channels of each token, of each pixel, or of a vector."""
        x = self._in_rows(self.tokens(x, at), at)
        refuse(at, x.rows() is None, "normalisation of more than channels", "normalise the channels of tokens")
        channels = x.shape[-1]
        if len(x.shape) != 2:  # a vector is one token, an image as many as it has pixels
            name = f"{at}/token" if len(x.shape) == 1 else f"{at}/tokens"
            x = x.on(self.move(Reshape, name, x, shape=(x.size // channels, channels)))
        gamma = np.ones(channels, np.float32) if gamma is None else gamma
        beta = np.zeros(channels, np.float32) if beta is None else beta
        return x.on(self.make(LayerNormalization, at, x, gamma=gamma, beta=beta, epsilon=float(epsilon)))

    def clip(self, x: View, low: float | None = 0, high: float | None = None, *, at: str) -> View:
        """Hold values within a range that begins at zero."""
        refuse(at, low != 0, f"a clamp from {low}", "use a ReLU")
        bound = None if high is None or np.isinf(high) else np.array(high, np.float32)
        return self._each(Activation, at, x, function=ReLU(max_value=bound))

    def gelu(self, x: View, *, by_tanh: bool = False, at: str) -> View:
        """Apply the GELU of the error function."""
        refuse(at, by_tanh, "a GELU by tanh", "use the exact one and train a little on")
        return self._each(Gelu, at, x)

    def softmax(self, x: View, axis: int = -1, *, at: str) -> View:
        """Apply a softmax over the channels."""
        last = axis in (-1, x.numbers.ndim - 1)
        x = self._in_rows(x, at) if last else x
        refuse(at, not last or x.rows() is None, f"a softmax along axis {axis}", "use the channels")
        return self._each(Softmax, at, x)

    def activation(self, x: View, function: str, *, at: str, name: str = "") -> View:
        """Apply an activation that an operation has as an argument; ``name`` is its layer's."""
        name = name or at
        match function:
            case "linear" | "none":
                return x
            case "relu":
                return self.clip(x, at=name)
            case "relu6":
                return self.clip(x, 0, 6, at=name)
            case "gelu":
                return self.gelu(x, at=name)
            case "softmax":
                return self.softmax(x, at=name)
        raise SpicaError(f"{at}: activation {function!r} is not supported; use relu, relu6, gelu, linear or softmax")

    def _in_rows(self, x: View, at: str) -> View:
        """Return the view on a vector of its own where it is all of an image or of tokens, made flat."""
        return self.whole(x, at) if len(x.sizes) == 1 and x.is_ordered() and x.rows() is None else x

    def _each(self, kind: type[Layer], at: str, x: View, **fields: Any) -> View:
        """Return the view of a layer that changes every value of a tensor where it is."""
        return x.on(self.make(kind, at, x, **fields))

    def _by_row(self, x: View, values: ArrayLike, without: float, at: str) -> Array:
        """Return values that spread over the elements of ``x`` by row of channels of its tensor, ``(rows, C)``.

        What the view leaves out has the value ``without``. One row stands for all where they are obviously the same.
        """
        values = np.asarray(values, np.float32)
        each_channel = values.shape == x.shape[-1:] == x.sizes[-1:]
        if (each_channel or values.size == 1) and x.is_ordered():
            return np.broadcast_to(values.reshape(-1), (1, x.shape[-1]))
        try:
            spread = np.broadcast_to(values, x.numbers.shape)
        except ValueError:
            raise SpicaError(f"{at}: values of shape {values.shape} do not spread over {x.sizes}") from None
        placed = np.full(x.size, without, np.float32)
        placed[x.positions] = spread
        refuse(at, not np.array_equal(placed[x.positions], spread), "another value for each sample", "use one for all")
        return placed.reshape(-1, x.shape[-1])
