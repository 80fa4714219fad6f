"""Move a scale behind pooling and reshaping, where the layer with weights that can take it in comes next.

Batch normalisation behind a ReLU, the order of many tutorials, is a scale that the layer before cannot take in. Maxima
and means of scaled values are the scaled maxima and means, so it may as well come after them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spica.layers import Flatten, GlobalAveragePooling2D, MaxPool2D, Reshape, Scale
from spica.network import Layer, Network
from spica.network.edit import redirect
from spica.passes.base import Pass, Result


@Pass
def move_scale(net: Network) -> Result:
    """Exchange each ``Scale`` with the pooling or reshaping that alone reads it, as far as it goes."""
    moved = net
    while (further := _moved(moved)) is not None:
        moved = further
    return Result(moved, moved is not net)


def _moved(net: Network) -> Network | None:
    """Move the first scale that can be behind its reader; return ``None`` where no scale can."""
    for scale in net:
        if not isinstance(scale, Scale) or scale.name in net.outputs or len(net.consumers[scale.name]) != 1:
            continue
        (reader,) = net.consumers[scale.name]
        behind = _behind(scale, reader, net)
        if behind is None or reader.name in net.outputs:
            continue
        names, made = {reader.name: scale.name}, list[Layer]()
        for layer in net:
            if layer.name == reader.name:
                made += [replace(reader, inputs=scale.inputs), behind]
            elif layer.name != scale.name:
                made.append(redirect(layer, names))
        return net.with_layers(made)
    return None


def _behind(scale: Scale, reader: Layer, net: Network) -> Scale | None:
    """Return the scale that does behind ``reader`` what it did before; ``None`` where none does."""
    shape, channels = net.types[reader.name].shape, len(scale.scale)
    if isinstance(reader, MaxPool2D):
        return replace(scale, inputs=(reader.name,)) if (scale.scale > 0).all() else None
    if isinstance(reader, GlobalAveragePooling2D) or (isinstance(reader, Reshape) and shape[-1] == channels):
        return replace(scale, inputs=(reader.name,))
    if isinstance(reader, Flatten):
        factor, offset = (np.tile(values, shape[0] // channels) for values in (scale.scale, scale.offset))
        return replace(scale, inputs=(reader.name,), scale=factor, offset=offset)
    return None
