"""Tables of operations: how one source spells each, by name, and what to use instead of what none can take."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from spica.errors import SpicaError

_REST = "end the network before it and leave the rest to the host"
_GATES = "here no layer can hold its gates; leave it to the host (spica.split cuts a Keras model)"
_TRAINING = (
    "this state-space layer is still in training form; quantise the whole model, as projections and recurrences, with "
    "quantizeml.models.quantize and save that"
)

HINTS = {
    "argmax": "leave it out; Network.predict gives the class",
    "argmin": "leave it out; take it of the outputs",
    "globalaveragepooling1d": "over time leave it out, and train on labels for every frame",
    "lambda": "write what it does with layers, or with keras.ops",
    "globalaveragepooling3d": "leave the average over time out, and train on labels for every frame",
    "nativebatchnormlegit": "keep running statistics: BatchNorm2d(track_running_stats=True)",
    "bmm": "call MultiheadAttention with need_weights=False; give products of your own heads (N, heads, T, C)",
    "lrn": "use batch normalisation",
    "gru": _GATES,
    "lstm": _GATES,
    "statefulprojection": _TRAINING,
    "statefulrecurrent": _TRAINING,
}
"""Advice for operations that hardware does not have, by name: small letters, without underscores."""


def hint(name: str) -> str | None:
    """Return what to use instead of an operation, however a source writes its name."""
    return HINTS.get(name.replace("_", "").lower())


class Operations(dict[str, Callable[..., Any]]):
    """The operations of one source: ``@op("Conv2D")`` enters the function that reads one.

    Args:
        what: what an operation is called in messages: "Keras layer".
        refusal: what is said of one that cannot be read.
    """

    def __init__(self, what: str, refusal: str = "is not supported") -> None:
        super().__init__()
        self.what, self.refusal = what, refusal

    def __call__(self, *names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Return a decorator that enters a function under each of ``names``."""

        def enter(function: Callable[..., Any]) -> Callable[..., Any]:
            self.update(dict.fromkeys(names, function))
            return function

        return enter

    def find(self, name: str, at: str) -> Callable[..., Any]:
        """Return the function that reads an operation.

        Raises:
            SpicaError: where there is none, with what to use instead.
        """
        if name not in self:
            near = get_close_matches(name, [known for known in self if not known.startswith("_")], 3)
            fix = hint(name) or (f"the nearest that is: {', '.join(near)}" if near else _REST)
            raise SpicaError(f"{at}: {self.what} {name} {self.refusal}; {fix}")
        return self[name]
