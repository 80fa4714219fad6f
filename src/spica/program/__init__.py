"""The compiled form of a network."""
