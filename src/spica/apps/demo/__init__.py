"""Demos on real data; each module has ``show(out, epochs, seed)``.

It trains for some epochs with a seed, puts its files into the folder ``out``, and returns its facts, as plain data and
as text.
"""
