"""Legalization: safe changes after which a network breaks fewer of a device's rules; ``weights`` and ``pooling``."""
