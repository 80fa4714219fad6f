"""The reference engine: the primitives exactly as ``layers.arithmetic`` defines them."""

from __future__ import annotations

from spica.layers import arithmetic


class Reference:
    """Integer primitives in plain numpy."""

    convolve = staticmethod(arithmetic.convolve)
    convolve_depthwise = staticmethod(arithmetic.convolve_depthwise)
    finish = staticmethod(arithmetic.finish)
    turn = staticmethod(arithmetic.turn)
