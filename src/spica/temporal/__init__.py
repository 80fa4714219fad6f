"""Temporal event-based networks in Keras 3: layers over clips that become streaming layers with frame buffers.

    from spica.temporal import Jacobi, TemporalConv    # loads Keras

A clip is ``(T, ...)`` frames. ``keras.layers.TimeDistributed`` takes the ordinary layers to every frame,
``TemporalConv`` and ``DepthwiseTemporalConv`` look back, and ``spica.from_keras`` gives the network of one frame.
"""

from spica.temporal.layers import DepthwiseTemporalConv, TemporalConv
from spica.temporal.polynomials import Jacobi
from spica.temporal.recurrent import DiagonalSSM
from spica.temporal.resample import resample

__all__ = ["DepthwiseTemporalConv", "DiagonalSSM", "Jacobi", "TemporalConv", "resample"]
