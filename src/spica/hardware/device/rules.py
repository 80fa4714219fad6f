"""Layer rules as data: what a device asks of each op type, read from its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from spica.errors import SpicaError
from spica.hardware.spec import LayerSpec, OpType
from spica.semantics.primitives import Pair
from spica.util.renamed import renamed

MAPPABLE = tuple(OpType)[1 : [*OpType].index(OpType.FULLY_CONNECTED) + 1]
"""Op types that a device file can have rules on: those that NPs and the input-convolution unit compute."""


def _area(size: Pair | None) -> str | None:
    """Return a height and width as device files spell that of pooling: "2x2"."""
    return size and "x".join(map(str, size))


def _size(size: Pair | None) -> int | str | None:
    """Return a height and width as device files spell others: a square one as a number, else as "3x5"."""
    return size[0] if size and size[0] == size[1] else _area(size)


class Quantity(NamedTuple):
    """A quantity that rules can bound: its name in words, the remedy of a broken rule, its value in a layer's spec.

    ``None`` is the value in a layer that has no such quantity.
    """

    words: str
    remedy: str
    value: Callable[[LayerSpec], int | str | None]


RESIZE = "resize the samples or change the strides before"
FEWER = "use fewer filters or a smaller kernel"
NARROW_INPUT = "quantise what it reads to a width that is allowed"
NARROW_OUTPUT = "quantise its activations to a width that is allowed"
END_WITH_RELU = "end what it reads with a ReLU, or give unsigned samples"
PAD = "change the padding, then train again; PyTorch's is ZeroPad2d((0, 1, 0, 1)) before a 3x3 kernel of stride 2"

QUANTITIES = {
    "input_height": Quantity("input height", RESIZE, lambda s: s.input_height),
    "input_width": Quantity("input width", RESIZE, lambda s: s.input_width),
    "input_channels": Quantity("input channels", "change the filters or channels before", lambda s: s.input_channels),
    "input_bits": Quantity("input bits", NARROW_INPUT, lambda s: s.inputs[0].bits),
    "input_signed": Quantity("signed input", END_WITH_RELU, lambda s: s.inputs[0].signed),
    "kernel": Quantity("kernel", "change the kernel, then train again", lambda s: _size(s.kernel)),
    "stride": Quantity("stride", "change the stride, then train again", lambda s: _size(s.strides)),
    "padding": Quantity("padding", PAD, lambda s: s.padding),
    "filters": Quantity("filters", FEWER, lambda s: s.filters if s.weight_bits_per_filter else None),
    "weight_bits": Quantity("weight bits", "quantise its weights to a width that is allowed", lambda s: s.weight_bits),
    "output_bits": Quantity("output bits", NARROW_OUTPUT, lambda s: s.output_bits),
    "fifo": Quantity("frames in its buffer", "change the depth of its kernel, then train again", lambda s: s.frames),
    "pooled_area": Quantity("pixels of the pooled image", "pool or stride more before it", lambda s: s.pooled_area),
    "pool": Quantity("pooling", "move the pooling to a later layer", lambda s: s.pool),
    "pool_size": Quantity("pooling size", "change the pooling size", lambda s: _area(s.pool_size)),
    "pool_stride": Quantity("pooling stride", "change the pooling stride", lambda s: _area(s.pool_strides)),
}
"""Quantities that rules can bound, by the name that device files use."""


@dataclass(frozen=True)
class Bound:
    """Values that a quantity may have: those listed, or a range with both ends in it."""

    allowed: tuple[Any, ...] | None = None
    minimum: int | None = None
    maximum: int | None = None

    def admits(self, value: Any) -> bool:
        """Return whether a quantity may have this value."""
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
    """Bounds on the layers of one op type. A quantity that a layer lacks (``None``) is not bound."""

    op_type: OpType  # one of MAPPABLE
    when: Mapping[str, Any]  # values that the layer's quantities must have for the rule to hold; none: it always holds
    bounds: Mapping[str, Bound]  # what each quantity may be
    source: str  # where the rule is documented

    kind = renamed("op_type")

    def breaches(self, spec: LayerSpec) -> Iterator[tuple[str, Any, Bound]]:
        """Yield name, value and bound of every quantity of a layer that breaks the rule."""
        if spec.op_type is not self.op_type or any(QUANTITIES[n].value(spec) != v for n, v in self.when.items()):
            return
        for name, bound in self.bounds.items():
            value = QUANTITIES[name].value(spec)
            if value is not None and not bound.admits(value):
                yield name, value, bound


def parse_rule(where: str, table: Any) -> Rule:
    """Return a rule from its TOML table; ``where`` names the file and the rule in errors."""
    if not isinstance(table, dict):
        raise SpicaError(f"{where}: must be a table")
    table = dict(table)
    kind, source, when = table.pop("kind", None), table.pop("source", None), table.pop("when", {})
    if kind not in MAPPABLE:
        raise SpicaError(f"{where}.kind: {kind!r} is not an op type of a layer; choose from {', '.join(MAPPABLE)}")
    if not isinstance(source, str) or not source:
        raise SpicaError(f"{where}.source: must say where the rule is documented, or 'assumed'")
    if not isinstance(when, dict):
        raise SpicaError(f"{where}.when: must be a table of values")
    if unknown := [name for name in (*when, *table) if name not in QUANTITIES]:
        raise SpicaError(f"{where}.{unknown[0]}: not a quantity; choose from {', '.join(QUANTITIES)}")
    bounds = {name: _parse_bound(f"{where}.{name}", value) for name, value in table.items()}
    return Rule(OpType(kind), when, bounds, source)


def _parse_bound(where: str, table: Any) -> Bound:
    if not isinstance(table, dict) or set(table) not in ({"in"}, {"min"}, {"max"}, {"min", "max"}):
        raise SpicaError(f"{where}: must be {{ in = [...] }} or {{ min = ..., max = ... }}")
    for key, value in table.items():
        kind, words = (list, "a list of values") if key == "in" else (int, "an integer")
        if type(value) is not kind or value == []:
            raise SpicaError(f"{where}.{key}: {value!r} is not {words}")
    return Bound(tuple(table["in"]) if "in" in table else None, table.get("min"), table.get("max"))
