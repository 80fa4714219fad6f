"""Shapes that a source wrote for its own number of samples, such as one, as those of the samples followed here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from spica.errors import SpicaError
from spica.frontends.ops.base import refuse
from spica.frontends.view import BATCH, View


def own_sizes(x: View, batch: int) -> list[int]:
    """Return the shape of a view as the model has it, which was exported for so many samples."""
    place = x.batch_axis()
    return [n // BATCH * batch if place and i == place[0] else n for i, n in enumerate(x.numbers.shape)]


def reshaped(x: View, target: Sequence[int], batch: int, at: str) -> View:
    """Return a view in another shape, in which the model's own number of samples may stand; -1 is what is left."""
    place, own = x.batch_axis(), own_sizes(x, batch)
    refuse(at, place is None, "a tensor with its samples along several axes", "leave the batch axis whole")
    assert place is not None
    (axis, times), sizes = place, [int(n) for n in target]
    if -1 in sizes:
        rest = int(np.prod([n for n in sizes if n != -1]))
        sizes[sizes.index(-1)] = int(np.prod(own)) // max(rest, 1)
    held = _batch_in(sizes, int(np.prod(own[:axis])) * times, own[axis + 1 :], batch)
    if held is None or int(np.prod(sizes)) != int(np.prod(own)):
        raise SpicaError(f"{at}: cannot reshape {tuple(own)} to {tuple(target)} sample by sample; keep the batch axis")
    sizes[held] = sizes[held] // batch * BATCH
    return x.reshape(sizes)


def _batch_in(sizes: Sequence[int], before: int, after: list[int], batch: int) -> int | None:
    """Return in which axis of a new shape the batch axis is, which has ``before`` places outside it."""
    outer = 1
    for i, n in enumerate(sizes):
        if outer == before and n % batch == 0:
            # Of one sample, the axis may as well be part of the one outside: it is, if those inside stay as they are,
            # or if a matrix is made of rows of channels.
            merged = i > 0 and n != batch and batch == 1 and (list(sizes[i:]) == after or len(sizes) == 2)
            return i - 1 if merged else i
        if before % outer == 0 and before // outer < n and n % (before // outer * batch) == 0 and outer < before:
            return i
        outer *= n
    return len(sizes) - 1 if outer == before and batch == 1 else None
