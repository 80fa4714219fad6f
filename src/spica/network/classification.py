"""From outputs to classes, and from labels to accuracy: the one place that says what a network's outputs predict."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.errors import SpicaError
from spica.network.types import TensorType
from spica.util.arguments import is_masked


def count_classes(kind: TensorType) -> int:
    """Return how many classes an output of a type tells apart: its channels, or two where there is one."""
    return max(kind.channels, 2)


def classes(name: str, kind: TensorType, outputs: NDArray | list[NDArray]) -> NDArray[np.int64]:
    """Return the class that each output predicts; a clip's outputs are averaged first.

    Channels compete: the index of the largest. One channel alone is a logit, and above 0 means class 1. A map ``(H, W,
    C)`` or tokens ``(T, C)`` have a class at each place.

    Args:
        name: the network's, for errors.
        kind: the type of the only output.
        outputs: real numbers ``(N, ..., C)``; clips ``(S, T, ..., C)``.

    Returns:
        int64 ``(N,)``, or ``(N, H, W)`` and ``(N, T)`` where there is more than one place.
    """
    if isinstance(outputs, list):
        raise SpicaError(f"{name} has {len(outputs)} outputs; predict needs one: use forward")
    scores: NDArray = outputs.mean(axis=1) if outputs.ndim == len(kind.shape) + 2 else outputs
    found = (scores[..., 0] > 0).astype(np.int64) if kind.channels == 1 else scores.argmax(axis=-1)
    return found.reshape(-1) if found[0].size == 1 else found


def check_labels(labels: Any, shape: tuple[int, ...], count: int, advice: str = "") -> NDArray[np.int64]:
    """Return labels as int64, once it is known that each is the index of a class.

    Args:
        labels: one for each of what is labelled.
        shape: of what is labelled: ``(N,)``, or ``(N, H, W)`` for maps.
        count: number of classes.
        advice: what to do about classes that there are not.

    Raises:
        SpicaError: for labels of another shape, words, fractions, missing ones, and classes that there are not.
    """
    if is_masked(labels):
        raise SpicaError("labels are masked, and the mask would be lost; leave out the samples that it hides")
    try:
        array = np.asarray(labels)
    except ValueError as error:
        raise SpicaError(f"labels are not an array ({error}); give one class index a sample") from None
    if array.dtype == np.bool_ and count == 2:
        array = array.astype(np.int64)
    if array.shape != shape or array.dtype.kind not in "iu":
        raise SpicaError(
            f"labels have shape {array.shape} and type {array.dtype}; give one class index, an integer, for each of "
            f"{shape if len(shape) > 1 else shape[0]}"
        )
    if array.size and (array.min() < 0 or array.max() >= count):
        raise SpicaError(
            f"labels reach from {array.min()} to {array.max()}, but there are classes 0 to {count - 1}{advice}"
        )
    return array.astype(np.int64, copy=False)


def accuracy(predicted: NDArray[np.int64], labels: ArrayLike, count: int) -> float:
    """Return the fraction of predictions that are the label, 0 to 1, of ``count`` classes."""
    return float(np.mean(predicted == check_labels(labels, predicted.shape, count)))
