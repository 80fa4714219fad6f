"""The one exception family that Spica raises."""


class SpicaError(ValueError):
    """Something the caller can put right: a bad network, sample, file, device or option.

    The message is one line: what is wrong, where (the layer's name), and what to do about it.
    """
