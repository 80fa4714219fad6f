"""Fold explicit zero padding into the convolution behind it, which pads at no cost."""

from dataclasses import replace

from spica.layers import ZeroPad
from spica.layers.weighted import WindowedLayer
from spica.network import Layer, Network
from spica.passes.merge import merge_pass


@merge_pass
def fold_padding(net: Network, before: Layer, after: Layer) -> Layer | None:
    """Fold each ``ZeroPad`` into the layer that slides a window over its output."""
    if not isinstance(before, ZeroPad) or not isinstance(after, WindowedLayer) or after.padding == "same":
        return None
    if getattr(after, "padding_value", None) is not None:
        return None  # it pads with something else than zeros
    own = ((0, 0), (0, 0)) if isinstance(after.padding, str) else after.padding
    (top, bottom), (left, right) = before.padding
    padding = ((top + own[0][0], bottom + own[0][1]), (left + own[1][0], right + own[1][1]))
    return replace(after, inputs=before.inputs, padding=padding)
