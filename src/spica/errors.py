"""The one exception family that Spica raises, and how it shows text that comes from files."""


def printable(text: str) -> str:
    """Return text on one line, with characters escaped that would change a terminal (control codes), or cannot be sent.

    Names in networks may come from strangers.
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class SpicaError(ValueError):
    """Something the caller can put right: a bad network, sample, file, device or option.

    The message is one line: what is wrong, where (the layer's name), and what to do about it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
