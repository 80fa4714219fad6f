"""Figures of a layer that learns on the chip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.layers import LearningDense
from spica.report.figures import INK, QUIET, SPIKE, load_pyplot


def places(layer: LearningDense, shape: tuple[int, int, int]) -> NDArray[np.int64]:
    """Where each class's neurons look: their connections by place, ``(classes, H, W)``, for features ``(H, W, C)``."""
    height, width, channels = shape
    by_class = layer.kernel.reshape(height, width, channels, -1, layer.neurons_per_class)
    return by_class.sum(axis=(2, 4), dtype=np.int64).transpose(2, 0, 1)


def learned(
    before: LearningDense,
    after: LearningDense,
    shape: tuple[int, int, int],
    taught: NDArray,
    accuracies: Sequence[tuple[float, float]],
    names: Sequence[str],
) -> Any:
    """One figure: the pictures that taught, what each of them did, and where the neurons look.

    Args:
        before, after: the learning layer without and with what it was taught; the last class is the new one.
        shape: of the features ``(H, W, C)``.
        taught: pictures ``(N, H, W, 1)``.
        accuracies: shares of new and old samples that are right, 0 to 1, before the first picture and after each.
        names: of the classes.
    """
    figure = load_pyplot()(figsize=(11, 4.8), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=[2, 1])
    pictures, curve = top.subplots(1, 2, width_ratios=[1.6, 1])
    pictures.imshow(np.concatenate(list(taught[..., 0]), axis=1), cmap="gray_r")
    pictures.axis("off")
    pictures.set_title(f"All that it was shown of {names[-1]!r}")
    new, old = 100 * np.array(accuracies).T
    curve.plot(new, marker="o", color=SPIKE, label=f"the new class, {names[-1]!r}")
    curve.plot(old, marker="o", color=INK, label="all others")
    curve.set(xlabel="pictures learned", ylabel="% right", ylim=(0, 102), title="On pictures that it never saw")
    curve.set_xticks(range(len(accuracies)))
    curve.legend(frameon=False, loc="lower right")
    maps, start = places(after, shape), places(before, shape)[-1]
    shown = [(f"{names[-1]!r}\nbefore", start), *((repr(name), image) for name, image in zip(names, maps))]
    peak = max(image.max() for _, image in shown)
    for axes, (name, image) in zip(bottom.subplots(1, len(shown)), shown):
        axes.imshow(image, cmap="Oranges", vmin=0, vmax=peak)
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=8, color=SPIKE if image is maps[-1] or image is start else INK)
        for side in axes.spines.values():
            side.set_color(QUIET)
    bottom.suptitle("Where each class's neurons look: connections by place in the image", fontsize=9)
    return figure
