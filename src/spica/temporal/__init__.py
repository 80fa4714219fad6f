"""Temporal event-based networks in Keras 3: layers over clips that become streaming layers with frame buffers.

    from spica.temporal import Jacobi, TemporalConv    # loads Keras

A clip is ``(T, ...)`` frames. ``keras.layers.TimeDistributed`` takes the ordinary layers to every frame,
``TemporalConv`` and ``DepthwiseTemporalConv`` look back, and ``spica.from_keras`` gives the network of one frame.
"""

from spica.training.backend import load_keras

load_keras()  # on a backend that is installed, before the layers import it

from spica.temporal.layers import DepthwiseTemporalConv, TemporalConv  # noqa: E402
from spica.temporal.polynomials import Jacobi  # noqa: E402
from spica.temporal.recurrent import DiagonalSSM  # noqa: E402
from spica.temporal.resample import resample  # noqa: E402

__all__ = ["DepthwiseTemporalConv", "DiagonalSSM", "Jacobi", "TemporalConv", "resample"]
