"""Demos on real data: each module has ``show(out, epochs, seed)``, which returns its results and their table."""
