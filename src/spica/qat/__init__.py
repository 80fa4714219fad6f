"""Training: fine-tuning integer networks with Keras 3, and adapting float ones to what a device takes."""

from spica.qat.adaptation.api import adapt
from spica.qat.api import convert, finetune, trainable
from spica.util.keras_backend import load_keras

__all__ = ["adapt", "convert", "finetune", "load_keras", "trainable"]
