"""Operations that change every value where it is: sums, products, normalisation, activations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spica.errors import SpicaError
from spica.frontends.ops.base import Array, Base, refuse
from spica.frontends.ops.gates import gated
from spica.frontends.view import View, same
from spica.layers import (
    Activation,
    Add,
    LayerNormalization,
    Multiply,
    ReLU,
    Reshape,
    Scale,
    Softmax,
    TableActivation,
    TokenEmbedding,
)
from spica.layers.functions import FUNCTIONS
from spica.network import Layer

LARGEST = 1e38
"""A bound that no value reaches."""

SPELLINGS = {
    "approximate_gelu": "gelu_tanh", "hardsigmoid": "hard_sigmoid", "hard_swish": "hard_silu", "hardswish": "hard_silu",
    "exponential": "exp", "swish": "silu", "relu_6": "relu6", "hardtanh": "hard_tanh",
}  # fmt: skip
"""Names that frameworks have for a function beside its own."""


class Pointwise(Base):
    """Sums, normalisation and activations; see ``GraphBuilder``."""

    def add(self, x: View, y: View, *, at: str) -> View:
        """Add two tensors, of one shape or with axes of one that spread."""
        if x.numbers.ndim == y.numbers.ndim == 1:
            return self.add(x.unsqueeze(1), y.unsqueeze(1), at=at).squeeze(1)
        if x.numbers.shape != y.numbers.shape:
            sizes = np.broadcast_shapes(x.numbers.shape, y.numbers.shape)
            x, y = x.expand(sizes), y.expand(sizes)
        if x.shape == y.shape and same(x.numbers, y.numbers):
            return x.on(self.make(Add, at, x, y))
        x, y = self.tokens(x, at), self.tokens(y, at)
        if x.shape != y.shape or not same(x.numbers, y.numbers):
            back, (x, y) = self._side_by_side(x, y, at)
            return back(self.make(Add, at, x, y))
        return x.on(self.make(Add, at, x, y))

    def multiply(self, x: View, y: View, *, at: str) -> View:
        """Multiply two tensors, of one shape or with axes of one that spread; a gate of ``x`` itself is one layer."""
        if (made := self._gate(x, y, at) or self._gate(y, x, at)) is not None:
            return made
        if (rank := max(x.numbers.ndim, y.numbers.ndim)) == 1:
            return self.multiply(x.unsqueeze(1), y.unsqueeze(1), at=at).squeeze(1)
        x, y = (_with_axes(view, rank) for view in (x, y))
        if x.size < y.size:
            x, y = y, x
        if any(n not in (1, m) for m, n in zip(x.sizes, y.sizes)):
            y = y.expand(np.broadcast_shapes(x.numbers.shape, y.numbers.shape))
            x = x.expand(y.numbers.shape)
        back, (x, y) = self._side_by_side(x, y, at)
        return back(self.make(Multiply, at, x, y))

    def _side_by_side(self, x: View, y: View, at: str) -> tuple[Callable[[View], View], list[View]]:
        """Return two tensors as whole ones with their channels last, and what turns a result back."""
        first = x.numbers.ndim == 4 and not x.is_ordered()  # as sources with channels first have images
        if first:
            x, y = x.channels_last(), y.channels_last()
        return (View.channels_first if first else lambda made: made), [self.whole(view, at) for view in (x, y)]

    def _gate(self, x: View, y: View, at: str) -> View | None:
        """Return ``x * y`` as one activation where both are functions of the same values, as in a SiLU."""
        if x.size != y.size or x.numbers.shape != y.numbers.shape or not same(x.numbers, y.numbers):
            return None
        found = gated({layer.name: layer for layer in self.layers}, x.tensor, y.tensor)
        if found is None:
            return None
        source, (name, parameters), factor = found
        made = self.function(replace(x, tensor=source), name, *parameters, at=at)
        return made if factor == 1 else self.affine(made, factor, 0, at=f"{at}/factor")

    def affine(self, x: View, scale: ArrayLike, offset: ArrayLike, *, at: str) -> View:
        """Return ``x * scale + offset``, each of which spreads over the elements of ``x`` as numpy has it."""
        sizes = np.broadcast_shapes(x.numbers.shape, np.shape(scale), np.shape(offset))
        x = self.narrowed(x.expand(sizes), at)
        if x.repeats():
            x = self.gathered(x, at)  # values that stand in several places may get several factors
        factors, offsets = self._by_row(x, scale, 1, at), self._by_row(x, offset, 0, at)
        if len(x.sizes) > 1 and all((rows == rows[0]).all() for rows in (factors, offsets)):
            return self._scale(x, factors[0], offsets[0], at)
        x = self.tokens(x, at)
        factors, offsets = self._by_row(x, scale, 1, at), self._by_row(x, offset, 0, at)
        if len(x.sizes) == 1 and any((rows != rows[0]).any() for rows in (factors, offsets)):
            x = self.vector(x, at)
            factors, offsets = factors.reshape(1, -1), offsets.reshape(1, -1)
        if all((rows == rows[0]).all() for rows in (factors, offsets)):
            return self._scale(x, factors[0], offsets[0], at)
        refuse(at, (factors != 1).any() or len(x.shape) == 1, "a factor for every place", "use one a channel")
        if len(x.shape) == 2:
            return self._each(TokenEmbedding, at, x, class_token=False, constants=offsets)
        tokens = x.on(self.move(Reshape, f"{at}/tokens", x, shape=offsets.shape))
        return self._each(TokenEmbedding, at, tokens, class_token=False, constants=offsets)

    def _scale(self, x: View, factors: Array, offsets: Array, at: str) -> View:
        """Return a factor and an offset for each channel; nothing where these undo the layer before."""
        layer = self.layer(x.tensor)
        if (factors == 1).all() and not offsets.any():
            return x
        if isinstance(layer, Scale):
            undone = np.allclose(factors * layer.scale, 1, rtol=1e-6, atol=0)
            if undone and not (factors * layer.offset + offsets).any():
                return replace(x, tensor=layer.inputs[0])
        return self._each(Scale, at, x, scale=factors, offset=offsets)

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
        """Hold values within a range: a ReLU where it begins at zero."""
        low, high = (None if bound is None or np.isinf(bound) else float(bound) for bound in (low, high))
        if low is None and high is None:
            return x
        if low == 0:
            bound = None if high is None else np.array(high, np.float32)
            return self._each(Activation, at, x, function=ReLU(max_value=bound))
        bounds = -LARGEST if low is None else low, LARGEST if high is None else high
        return self.function(x, "clip", *bounds, at=at)

    def function(self, x: View, name: str, *parameters: float, at: str) -> View:
        """Apply one of ``layers.functions.FUNCTIONS`` to every value, with its own parameters where they are given."""
        return self._each(TableActivation, at, x, function=name, parameters=tuple(map(float, parameters)))

    def leaky_relu(self, x: View, slopes: ArrayLike, *, at: str) -> View:
        """Multiply negative values by a slope, or by one for each channel (PReLU), as it spreads over ``x``."""
        slopes = np.asarray(slopes, np.float32)
        if slopes.size == 1:
            return self.function(x, "leaky_relu", slopes.item(), at=at)
        below = self.clip(self.affine(x, -1, 0, at=f"{at}/negative"), at=f"{at}/below")
        return self.add(self.clip(x, at=f"{at}/above"), self.affine(below, -slopes, 0, at=f"{at}/slopes"), at=at)

    def group_norm(
        self, x: View, groups: int, gamma: Array | None, beta: Array | None, epsilon: float, *, at: str
    ) -> View:
        """Normalise groups of the channels of an image ``(N, ..., C)``, each over all places: one for all, or more."""
        channels = x.sizes[-1]
        tokens = x.flatten(1, -2) if len(x.sizes) > 1 else x.unsqueeze(1)
        tokens = tokens.unflatten(2, (groups, channels // groups)).transpose(1, 2).flatten(2)
        made = self.layer_norm(self.gathered(tokens, f"{at}/groups"), None, None, epsilon, at=f"{at}/normal")
        made = made.unflatten(2, (-1, channels // groups)).transpose(1, 2).reshape(x.numbers.shape)
        if gamma is None and beta is None:
            return made
        made = self.whole(made, f"{at}/image")
        return self.affine(made, 1 if gamma is None else gamma, 0 if beta is None else beta, at=at)

    def softmax(self, x: View, axis: int = -1, *, log: bool = False, at: str) -> View:
        """Apply a softmax, or its logarithm, along an axis; images may have their channels first, where it says so."""
        axis %= x.numbers.ndim
        refuse(at, axis == 0, "a softmax over samples", "use another axis")
        last = x.numbers.ndim - 1
        if x.numbers.ndim == 4 and not x.is_ordered() and (axis < last or x.channels_last().is_ordered()):
            image, place = x.channels_last(), (axis - 2) % last + 1
            image = image if place == last else self.whole(image, at)
            return self.softmax(image, place, log=log, at=at).channels_first()
        if axis == last:
            return self._softmax_of_rows(x, log, at)
        made = self._softmax_of_rows(x.transpose(axis, -1), log, at).transpose(axis, -1)
        return self.whole(made, at)  # in the order in which it was read, which tells where channels are

    def _softmax_of_rows(self, x: View, log: bool, at: str) -> View:
        x = self._in_rows(x, at)
        if x.rows() is None:
            x = self.whole(x, at)
        return self._each(Softmax, at, x, log=log)

    def activation(self, x: View, function: str, *parameters: float, at: str, name: str = "") -> View:
        """Apply an activation that an operation has as an argument; ``name`` is its layer's."""
        name, function = name or at, SPELLINGS.get(function, function)
        match function:
            case "linear" | "none":
                return x
            case "relu":
                return self.clip(x, at=name)
            case "relu6":
                return self.clip(x, 0, 6, at=name)
            case "hard_tanh":
                return self.clip(x, -1, 1, at=name)
            case "softmax" | "log_softmax":
                return self.softmax(x, log=function != "softmax", at=name)
        if function not in FUNCTIONS:
            known = ", ".join(sorted(["linear", "relu", "relu6", "softmax", "log_softmax", *FUNCTIONS]))
            raise SpicaError(f"{at}: activation {function!r} is not supported; use one of {known}")
        return self.function(x, function, *parameters, at=name)

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


def _with_axes(x: View, rank: int) -> View:
    """Return the view with axes of one between the batch and the others, to so many in all."""
    for _ in range(rank - x.numbers.ndim):
        x = x.unsqueeze(1)
    return x
