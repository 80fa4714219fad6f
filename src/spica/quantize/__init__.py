"""Float networks to integer ones: observe, align ranges, round, correct."""

from spica.quantize.quantize import quantize

__all__ = ["quantize"]
