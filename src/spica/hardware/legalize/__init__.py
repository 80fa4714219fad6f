"""Legalization: changes that make an integer network obey a device's rules and leave its outputs as they were.

Each file is one rule, which is a pass on one layer for one device; ``fix`` runs them.
"""
