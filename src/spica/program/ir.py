"""The compiled program as data: integer tensors, and the steps that read and write them.

A program is made by running the integer meaning of layers once (``program.trace``). It is a value: it can be printed,
compared, saved, checked, changed with ``dataclasses.replace``, built for the native engine (``program.native``) and
interpreted in numpy (``program.interpret``). It knows no layer: only steps, with every shape and every range worked
out. Whoever writes C or hardware from it needs this module and ``program.steps``, where each step is in one class.

All sizes are those of one sample; the batch axis is left out. A tensor is ``rows x columns x channels``, stored row by
row with channels last, and is known by its number in ``Program.tensors``. Ranges ``(low, high)`` include both ends.

=============  =============================================================  ======================================
step           accumulator or output                                          primitive
=============  =============================================================  ======================================
``Conv``       sum over window and channels of ``x * kernel``                 ``convolve``
``Depthwise``  sum over window of ``x * kernel``, channel by channel          ``convolve_depthwise``
``Add``        ``a * 2**shift_a + b * 2**shift_b``                            ``add``
``Multiply``   ``a * b``                                                      ``multiply``
``Lut``        ``table[x - lowest]``, or ``x`` itself                         ``look_up``
``SumPixels``  sum over rows and columns                                      epilogue's ``average``
``Attention``  values mixed by a softmax of queries and keys                  ``attend``
``Normalize``  each token less its mean, over its mean absolute deviation     ``normalise``
``Scan``       ``state = factor * state + x`` at every time step              ``Reference.scan``
``Copy``       ``y[start + i * step] = x.flat[offset + i . strides]``         ``permute``, ``take``, ``dilate``, ...
``Gather``     ``y.flat[i] = x.flat[positions[i]]``, or zero                   ``gather``
``Pool``       maximum over every window                                      epilogue's ``pool``
=============  =============================================================  ======================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, FrozenInstanceError, dataclass, fields
from math import prod
from typing import Any, ClassVar, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import NDArray

from spica.semantics import primitives

Shape = tuple[int, int, int]
"""Rows, columns, channels."""

Range = tuple[int, int]
"""Smallest and largest value."""

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1

ANY_BITS = 62
"""Bits of an epilogue that saturates nothing."""

PER_CHANNEL = ("bias", "ceiling", "multiplier", "shift")
"""Parameters of an epilogue that have one value for each channel."""

R = TypeVar("R", bound="Record")

RECORDS: dict[str, type[Record]] = {}
"""The classes that may stand in a program's file, by name."""


@dataclass_transform(frozen_default=True, eq_default=False, kw_only_default=True)
class Record:
    """A frozen dataclass with read-only arrays that equals another of the same content."""

    _names: ClassVar[frozenset[str]]
    _defaults: ClassVar[dict[str, Any]]
    _arrays: ClassVar[tuple[str, ...]]

    def __init_subclass__(cls, abstract: bool = False) -> None:
        # All records share the methods below: none are generated for each, which would take most of importing this.
        known = fields(dataclass(init=False, repr=False, eq=False)(cls))  # type: ignore[arg-type]
        cls._names = frozenset(field.name for field in known)
        cls._defaults = {field.name: field.default for field in known if field.default is not MISSING}
        cls._arrays = tuple(field.name for field in known if "NDArray" in field.type)
        if not abstract:
            RECORDS[cls.__name__] = cls

    def __init__(self, **content: Any) -> None:
        mine = vars(self)
        mine.update(self._defaults, **content)
        if mine.keys() != self._names:
            raise TypeError(f"{type(self).__name__} has the fields {sorted(self._names)}; got {sorted(content)}")
        for name in self._arrays:
            mine[name] = _read_only(mine[name])

    def with_fields(self: R, **changes: Any) -> R:
        """Return a copy with other fields, as ``dataclasses.replace`` does, in half its time: tracing makes many."""
        return type(self)(**vars(self) | changes)

    def __setattr__(self, name: str, value: object = None) -> None:
        raise FrozenInstanceError(f"{type(self).__name__} cannot be changed; use dataclasses.replace")

    __delattr__ = __setattr__

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={content!r}' for name, content in vars(self).items())})"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and all(_same(a, vars(other)[name]) for name, a in vars(self).items())

    __hash__ = None  # type: ignore[assignment]


def _read_only(content: Any) -> Any:
    if isinstance(content, tuple):
        return tuple(map(_read_only, content))
    if isinstance(content, np.ndarray) and content.flags.writeable:
        content = content.view()
        content.setflags(write=False)
    return content


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return type(a) is type(b) and bool(a == b)


def bits_of(low: int, high: int) -> int:
    """Return the bits that integers from ``low`` to ``high`` need, the sign included where some are negative."""
    return max(max(high, 0).bit_length(), (-low - 1).bit_length()) + 1 if low < 0 else high.bit_length()


class Tensor(Record):
    """Integers of one sample.

    Attributes:
        shape: rows, columns, channels.
        low, high: every value lies between these, whatever the program reads.
        shares: number of an earlier tensor whose values these are, in the same order but another shape; the two share
            storage, and no step writes this one. ``None`` for a tensor of its own.
    """

    shape: Shape
    low: int
    high: int
    shares: int | None = None

    @property
    def range(self) -> Range:
        """Smallest and largest value."""
        return self.low, self.high

    @property
    def bits(self) -> int:
        """Bits that a value needs, the sign included where ``signed``."""
        return bits_of(self.low, self.high)

    @property
    def signed(self) -> bool:
        """True where some values may be negative."""
        return self.low < 0

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)


class Epilogue(Record):
    """Operations on an accumulator ``a`` of channel ``c`` before it is written, in this order.

    1. ``a = sat(a, value_bits)``, and with a bias ``a = sat(a + bias[c], value_bits)``
    2. ``a = max(a, 0)`` if ``relu``
    3. ``a = min(a, ceiling[c])``
    4. ``a = sat(a * multiplier[c], buffer_bits)``
    5. ``a = floor(a / 2**shift[c] + 1/2)``; a negative shift multiplies
    6. ``a = min(max(a, low), high)``

    where ``sat(a, n)`` is ``min(max(a, -2**n), 2**n - 1)``. Operations whose parameter is ``None`` are left out;
    without a multiplier so are 4 to 6. The default leaves accumulators as they are. Pooling and averaging are steps.

    Attributes:
        value_bits, buffer_bits: bits without the sign, 1 to 62.
        bias, ceiling, multiplier, shift: int64, one for each channel.
        relu: whether negative values become zero.
        low, high: range of the output.
    """

    pool: ClassVar[None] = None  # what `primitives.Epilogue` has beside, so that `primitives.apply_epilogue` takes both
    average: ClassVar[bool] = False
    dtype: ClassVar[type] = np.int64

    value_bits: int = ANY_BITS
    bias: NDArray[np.int64] | None = None
    relu: bool = False
    ceiling: NDArray[np.int64] | None = None
    multiplier: NDArray[np.int64] | None = None
    shift: NDArray[np.int64] | None = None
    buffer_bits: int = 32
    low: int = 0
    high: int = 0

    def apply(self, acc: NDArray) -> NDArray[np.int64]:
        """Take accumulators, channels last, to values of the output."""
        return primitives.apply_epilogue(acc, self)  # type: ignore[arg-type]

    def range(self, sums: Range) -> Range:
        """Return the range of the output: it never falls, or never rises, between the two ends of ``sums``."""
        ends = self.apply(_column(sums))
        return int(ends.min()), int(ends.max())

    def changes(self, sums: Range) -> bool:
        """Return whether any accumulator of a range becomes another value."""
        ends = _column(sums)
        return not (self.apply(ends) == ends).all()

    def problems(self, channels: int) -> Iterator[str]:
        """Yield what is wrong with it for accumulators of so many channels."""
        for name in PER_CHANNEL:
            values = getattr(self, name)
            if values is not None and (values.shape != (channels,) or values.dtype != np.int64):
                yield f"{name} must be int64, one for each of {channels} channels; got {values.dtype} {values.shape}"
        if (self.multiplier is None) != (self.shift is None):
            yield "multiplier and shift come together"
        if not (0 < self.value_bits < 63 and 0 < self.buffer_bits < 63):
            yield f"buffers have 1 to 62 bits; got {self.value_bits} and {self.buffer_bits}"


PLAIN = Epilogue()
"""Leaves accumulators as they are."""


def _column(values: Range) -> NDArray[np.int64]:
    return np.array(values, np.int64)[:, None]


class Step(Record, abstract=True):
    """One operation. A subclass, in ``program.steps``, has its parameters and says below all that is its own.

    Attributes:
        reads, writes: how many tensors steps of its kind read and write.
        layer: name of the layer that it is part of.
        inputs, outputs: numbers of the tensors that it reads and writes.
    """

    reads: ClassVar[int] = 1
    writes: ClassVar[int] = 1

    layer: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def output_shapes(self, x: Sequence[Tensor]) -> tuple[Shape, ...]:
        """Return the shapes of the tensors that it writes, given those that it reads."""
        return (x[0].shape,)

    def output_range(self, x: Sequence[Tensor]) -> Range:
        """Return the smallest and the largest value that it writes."""
        return x[0].range

    def problems(self, x: Sequence[Tensor], y: Sequence[Tensor]) -> Iterator[str]:
        """Yield what is wrong with its parameters, or with the shapes of the tensors that it reads and writes."""
        yield from self._problems(x)
        made, found = self.output_shapes(x), tuple(tensor.shape for tensor in y)
        if made != found:
            yield f"writes {made}, but its tensors are {found}"

    def _problems(self, x: Sequence[Tensor]) -> Iterator[str]:
        return iter(())

    def compute(self, x: Sequence[NDArray], y: Sequence[NDArray]) -> Sequence[NDArray]:
        """Return what it writes, in numpy.

        Args:
            x: what it reads, each (N, rows, columns, channels).
            y: what its outputs hold before.
        """
        raise NotImplementedError

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of all its tensors: inputs, then outputs."""
        return self.inputs + self.outputs

    def __str__(self) -> str:
        return f"{self.layer} ({type(self).__name__})"


class Accumulate(Step, abstract=True):
    """A step that makes accumulators and writes what its epilogue makes of them.

    Attributes:
        alike: whether all that it reads has one shape.
        sums: range of the accumulators.
        epilogue: takes each accumulator to a value of the output.
    """

    alike: ClassVar[bool] = True

    sums: Range
    epilogue: Epilogue

    @property
    def sum_bits(self) -> int:
        """Bits that an accumulator needs, before its epilogue."""
        return bits_of(*self.sums)

    def sums_range(self, x: Sequence[Tensor]) -> Range:
        """Return the smallest and the largest accumulator, given the tensors that it reads."""
        raise NotImplementedError

    def accumulate(self, x: Sequence[NDArray]) -> NDArray:
        """Return the accumulators, in numpy."""
        raise NotImplementedError

    def excess(self, x: Sequence[Tensor]) -> str | None:
        """Return which limit of 32-bit arithmetic it is beyond; ``None`` where it keeps all."""
        low, high = self.sums
        return None if low >= INT32_MIN and high <= INT32_MAX else f"accumulators {low} to {high} are beyond 32 bits"

    def output_range(self, x: Sequence[Tensor]) -> Range:
        """Return the range of what the epilogue makes of all accumulators."""
        return self.epilogue.range(self.sums)

    def problems(self, x: Sequence[Tensor], y: Sequence[Tensor]) -> Iterator[str]:
        """Yield what is wrong with the epilogue, with inputs of several shapes, and then as any step."""
        yield from self.epilogue.problems(y[0].shape[2])
        if self.alike and len({tensor.shape for tensor in x}) > 1:
            yield f"its inputs must have one shape; got {[tensor.shape for tensor in x]}"
        yield from super().problems(x, y)


class Port(Record):
    """An array that goes in or out.

    Attributes:
        name: of the network's tensor.
        tensor: number of the tensor that holds a sample of it.
        shape: of a sample, without the batch axis.
        dtype: of the array, such as "uint8".
        factors: where the array is of real numbers, two float32 factors for each channel, ``y = x * factors[0] *
            factors[1]`` rounded to float32 after each; otherwise ``None``.
    """

    name: str
    tensor: int
    shape: tuple[int, ...]
    dtype: str
    factors: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None


class State(Record):
    """An array that a layer keeps from one sample to the next: read as ``before``, written as ``after``."""

    layer: str
    before: Port
    after: Port


class Events(Record):
    """The tensors that a layer reads; their non-zero values are the events that it receives."""

    layer: str
    tensors: tuple[int, ...]


class Program(Record):
    """Steps in the order in which they run, over numbered tensors.

    Attributes:
        tensors: all tensors; their positions are their numbers.
        steps: what is computed.
        inputs, outputs: arrays that every run is given and gives.
        states: arrays that are given and taken back beside these, in this order.
        events: what each layer receives, where events are counted.
    """

    tensors: tuple[Tensor, ...]
    steps: tuple[Step, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    states: tuple[State, ...] = ()
    events: tuple[Events, ...] = ()

    @property
    def reads(self) -> tuple[Port, ...]:
        """All arrays that a run is given: inputs, then states."""
        return *self.inputs, *(state.before for state in self.states)

    @property
    def writes(self) -> tuple[Port, ...]:
        """All arrays that a run gives: outputs, then states."""
        return *self.outputs, *(state.after for state in self.states)

    def base(self, number: int) -> int:
        """Return the number of the tensor whose storage tensor ``number`` uses: its own, or the one that it shares."""
        shared = self.tensors[number].shares
        return number if shared is None else shared

    def read_by(self, step: Step) -> list[Tensor]:
        """Return the tensors that a step reads."""
        return [self.tensors[number] for number in step.inputs]

    def written_by(self, step: Step) -> list[Tensor]:
        """Return the tensors that a step writes."""
        return [self.tensors[number] for number in step.outputs]

    def __str__(self) -> str:
        from spica.program.text import program_text

        return program_text(self)
