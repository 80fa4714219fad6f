"""What vision transformers need beside Keras' own layers.

from spica.vision import TokenEmbedding    # loads Keras
"""

from spica.vision.tokens import TokenEmbedding

__all__ = ["TokenEmbedding"]
