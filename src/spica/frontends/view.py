"""Tensors that a framework cuts, turns and reshapes, as what they are: values of one layer's output in some order.

A ``View`` holds for each of its elements the number of the value that it is. So whatever a framework does to shape is
done to these numbers, with numpy, and no layer is made of it. A layer that reads the view sees from the numbers whether
they are what it can take: whole images, whole rows of channels, or the heads of attention.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class View:
    """Some values of a layer's output.

    Attributes:
        tensor: the layer's name.
        shape: of its output, channels last, the batch left out.
        numbers: for each element, batch axis somewhere among the others, which value it is: they are counted through
            the samples, and within a sample in the order of ``shape``.
    """

    tensor: str
    shape: tuple[int, ...]
    numbers: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Values of a sample."""
        return prod(self.shape)

    @property
    def positions(self) -> NDArray[np.int64]:
        """Where each element lies in its own sample."""
        return self.numbers % self.size

    def arranged(self, change: Callable[[NDArray], NDArray]) -> View:
        """The view after a change that only moves elements."""
        return replace(self, numbers=change(self.numbers))

    def to(self, tensor: str, shape: tuple[int, ...], numbers: NDArray | None = None) -> View:
        """The same elements in the output of another layer; without ``numbers``, at the same places."""
        return View(tensor, shape, self.numbers if numbers is None else numbers)

    def is_image(self) -> bool:
        """Whether it is the whole output ``(H, W, C)``, channels first as PyTorch has it: ``(N, C, H, W)``."""
        return (
            len(self.shape) == 3 and self.numbers.ndim == 4 and _same(self, image(self.tensor, self.shape, self._n()))
        )

    def is_whole(self) -> bool:
        """Whether it is the whole output, batch first, in its own order."""
        return self.numbers.ndim == len(self.shape) + 1 and _same(self, whole(self.tensor, self.shape, self._n()))

    def has_every_sample(self) -> bool:
        """Whether it has values of both samples that a network is followed with."""
        return bool(self.numbers.size) and self.numbers.min() < self.size <= self.numbers.max()

    def rows(self) -> NDArray[np.int64] | None:
        """Which row of channels each of its rows (along the last axis) is; none where they are not such rows."""
        channels, (*_, length) = self.shape[-1], self.numbers.shape
        first = self.numbers[..., 0]
        if length != channels or (first % channels).any() or not _follow(self.numbers):
            return None
        return first // channels

    def flat_order(self) -> NDArray[np.int64] | None:
        """Order in which each row (along the last axis) holds all values of a sample; none where one does not."""
        order = self.positions.reshape(-1, self.numbers.shape[-1])
        samples = (self.numbers // self.size).reshape(order.shape)
        whole_samples = order.shape[1] == self.size and (samples == samples[:, :1]).all()
        if (
            not whole_samples
            or (order != order[0]).any()
            or not np.array_equal(np.sort(order[0]), np.arange(self.size))
        ):
            return None
        return order[0]

    def _n(self) -> int:
        return int(self.numbers.max()) // self.size + 1


def whole(tensor: str, shape: tuple[int, ...], samples: int) -> View:
    """All of a layer's output in its own order, batch first."""
    return View(tensor, shape, np.arange(samples * prod(shape)).reshape(samples, *shape))


def image(tensor: str, shape: tuple[int, ...], samples: int) -> View:
    """All of an output ``(H, W, C)`` as ``(N, C, H, W)``."""
    return whole(tensor, shape, samples).arranged(lambda numbers: numbers.transpose(0, 3, 1, 2))


def _same(a: View, b: View) -> bool:
    return np.array_equal(a.numbers, b.numbers)


def _follow(numbers: NDArray) -> bool:
    """Whether every element of the last axis is the one after its neighbour."""
    return bool((np.diff(numbers, axis=-1) == 1).all())


@dataclass(frozen=True, eq=False)
class Heads:
    """Queries, keys or values of attention: channels ``[start, start + width)`` of each token, cut into heads."""

    start: int
    width: int
    heads: int


def heads_of(view: View) -> Heads | None:
    """What a view ``(N, heads, T, channels of a head)`` of tokens ``(T, C)`` is; none where it is no such thing."""
    if view.numbers.ndim != 4 or len(view.shape) != 2:
        return None
    n, heads, tokens, each = view.numbers.shape
    start, width = int(view.numbers[0, 0, 0, 0]), heads * each
    if tokens != view.shape[0] or start + width > view.shape[1]:
        return None
    wanted = whole("", view.shape, n).numbers[:, :, start : start + width]
    if not np.array_equal(view.numbers, wanted.reshape(n, tokens, heads, each).transpose(0, 2, 1, 3)):
        return None
    return Heads(start, width, heads)
