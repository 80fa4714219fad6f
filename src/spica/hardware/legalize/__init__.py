"""Legalization: changes that make an integer network obey a device's rules and leave its outputs as they were.

``weights`` and ``pooling`` hold the rules, each a pass on one layer for one device; ``fix`` runs them.
"""
