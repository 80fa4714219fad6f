"""Float networks to integer ones: observe, align ranges, round, correct."""

from spica.quantize.quantize import quantize
from spica.quantize.recipe import Recipe, recipe

__all__ = ["Recipe", "quantize", "recipe"]
