"""Mapping: tiling layers over neural processors, passes, placement on the mesh."""
