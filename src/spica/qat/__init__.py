"""Fine-tuning integer networks: quantisation-aware training with Keras 3, on any of its backends."""

from spica.qat.api import convert, finetune, trainable
from spica.util.keras_backend import load_keras

__all__ = ["convert", "finetune", "load_keras", "trainable"]
