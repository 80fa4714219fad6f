"""Keras 3 layers of networks over time and of vision transformers, which ``spica.from_keras`` takes.

    from spica.keras import Jacobi, TemporalConv    # loads Keras

A clip is ``(T, ...)`` frames. ``keras.layers.TimeDistributed`` takes the ordinary layers to every frame,
``TemporalConv``, ``DepthwiseTemporalConv`` and ``DiagonalSSM`` look back, and ``spica.from_keras`` gives the streaming
network of one frame.
"""

from spica.util.keras_backend import load_keras

load_keras()  # on a backend that is installed, before the layers import it

from spica.keras.polynomials import Jacobi  # noqa: E402
from spica.keras.recurrent import DiagonalSSM  # noqa: E402
from spica.keras.temporal import DepthwiseTemporalConv, TemporalConv, resample  # noqa: E402
from spica.keras.tokens import TokenEmbedding  # noqa: E402

__all__ = ["DepthwiseTemporalConv", "DiagonalSSM", "Jacobi", "TemporalConv", "TokenEmbedding", "resample"]
