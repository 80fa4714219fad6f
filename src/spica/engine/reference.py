"""The reference engine: the primitives exactly as ``layers.arithmetic`` defines them."""

from __future__ import annotations

from spica.layers import arithmetic


class Reference:
    """Integer primitives in plain numpy."""

    convolve = staticmethod(arithmetic.convolve)
    convolve_depthwise = staticmethod(arithmetic.convolve_depthwise)
    add = staticmethod(arithmetic.add)
    look_up = staticmethod(arithmetic.look_up)
    finish = staticmethod(arithmetic.finish)
    concatenate = staticmethod(arithmetic.concatenate)
    permute = staticmethod(arithmetic.permute)
    take = staticmethod(arithmetic.take)
    spread = staticmethod(arithmetic.spread)
    turn = staticmethod(arithmetic.turn)
