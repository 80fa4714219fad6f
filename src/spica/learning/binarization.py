"""Make binary spikes without training, by thresholds under which the channels of a layer fire equally often."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from spica.errors import SpicaError
from spica.layers import Requantize
from spica.layers.weighted import weighted_layers
from spica.network import Network
from spica.quantization.rounding import nearest_multiplier

RATE = 0.1
"""Share of samples and places at which a channel fires; the study of docs/explanation/learning.md chose it."""


def binarize(network: Network, layer: str, samples: ArrayLike, *, rate: float = RATE) -> Network:
    """End an integer network at one of its layers, as binary spikes that a learning layer can read.

    Each channel gets a threshold of its own, such that it fires at a share ``rate`` of what samples give it, but at
    nothing that its rectifier stops. No labels and no training are needed; only the layer's output stage changes.

    Args:
        network: an integer network.
        layer: name of a convolution or dense layer with an output stage.
        samples: ``(N, ...)``, what the network reads; some hundred are enough.
        rate: share of firing, above 0 and below 1.

    Raises:
        SpicaError: where there is no such layer, or the rate is not between 0 and 1.
    """
    able = {found.name: found for found in weighted_layers(network) if found.requantize is not None}
    if layer not in able:
        raise SpicaError(f"{network.name}: {layer!r} has no output stage to change; choose one of {', '.join(able)}")
    if not 0 < rate < 1:
        raise SpicaError(f"rate is {rate!r}, but must be above 0 and below 1")
    found, before = able[layer], network.layers[: network.layers.index(able[layer])]
    open_ended = network.with_layers([*before, replace(found, requantize=None)], [layer])
    potentials = open_ended.run(samples).tensors[layer]
    thresholds = np.maximum(np.quantile(potentials.reshape(-1, potentials.shape[-1]), 1 - rate, axis=0), 1)
    multiplier, shift = nearest_multiplier(0.5 / thresholds)  # the output stage rounds a half up to the first step
    fires = Requantize(multiplier=multiplier, shift=shift, bits=1, signed=False, frac_bits=np.zeros((), np.int64))
    return network.with_layers([*before, replace(found, requantize=fires)], [layer])
