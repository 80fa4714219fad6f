"""Scale alignment: scale layers so that their ranges fill power-of-two grids.

Activations have power-of-two steps, so a range just above a power of two wastes almost half of its integers. A
rectifier commutes with positive factors: multiplying a layer's output and dividing its readers' weights by the same
factor changes nothing in the float network and everything in how well its integers are used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spica.layers.weighted import kernel_channels
from spica.network import Network
from spica.network.rules import applies
from spica.quantization.rules.scaling import scale_tensor, scaled_readers


def align_scales(net: Network, steps: dict[str, NDArray[np.float64]]) -> tuple[Network, dict[str, NDArray]]:
    """Scale layers so that each wanted step becomes a power of two.

    Args:
        net: a float network after the passes.
        steps: wanted step of each tensor that becomes integers; scalar or one a channel.

    Returns:
        An equal network, and its steps: exact powers of two, whether their layer could be scaled or not.
    """
    layers = {layer.name: layer for layer in net}
    aligned: dict[str, NDArray] = {}
    for name, step in steps.items():
        step = np.where(step > 0, step, 2.0**-7)
        power = 2.0 ** np.rint(np.log2(step))
        readers = scaled_readers(net, name, per_channel=step.ndim > 0)
        if readers is not None and applies(kernel_channels, layers[name]):
            scale_tensor(layers, name, np.asarray(power / step, np.float32), readers)
        aligned[name] = power
    return net.with_layers(layers.values()), aligned
