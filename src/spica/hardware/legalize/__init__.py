"""Legalization: safe changes after which a network breaks fewer of a device's rules.

``fix`` applies them; the other modules have them, by what they change: ``weights``, ``dense`` layers, ``pooling``,
``borders``, ``moves``, and the ``turning`` of whole networks.
"""
