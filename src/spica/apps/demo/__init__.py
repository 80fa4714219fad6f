"""Demos on real data; each module has ``show(out, epochs, seed)``, which returns its facts, as data and as text."""
