"""Data that ships with Spica."""

from spica.data.digits import Digits, load_digits

__all__ = ["Digits", "load_digits"]
