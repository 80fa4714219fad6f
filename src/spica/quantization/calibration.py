"""Running samples through a float network and watching what will become integers."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from spica.network import Network
from spica.quantization.observers import Histogram
from spica.util.progress import progress

BATCH = 64


def calibrate(
    net: Network,
    samples: NDArray,
    tensors: Iterable[str],
    per_channel: Callable[[str], bool],
    show: bool | None,
) -> dict[str, Histogram]:
    """Histograms of the named tensors over ``samples`` (N, ...).

    Args:
        net: a float network.
        samples: what it reads.
        tensors: names of the tensors to watch.
        per_channel: whether to watch the channels of a tensor apart.
        show: whether to show a progress bar; ``None`` for terminals only.
    """
    watched = {name: Histogram(net.types[name].channels if per_channel(name) else None) for name in tensors}
    starts = range(0, len(samples), BATCH)
    for start in progress(starts, "calibrating", show):
        result = net.run(np.asarray(samples[start : start + BATCH], np.float32), keep=watched)
        for name, histogram in watched.items():
            histogram.update(result.tensors[name])
    return watched
