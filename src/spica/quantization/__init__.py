"""Quantisation after training: prepare, calibrate, equalise, align scales; round and correct layer by layer."""

from spica.quantization.api import quantize
from spica.quantization.mixed_precision import Recipe, recipe

__all__ = ["Recipe", "quantize", "recipe"]
