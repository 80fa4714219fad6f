"""Layer rules as data: what a device asks of each kind of layer, read from its file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from spica.errors import SpicaError

KINDS = (
    "input_convolution",
    "convolution",
    "separable_convolution",
    "depthwise_convolution",
    "transposed_convolution",
    "depthwise_transposed_convolution",
    "temporal_convolution",
    "depthwise_temporal_convolution",
    "recurrent",
    "projection",
    "attention",
    "normalization",
    "fully_connected",
)
"""Kinds of layers that a network can be mapped with."""

QUANTITIES = {
    "input_height": ("input height", "resize the samples or change the strides before"),
    "input_width": ("input width", "resize the samples or change the strides before"),
    "input_channels": ("input channels", "change the filters or channels before"),
    "input_bits": ("input bits", "quantise what it reads to a width that is allowed"),
    "input_signed": ("signed input", "end what it reads with a ReLU, or give unsigned samples"),
    "kernel": ("kernel", "change the kernel, then train again"),
    "stride": ("stride", "change the stride, then train again"),
    "padding": (
        "padding",
        "change the padding, then train again; PyTorch's is ZeroPad2d((0, 1, 0, 1)) before a 3x3 kernel of stride 2",
    ),
    "filters": ("filters", "use fewer filters or a smaller kernel"),
    "weight_bits": ("weight bits", "quantise its weights to a width that is allowed"),
    "output_bits": ("output bits", "quantise its activations to a width that is allowed"),
    "fifo": ("frames in its buffer", "change the depth of its kernel, then train again"),
    "pooled_area": ("pixels of the pooled image", "pool or stride more before it"),
    "pool": ("pooling", "move the pooling to a later layer"),
    "pool_size": ("pooling size", "change the pooling size"),
    "pool_stride": ("pooling stride", "change the pooling stride"),
}
"""What rules can bound, by key of ``Facts.limits``: its name in words, and what to do where it is broken."""


@dataclass(frozen=True)
class Bound:
    """Values that a quantity may have: those listed, or a range with both ends in it."""

    allowed: tuple[Any, ...] | None = None
    minimum: int | None = None
    maximum: int | None = None

    def admits(self, value: Any) -> bool:
        if self.allowed is not None:
            return value in self.allowed
        low = value if self.minimum is None else self.minimum
        high = value if self.maximum is None else self.maximum
        return isinstance(value, int) and low <= value <= high

    def __str__(self) -> str:
        if self.allowed is not None:
            return " or ".join(", ".join(map(str, self.allowed)).rsplit(", ", 1))
        if self.minimum is None:
            return f"at most {self.maximum:,}"
        return f"at least {self.minimum}" if self.maximum is None else f"{self.minimum} to {self.maximum}"


@dataclass(frozen=True)
class Rule:
    """Bounds on one kind of layer.

    Attributes:
        kind: one of ``KINDS``.
        when: values that the layer's quantities must have for the rule to hold; none: it always holds.
        bounds: what each quantity may be. A quantity that a layer lacks (``None``) is not bound.
        source: where the rule is documented.
    """

    kind: str
    when: Mapping[str, Any]
    bounds: Mapping[str, Bound]
    source: str

    def breaches(self, limits: Mapping[str, Any]) -> Iterator[tuple[str, Any, Bound]]:
        """Quantity, value and bound of everything in ``limits`` (see ``Facts``) that breaks the rule."""
        if any(limits.get(name) != value for name, value in self.when.items()):
            return
        for name, bound in self.bounds.items():
            value = limits.get(name)
            if value is not None and not bound.admits(value):
                yield name, value, bound


def parse_rule(where: str, table: Any) -> Rule:
    """A rule from its TOML table; ``where`` names the file and the rule in errors."""
    if not isinstance(table, dict):
        raise SpicaError(f"{where}: must be a table")
    table = dict(table)
    kind, source, when = table.pop("kind", None), table.pop("source", None), table.pop("when", {})
    if kind not in KINDS:
        raise SpicaError(f"{where}.kind: {kind!r} is not a kind of layer; choose from {', '.join(KINDS)}")
    if not isinstance(source, str) or not source:
        raise SpicaError(f"{where}.source: must say where the rule is documented, or 'assumed'")
    if not isinstance(when, dict):
        raise SpicaError(f"{where}.when: must be a table of values")
    if unknown := [name for name in (*when, *table) if name not in QUANTITIES]:
        raise SpicaError(f"{where}.{unknown[0]}: not a quantity; choose from {', '.join(QUANTITIES)}")
    bounds = {name: _parse_bound(f"{where}.{name}", value) for name, value in table.items()}
    return Rule(kind, when, bounds, source)


def _parse_bound(where: str, table: Any) -> Bound:
    known = {"in": list, "min": int, "max": int}
    if not isinstance(table, dict) or set(table) not in ({"in"}, {"min"}, {"max"}, {"min", "max"}):
        raise SpicaError(f"{where}: must be {{ in = [...] }} or {{ min = ..., max = ... }}")
    for key, value in table.items():
        if type(value) is not known[key] or value == []:
            need = "a list of values" if key == "in" else "an integer"
            raise SpicaError(f"{where}.{key}: {value!r} is not {need}")
    return Bound(tuple(table["in"]) if "in" in table else None, table.get("min"), table.get("max"))
