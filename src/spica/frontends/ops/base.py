"""Base of all operations: adding layers, and bringing views into the forms that layers read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import singledispatch
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.frontends.view import BATCH, View
from spica.layers import Dense, Flatten, Gather, Reshape, Scale, Take, ZeroPad
from spica.network import Layer, Network, TensorType
from spica.network.layer import infer
from spica.passes import merge_embeddings
from spica.semantics.primitives import Padding, Pair, resolve_padding

Array = NDArray[np.float32]

NONE: Padding = ((0, 0), (0, 0))
"""No padding."""


def refuse(at: str, bad: bool, what: str, fix: str) -> None:
    """Raise a ``SpicaError`` if something is asked for that no operation does."""
    if bad:
        raise SpicaError(f"{at}: {what} is not supported; {fix}")


class Base:
    """Layers so far, in order, and the type of each one's output by name."""

    def __init__(self) -> None:
        self.layers: list[Layer] = []
        self.types: dict[str, TensorType] = {}
        self._moved: dict[tuple[Any, ...], View] = {}

    def layer(self, name: str) -> Layer:
        """Return the layer of that name."""
        return next(layer for layer in reversed(self.layers) if layer.name == name)

    def make(self, kind: type[Layer], at: str, *inputs: View, **fields: Any) -> View:
        """Add a layer that reads whole tensors; the name gets a number where another layer has it."""
        return self.insert(kind(name=at, inputs=tuple(x.tensor for x in inputs), **fields))

    def insert(self, layer: Layer) -> View:
        """Add a layer made elsewhere, under a name that no other has."""
        if layer.name in self.types:
            free = (f"{layer.name}_{i}" for i in count(2))
            layer = replace(layer, name=next(name for name in free if name not in self.types))
        self.layers.append(layer)
        self.types[layer.name] = infer(layer, [self.types[i] for i in layer.inputs])
        return View.whole(layer.name, self.types[layer.name].shape)

    def network(self, outputs: Sequence[View], name: str) -> Network:
        """Return the network of all layers that its outputs need, and of all its inputs.

        Raises:
            SpicaError: where an output's elements are not in the order of a layer's.
        """
        names = tuple(self.whole(x, x.label or x.tensor).tensor for x in outputs)
        needed = set(names)
        for layer in reversed(self.layers):
            if layer.name in needed or not layer.inputs:
                needed |= {layer.name, *layer.inputs}
        kept = tuple(layer for layer in self.layers if layer.name in needed)
        return merge_embeddings(Network(kept, names, name))

    def output_of(self, x: View, at: str) -> View:
        """Return an output of a source with channels first: an image gets its channels last."""
        x = self.narrowed(x, at)
        if x.numbers.ndim == 4 and (not x.is_ordered() or x.channels_last().is_ordered()):
            x = x.channels_last()
        return self.whole(x, at)

    # -- moves that something has to read: the same move of a tensor is made once ------------------------------------

    def move(self, kind: type[Layer], at: str, x: View, **fields: Any) -> View:
        """Return the output of a layer that moves all of ``x``'s tensor; made only where there is none yet."""
        key = (x.tensor, kind, *fields.items())
        if key not in self._moved:
            self._moved[key] = self.make(kind, at, x, **fields)
        return self._moved[key]

    def whole(self, x: View, at: str) -> View:
        """Return the view as the whole of a tensor of its own shape; values in an order of their own are gathered."""
        x = self.narrowed(x, at)
        if x.is_whole():
            return x
        if not x.is_ordered():
            return self.gathered(x, at)
        if len(x.sizes) == 1:
            return self.move(Flatten, x.label or f"{at}/flatten", x)
        name = x.label or f"{at}/{'tokens' if len(x.sizes) == 2 else 'image'}"
        return self.move(Reshape, name, x, shape=x.sizes)

    def gathered(self, x: View, at: str, zeros: NDArray[np.bool_] | None = None) -> View:
        """Return a tensor of the view's values in its own order; zero where ``zeros``, of its sizes, is true."""
        first, *others = x.positions.reshape(len(x.numbers), -1)
        samples = np.arange(len(x.numbers)).reshape(-1, *[1] * len(x.sizes))
        apart = len(x.numbers) != BATCH or (x.numbers // x.size != samples).any() or (first != others).any()
        refuse(at, bool(apart), "a tensor that mixes the samples of a batch", "leave the batch axis first, and whole")
        positions = first if zeros is None else np.where(zeros.reshape(-1), -1, first)
        key = (x.tensor, Gather, positions.tobytes(), x.sizes)
        if key not in self._moved:
            name = x.label or f"{at}/gather"
            self._moved[key] = self.make(Gather, name, x, positions=positions, shape=x.sizes)
        return self._moved[key]

    def image(self, x: View, at: str) -> View:
        """Return the view as a whole image ``(N, H, W, C)``."""
        if x.numbers.ndim != 4:
            raise SpicaError(f"{at}: reads images (N, H, W, C), but its input has the shape (N, {str(x.sizes)[1:]}")
        return self.whole(x, at)

    def vector(self, x: View, at: str) -> View:
        """Return the view on a vector ``(N, C)`` of all that its tensor holds."""
        return x if len(x.shape) == 1 else x.on(self.move(Flatten, x.label or f"{at}/flatten", x))

    def tokens(self, x: View, at: str) -> View:
        """Return the view on tokens ``(N, T, C)`` that it needs, where pixels of an image became tokens."""
        if len(x.shape) == 3 and x.numbers.ndim == 3:
            shape = (x.shape[0] * x.shape[1], x.shape[2])
            x = x.on(self.move(Reshape, x.label or f"{at}/tokens", x, shape=shape))
        return self.narrowed(x, at)

    def narrowed(self, x: View, at: str) -> View:
        """Return the view on no more tokens than it needs."""
        if len(x.shape) != 2 or x.is_ordered():
            return x
        tokens, channels = x.shape
        used = np.unique(x.positions // channels)
        if len(used) == tokens:
            return x
        start, stop = int(used[0]), int(used[-1]) + 1
        if len(used) != stop - start:
            return x
        taken = self.move(Take, x.label or f"{at}/take", x, axis=0, start=start, stop=stop)
        sample, place = np.divmod(x.numbers, x.size)
        return View(taken.tensor, taken.shape, sample * taken.size + place - start * channels)

    def channels(self, x: View, start: int, width: int) -> View:
        """Return whole tokens with only some channels: where a layer has weights, of those that make them."""
        if width == x.shape[-1]:
            return x
        return _channels(self.layer(x.tensor), self, x, start, width)

    # -- padding -----------------------------------------------------------------------------------------------------

    def spelled(self, padding: str | Padding, x: View, window: Pair, strides: Pair, at: str) -> str | Padding:
        """Return padding as a layer has it: "valid" and "same" by name where it is that, else its amounts.

        Amounts behind explicit padding stay amounts, or a pass could not add the two.
        """
        amounts, same = (resolve_padding(p, (x.shape[0], x.shape[1]), window, strides, at) for p in (padding, "same"))
        refuse(at, min(map(min, amounts)) < 0, f"padding {amounts}", "crop the image before")
        if amounts == NONE:
            return "valid"
        return "same" if amounts == same and not isinstance(self.layer(x.tensor), ZeroPad) else amounts


@singledispatch
def _channels(layer: Layer, g: Base, x: View, start: int, width: int) -> View:
    """Return the channels ``[start, start + width)`` of the tokens ``x`` that ``layer`` makes."""
    return g.move(Take, f"{x.tensor}/{start // width}", x, axis=1, start=start, stop=start + width)


@_channels.register
def _(layer: Dense, g: Base, x: View, start: int, width: int) -> View:
    part = slice(start, start + width)
    bias = None if layer.bias is None else layer.bias[part]
    return g.insert(replace(layer, name=f"{x.tensor}/{start // width}", kernel=layer.kernel[:, part], bias=bias))


@_channels.register
def _(layer: Scale, g: Base, x: View, start: int, width: int) -> View:
    source, part = View.whole(layer.inputs[0], x.shape), slice(start, start + width)
    fields = {"scale": layer.scale[part], "offset": layer.offset[part]}
    return g.make(Scale, f"{x.tensor}/{start // width}", g.channels(source, start, width), **fields)
