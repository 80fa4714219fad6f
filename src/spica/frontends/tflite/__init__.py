"""TensorFlow Lite models in: ``graph`` follows one; ``operations`` says how TensorFlow Lite spells each operation."""

from spica.frontends.tflite.graph import from_tflite

__all__ = ["from_tflite"]
