"""Float networks to integer ones: observe, align ranges, round, correct."""

from spica.quantization.api import quantize
from spica.quantization.mixed_precision import Recipe, recipe

__all__ = ["Recipe", "quantize", "recipe"]
