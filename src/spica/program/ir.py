"""The compiled program as data: integer tensors, and the steps that read and write them.

A program is made by running the integer meaning of layers once (``program.trace``). It is a value: it can be printed,
compared, saved, checked, changed with ``dataclasses.replace``, built for the native engine (``program.native``) and
interpreted in numpy (``program.interpret``). It holds no function and knows no layer: only the primitives of
``semantics.primitives``, with every shape and every range worked out.

All sizes are those of one sample; the batch axis is left out. A tensor is ``rows x columns x channels``, stored row by
row with channels last, and is known by its number in ``Program.tensors``. Ranges ``(low, high)`` include both ends.

=============  =============================================================  ======================================
step           accumulator or output                                          primitive
=============  =============================================================  ======================================
``Conv``       sum over window and channels of ``x * kernel``                 ``convolve``
``Depthwise``  sum over window of ``x * kernel``, channel by channel          ``convolve_depthwise``
``Add``        ``a * 2**shift_a + b * 2**shift_b``                            ``add``
``Lut``        ``table[x - lowest]``, or ``x`` itself                         ``look_up``
``SumPixels``  sum over rows and columns                                      epilogue's ``average``
``Attention``  values mixed by a softmax of queries and keys                  ``attend``
``Normalize``  each token less its mean, over its mean absolute deviation     ``normalise``
``Scan``       ``state = factor * state + x`` at every time step              ``Reference.scan``
``Copy``       ``y[start + i * step] = x.flat[offset + i . strides]``         ``permute``, ``take``, ``dilate``, ...
``Pool``       maximum over every window                                      epilogue's ``pool``
=============  =============================================================  ======================================
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar, dataclass_transform

import numpy as np
from numpy.typing import NDArray

from spica.semantics.primitives import Padding, Pair

Shape = tuple[int, int, int]
"""Rows, columns, channels."""

Range = tuple[int, int]
"""Smallest and largest value."""

ANY_BITS = 62
"""Bits of an epilogue that saturates nothing."""

RECORDS: dict[str, type[Any]] = {}
"""The classes below by name: what may stand in a program's file."""

R = TypeVar("R", bound=type)
V = TypeVar("V", bound="_Value")


@dataclass_transform(frozen_default=True, eq_default=False, kw_only_default=True)
def _record(cls: R) -> R:
    """Class decorator: a frozen dataclass with read-only arrays that programs and their files may hold."""
    hints = {name: hint for base in cls.__mro__ for name, hint in vars(base).get("__annotations__", {}).items()}
    arrays = [name for name, hint in hints.items() if "NDArray" in hint]

    def make_read_only(self: Any) -> None:
        for name in arrays:
            vars(self)[name] = _read_only(vars(self)[name])

    if arrays:
        cls.__post_init__ = make_read_only  # type: ignore[attr-defined]
    cls = dataclass(frozen=True, eq=False, kw_only=True)(cls)  # type: ignore[assignment]
    RECORDS[cls.__name__] = cls
    return cls


class _Value:
    """A record that equals another of the same content."""

    def with_fields(self: V, **changes: Any) -> V:
        """Return a copy with other fields: ``dataclasses.replace`` for the many copies that tracing makes."""
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__, **changes)
        return made

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


@_record
class Tensor(_Value):
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
        return self.shape[0] * self.shape[1] * self.shape[2]


@_record
class Epilogue(_Value):
    """Operations on an accumulator ``a`` of channel ``c`` before it is written, in this order.

    1. ``a = sat(a, value_bits)``, and with a bias ``a = sat(a + bias[c], value_bits)``
    2. ``a = max(a, 0)`` if ``relu``
    3. ``a = min(a, ceiling[c])``
    4. ``a = sat(a * multiplier[c], buffer_bits)``
    5. ``a = floor(a / 2**shift[c] + 1/2)``; a negative shift multiplies
    6. ``a = min(max(a, low), high)``

    where ``sat(a, n)`` is ``min(max(a, -2**n), 2**n - 1)``. Steps whose parameter is ``None`` are left out; without a
    multiplier so are 4 to 6. The default leaves accumulators as they are. Pooling and averaging are steps of their own.

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


PLAIN = Epilogue()
"""Leaves accumulators as they are."""


@_record
class Step(_Value):
    """One operation.

    Attributes:
        layer: name of the layer that it is part of.
        inputs, outputs: numbers of the tensors that it reads and writes.
    """

    layer: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@_record
class Accumulate(Step):
    """A step that makes accumulators and writes what its epilogue makes of them.

    Attributes:
        sums: range of the accumulators.
        epilogue: takes each accumulator to a value of the output.
    """

    sums: Range
    epilogue: Epilogue

    @property
    def sum_bits(self) -> int:
        """Bits that an accumulator needs, before its epilogue."""
        return bits_of(*self.sums)


@_record
class Windowed(Accumulate):
    """A step that slides a window over rows and columns.

    Attributes:
        kernel: weights, int8 where they fit it, otherwise int16.
        strides: rows and columns between windows.
        padding: rows ``(top, bottom)`` and columns ``(left, right)`` around the image.
        fill: int64 value of each input channel there.
    """

    kernel: NDArray
    strides: Pair
    padding: Padding
    fill: NDArray[np.int64]

    @property
    def padded(self) -> bool:
        """True where windows reach beyond the image."""
        return self.padding != ((0, 0), (0, 0))


@_record
class Conv(Windowed):
    """``y[i, j, f] = sum over r, s, c of x[i * stride + r - top, j * stride + s - left, c] * kernel[r, s, c, f]``.

    ``kernel`` is (rows, columns, channels, filters). A dense layer is a window of one pixel over an image of one.
    """


@_record
class Depthwise(Windowed):
    """``y[i, j, c] = sum over r, s of x[i * stride + r - top, j * stride + s - left, c] * kernel[r, s, c]``.

    ``kernel`` is (rows, columns, channels); ``fill`` is zero.
    """


@_record
class Add(Accumulate):
    """``y = a * 2**shifts[0] + b * 2**shifts[1]``; ``shifts`` are int64, zero or more, one for each channel."""

    shifts: tuple[NDArray[np.int64], NDArray[np.int64]]


@_record
class Lut(Accumulate):
    """``y = table[x - lowest]``; without a table ``y = x``, so that its epilogue alone remains. ``table`` is int64."""

    table: NDArray[np.int64] | None = None
    lowest: int = 0


@_record
class SumPixels(Accumulate):
    """``y[c] = sum over i, j of x[i, j, c]``, which an epilogue makes an average of."""


@_record
class Attention(Accumulate):
    """Values mixed by a softmax over tokens, with 10 bits behind the point; inputs are queries, keys and values.

    For each of ``heads`` groups of channels, with rows of one and tokens as columns: ``s = (q . k) * multiplier >>
    shift`` is the exponent of a power of two in 1/256, ``p`` each power over their sum, and ``y = sum of p * v``.
    ``primitives.attend`` says how both are rounded.
    """

    heads: int
    multiplier: int
    shift: int


@_record
class Normalize(Accumulate):
    """``y = floor(2**8 * (C * x - sum) / max(floor(sum of |C * x - sum| / C), 1))`` over C channels of each pixel."""


@_record
class Scan(Step):
    """A linear recurrence of complex states over time; columns are time steps.

    ``state = leave(sat(factor * state + arrive(x), value_bits))`` for each channel, every product and sum saturated to
    ``value_bits``. Inputs are ``x`` (1, T, C) and the real and imaginary state before (1, 1, C); outputs are the states
    after each step (T, C, 2), real and imaginary, and the two after the last.

    Attributes:
        factor: real and imaginary parts, int64, one for each channel.
        arrive, leave: epilogues of what arrives and of the new state.
        value_bits: bits without the sign.
    """

    factor: tuple[NDArray[np.int64], NDArray[np.int64]]
    arrive: Epilogue
    leave: Epilogue
    value_bits: int


@_record
class Copy(Step):
    """``y[start + (i, j, c) * (step, 1)] = x.flat[offset + (i, j, c) . strides]`` for ``(i, j, c)`` within ``shape``.

    Several copies may fill one tensor.

    Attributes:
        shape: rows, columns, channels to copy.
        strides: values of the input between neighbours along each.
        offset: number of the first value of the input.
        start: row, column and channel of the output where the first goes.
        step: rows and columns of the output between neighbours.
        clear: whether the rest of the output becomes zero first.
    """

    shape: Shape
    strides: Shape
    offset: int = 0
    start: Shape = (0, 0, 0)
    step: Pair = (1, 1)
    clear: bool = False

    @property
    def places(self) -> tuple[slice, slice, slice]:
        """Rows, columns and channels of the output that are written."""
        ends = zip(self.start, (*self.step, 1), self.shape)
        rows, columns, channels = (slice(first, first + (size - 1) * by + 1, by) for first, by, size in ends)
        return rows, columns, channels


@_record
class Pool(Step):
    """``y[i, j, c]`` = maximum over a window of ``size``, channel by channel; places outside the image never win."""

    size: Pair
    strides: Pair
    padding: Padding


@_record
class Port(_Value):
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


@_record
class State(_Value):
    """An array that a layer keeps from one sample to the next: read as ``before``, written as ``after``."""

    layer: str
    before: Port
    after: Port


@_record
class Events(_Value):
    """The tensors that a layer reads; their non-zero values are the events that it receives."""

    layer: str
    tensors: tuple[int, ...]


@_record
class Program(_Value):
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

    def __str__(self) -> str:
        from spica.program.text import program_text

        return program_text(self)


def weight_arrays(step: Step) -> list[NDArray]:
    """Return the parameters of a step that count as weights: a kernel, a table, or the factors of a recurrence."""
    found = (getattr(step, f.name) for f in fields(step) if f.name in ("kernel", "table", "factor"))
    return [a for value in found if value is not None for a in (value if isinstance(value, tuple) else (value,))]
