"""Tensors that a framework cuts, turns and reshapes, as what they are: values of one layer's output in some order.

A ``View`` holds for each of its elements the number of the value that it is. So whatever a framework does to shape is
done to these numbers, with numpy, and no layer is made of it. A layer that reads the view sees from the numbers whether
they are what it can take: whole images, whole rows of channels, or the heads of attention.

A reader writes "permute" as ``x.permute(axes)``: every layout move is a method here, whatever the source calls it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from spica.network.types import check_size

Numbers = NDArray[np.int64]

BATCH = 2
"""Samples that a network is followed with: two, so that the batch axis can be told from axes of one."""

_counted: Callable[[], Numbers | None] = lambda: None  # noqa: E731


def count(size: int) -> Numbers:
    """Return 0 to ``size - 1``, a window on one array that all views share as long as there are any.

    What only looks at that array in another way costs nothing, and ``same`` need not read it.
    """
    global _counted
    numbers = _counted()
    if numbers is None or len(numbers) < size:
        numbers = np.arange(size)
        _counted = weakref.ref(numbers)
    return numbers[:size]


def same(a: Numbers, b: Numbers) -> bool:
    """Return whether two arrays hold the same numbers in the same shape."""
    return a.__array_interface__ == b.__array_interface__ or np.array_equal(a, b)


@dataclass(frozen=True, eq=False)
class View:
    """Some values of a layer's output.

    Attributes:
        tensor: the layer's name.
        shape: shape of its output, channels last, the batch left out.
        numbers: for each element, batch axis somewhere among the others, which value it is: they are counted through
            the samples, and within a sample in the order of ``shape``.
        label: name for the layer that a move becomes if something has to read what it moved.
    """

    tensor: str
    shape: tuple[int, ...]
    numbers: Numbers
    label: str = ""

    @classmethod
    def whole(cls, tensor: str, shape: tuple[int, ...]) -> View:
        """Return all of an output of ``shape`` in its own order, batch first."""
        check_size(shape, tensor)
        return cls(tensor, shape, count(BATCH * prod(shape)).reshape(BATCH, *shape))

    # -- layout moves: each returns a view (or several) and makes no layer; axes count the batch ---------------------

    def permute(self, axes: Sequence[int] | None = None) -> View:
        """Return the view with its axes in another order: reversed where none is given."""
        return self._of(self.numbers.transpose(axes))

    def transpose(self, first: int = -1, second: int = -2) -> View:
        """Return the view with two axes swapped."""
        return self._of(np.swapaxes(self.numbers, first, second))

    def channels_last(self) -> View:
        """Return ``(N, C, ...)`` as ``(N, ..., C)``."""
        return self._of(np.moveaxis(self.numbers, 1, -1))

    def channels_first(self) -> View:
        """Return ``(N, ..., C)`` as ``(N, C, ...)``."""
        return self._of(np.moveaxis(self.numbers, -1, 1))

    def reshape(self, sizes: Sequence[int]) -> View:
        """Return the view in another shape of as many elements."""
        return self._of(self.numbers.reshape([int(size) for size in sizes]))

    def flatten(self, start: int = 0, stop: int = -1) -> View:
        """Return the view with the axes ``start`` to ``stop`` (included) made one."""
        x = self.numbers
        return self.reshape((*x.shape[: start % x.ndim], -1, *x.shape[stop % x.ndim + 1 :]))

    def unflatten(self, axis: int, sizes: Sequence[int]) -> View:
        """Return the view with one axis made several."""
        x, axis = self.numbers, axis % self.numbers.ndim
        return self.reshape((*x.shape[:axis], *sizes, *x.shape[axis + 1 :]))

    def expand(self, sizes: Sequence[int], implicit: bool = False) -> View:
        """Return the view with axes of one repeated; -1 keeps an axis."""
        known = (1,) * (len(sizes) - self.numbers.ndim) + self.numbers.shape
        return self._of(np.broadcast_to(self.numbers, [k if s == -1 else s for s, k in zip(sizes, known)]))

    def squeeze(self, axis: int | Sequence[int] | None = None) -> View:
        """Return the view without the given axes, or all, where they have one place."""
        x = self.numbers
        axes = range(x.ndim) if axis is None else np.atleast_1d(axis)
        return self._of(x.squeeze(tuple(a % x.ndim for a in axes if x.shape[a] == 1)))

    def unsqueeze(self, axis: int) -> View:
        """Return the view with a new axis of one."""
        return self._of(np.expand_dims(self.numbers, axis))

    def select(self, axis: int, place: int) -> View:
        """Return one place of an axis, without the axis."""
        return self._of(np.moveaxis(self.numbers, axis, 0)[place])

    def slice(self, axis: int = 0, start: int | None = None, stop: int | None = None, step: int = 1) -> View:
        """Return a range of places of an axis."""
        before = (slice(None),) * (axis % self.numbers.ndim)
        return self._of(self.numbers[(*before, slice(start, stop, step))])

    def index_select(self, axis: int, places: Sequence[int]) -> View:
        """Return some places of an axis, in their order."""
        return self._of(np.take(self.numbers, np.asarray(places, np.int64), axis))

    def pad(self, amounts: Sequence[tuple[int, int]], mode: str) -> View:
        """Return the view with values of its own around it, as ``numpy.pad`` takes them: "edge", "reflect", "wrap"."""
        return self._of(np.pad(self.numbers, amounts, mode))  # type: ignore[call-overload]

    def flip(self, axes: Sequence[int]) -> View:
        """Return the view with the order along some axes reversed."""
        return self._of(np.flip(self.numbers, tuple(axes)))

    def roll(self, shifts: Sequence[int], axes: Sequence[int]) -> View:
        """Return the view with the values along some axes moved on, those that leave coming in again."""
        return self._of(np.roll(self.numbers, tuple(shifts), tuple(axes)))

    def pixel_shuffle(self, factor: int) -> View:
        """Return ``(N, C * factor**2, H, W)`` as ``(N, C, H * factor, W * factor)``, as PyTorch orders them."""
        n, _, h, w = self.numbers.shape
        spread = self.reshape((n, -1, factor, factor, h, w)).permute((0, 1, 4, 2, 5, 3))
        return spread.reshape((n, -1, h * factor, w * factor))

    def pixel_unshuffle(self, factor: int) -> View:
        """Return ``(N, C, H * factor, W * factor)`` as ``(N, C * factor**2, H, W)``, as PyTorch orders them."""
        n, c, h, w = self.numbers.shape
        apart = self.reshape((n, c, h // factor, factor, w // factor, factor)).permute((0, 1, 3, 5, 2, 4))
        return apart.reshape((n, -1, h // factor, w // factor))

    def unbind(self, axis: int = 0) -> list[View]:
        """Return each place of an axis, without the axis."""
        return [self._of(part) for part in np.moveaxis(self.numbers, axis, 0)]

    def split(self, size: int | Sequence[int], axis: int = 0) -> list[View]:
        """Return pieces of an axis, of the given sizes or of ``size`` each."""
        length = self.numbers.shape[axis]
        ends = np.arange(size, length + size, size) if isinstance(size, int) else np.cumsum(size)
        return [self._of(part) for part in np.split(self.numbers, ends[:-1], axis)]

    def chunk(self, parts: int, axis: int = 0) -> list[View]:
        """Return ``parts`` pieces of an axis, the last one shorter where they do not fit."""
        return self.split(-(-self.numbers.shape[axis] // parts), axis)

    def named(self, label: str) -> View:
        """Return the view with a name for the layer that its moves become."""
        return replace(self, label=label)

    def on(self, other: View) -> View:
        """Return the same elements of another output that has as many values, as they lie in it."""
        return replace(self, tensor=other.tensor, shape=other.shape)

    def _of(self, numbers: Numbers) -> View:
        check_size((numbers.size // BATCH,), self.label or self.tensor)
        return replace(self, numbers=numbers)

    # -- what a layer that reads the view can see ------------------------------------------------------------------

    @property
    def sizes(self) -> tuple[int, ...]:
        """Shape of the view itself, the batch left out."""
        return self.numbers.shape[1:]

    @property
    def size(self) -> int:
        """Number of values of a sample of the output."""
        return prod(self.shape)

    @property
    def positions(self) -> Numbers:
        """Position of each element in its own sample."""
        return self.numbers % self.size

    def is_ordered(self) -> bool:
        """Return whether it is the whole output in its own order, batch first, in whatever shape."""
        return len(self.numbers) == BATCH and same(self.numbers.reshape(-1), count(BATCH * self.size))

    def is_whole(self) -> bool:
        """Return whether it is the whole output as it is."""
        return self.sizes == self.shape and self.is_ordered()

    def batch_axis(self) -> tuple[int, int] | None:
        """Return the axis that the samples of a batch lie along, and how often they follow each other there.

        Other axes may be part of it: ``(T * N, C)`` has the samples along axis 0, ``T`` times. ``None`` where they lie
        along no axis alone.
        """
        samples = self.numbers // self.size
        for axis, length in enumerate(self.numbers.shape):
            along = samples.swapaxes(0, axis)
            profile = along.reshape(length, -1)[:, 0]
            changes = np.flatnonzero(np.diff(profile))
            if len(changes) and (along == profile.reshape(-1, *[1] * (along.ndim - 1))).all():
                run = int(changes[0]) + 1
                periodic = length % (BATCH * run) == 0 and (profile == np.arange(length) // run % BATCH).all()
                return (axis, length // (BATCH * run)) if periodic else None
        return None

    def repeats(self) -> bool:
        """Return whether a value stands in more than one place."""
        ordered = self.is_ordered() or (self.numbers.ndim > 2 and self.channels_last().is_ordered())
        return not ordered and bool(np.bincount(self.numbers.reshape(-1)).max() > 1)

    def has_every_sample(self) -> bool:
        """Return whether it has values of every sample that a network is followed with."""
        if not self.numbers.size or self.is_ordered():
            return bool(self.numbers.size)
        return bool(self.numbers.min() < self.size <= self.numbers.max())

    def rows(self) -> Numbers | None:
        """Return which row of channels each of its rows (along the last axis) is; None where they are not such rows."""
        channels, first = self.shape[-1], self.numbers[..., 0]
        follow = (np.diff(self.numbers, axis=-1) == 1).all()
        if self.numbers.shape[-1] != channels or (first % channels).any() or not follow:
            return None
        return first // channels

    def flat_order(self) -> Numbers | None:
        """Return the order in which each row holds all values of a sample; None where one does not."""
        order = self.positions.reshape(-1, self.numbers.shape[-1])
        samples = (self.numbers // self.size).reshape(order.shape)
        complete = np.array_equal(np.sort(order[0]), np.arange(self.size))
        if not complete or (samples != samples[:, :1]).any() or (order != order[0]).any():
            return None
        return order[0]
