"""The reference engine: the primitives exactly as ``layers.arithmetic`` defines them."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import NDArray

from spica.layers import arithmetic
from spica.network import Layer, TensorType
from spica.network.record import forward_integer


class Reference:
    """Integer primitives in plain numpy."""

    def forward(self, layer: Layer, read: Sequence[NDArray], types: Sequence[TensorType]) -> NDArray:
        """A layer's output by its integer meaning."""
        return forward_integer(layer, read, types, self)

    convolve = staticmethod(arithmetic.convolve)
    convolve_depthwise = staticmethod(arithmetic.convolve_depthwise)
    add = staticmethod(arithmetic.add)
    look_up = staticmethod(arithmetic.look_up)
    finish = staticmethod(arithmetic.finish)
    concatenate = staticmethod(arithmetic.concatenate)
    permute = staticmethod(arithmetic.permute)
    take = staticmethod(arithmetic.take)
    spread = staticmethod(arithmetic.spread)
    to_float = staticmethod(arithmetic.to_float)
    turn = staticmethod(arithmetic.turn)
    normalise = staticmethod(arithmetic.normalise)
    attend = staticmethod(arithmetic.attend)
