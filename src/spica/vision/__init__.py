"""What vision transformers need beside Keras' own layers.

from spica.vision import TokenEmbedding    # loads Keras
"""

from spica.training.backend import load_keras

load_keras()  # on a backend that is installed, before the layers import it

from spica.vision.tokens import TokenEmbedding  # noqa: E402

__all__ = ["TokenEmbedding"]
