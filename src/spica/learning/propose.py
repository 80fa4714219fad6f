"""Propose the sizes of a learning layer from its features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.errors import SpicaError
from spica.network import Network
from spica.util.progress import progress as show

SHARE = 1.2
"""Connections for each spike of a typical sample (vendor's public tutorial on edge learning)."""


def propose_weights(features: Network, samples: ArrayLike) -> int:
    """Return connections for a neuron: 1.2 times the median number of spikes of a sample, at most one an input."""
    name = features.outputs[0]
    spikes = features.run(samples).tensors[name].reshape(len(np.asarray(samples)), -1)
    median = float(np.median(spikes.sum(axis=1)))
    if median == 0:
        raise SpicaError(f"{features.name}: most samples give no spike at all at {name!r}; lower its thresholds")
    return min(round(SHARE * median), spikes.shape[1])


def elbow(
    features: NDArray[np.uint8], labels: NDArray, counts: Sequence[int], weights: int, *, progress: bool | None = None
) -> tuple[int, dict[int, float]]:
    """Find how many neurons a class needs: where more stop bringing their samples much closer.

    Classes are clustered by k-means on their spikes (scikit-learn); the curve is the mean share of a sample's spikes
    that its centre's ``weights`` strongest inputs miss.

    Args:
        features: binary spikes ``(N, inputs)``.
        labels: class of each ``(N,)``.
        counts: numbers of neurons to try, rising.
        weights: connections of a neuron.
        progress: whether to show a progress bar; by default only in a terminal.

    Returns:
        The count at the curve's bend, the point furthest below the line between its ends, and the curve.
    """
    try:
        from sklearn.cluster import KMeans
    except ImportError as error:
        raise SpicaError(f"the elbow curve needs scikit-learn ({error}); run: pip install 'spica[learning]'") from None
    curve = {}
    for count in show(counts, "neurons per class", progress):
        missed = []
        for label in np.unique(labels):
            own = features[labels == label].astype(np.float32)
            centres = KMeans(min(count, len(own)), n_init=1, random_state=0).fit(own).cluster_centers_
            masks = np.zeros_like(centres)
            np.put_along_axis(masks, np.argsort(-centres, axis=1)[:, :weights], 1, axis=1)
            seen = (own @ masks.T).max(axis=1)
            missed.append(1 - seen / np.maximum(own.sum(axis=1), 1))
        curve[count] = float(np.mean(np.concatenate(missed)))
    x, y = np.array(counts, np.float64), np.array(list(curve.values()))
    line = y[0] + (y[-1] - y[0]) * (x - x[0]) / max(x[-1] - x[0], 1)
    return int(counts[int(np.argmax(line - y))]), curve
