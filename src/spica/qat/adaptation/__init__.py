"""Adaptation: the nearest network that a device takes, trained to imitate the one that it does not."""
