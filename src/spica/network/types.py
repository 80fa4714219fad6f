"""The type of a tensor: its shape and its number format."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.errors import SpicaError
from spica.network.fields import MOST_VALUES
from spica.util.cached import cached_property

WIDEST_ALIGNED = 62
"""Bits of an integer, with the shift that aligns it to other channels, that 64 bits hold."""


@dataclass(frozen=True, eq=False)
class TensorType:
    """Shape and number format of a tensor, without its batch axis.

    A float tensor has ``bits=None``. An integer ``v`` of any other tensor stands for the real number
    ``v / 2**frac_bits * scale``. Activations between layers have ``scale == 1`` (fixed point); an accumulator
    that leaves the network unrounded keeps its weights' float scale.

    Attributes:
        shape: axes after the batch, channels last: ``(H, W, C)`` or ``(C,)``.
        bits: width of the integer, sign included; ``None`` for float32.
        signed: whether the integer is two's complement.
        frac_bits: fractional bits, a scalar or one per channel (int64).
        scale: float32 factor, a scalar or one per channel.
    """

    shape: tuple[int, ...]
    bits: int | None = None
    signed: bool = False
    frac_bits: NDArray[np.int64] = field(default_factory=lambda: np.zeros((), np.int64))
    scale: NDArray[np.float32] = field(default_factory=lambda: np.ones((), np.float32))

    def __post_init__(self) -> None:
        object.__setattr__(self, "frac_bits", np.asarray(self.frac_bits, np.int64))
        object.__setattr__(self, "scale", np.asarray(self.scale, np.float32))

    @property
    def is_float(self) -> bool:
        """True where values are float32."""
        return self.bits is None

    @property
    def channels(self) -> int:
        """Size of the last axis."""
        return self.shape[-1]

    @property
    def per_tensor(self) -> bool:
        """True where one exponent and one scale hold for every channel."""
        return self.frac_bits.ndim == 0 and self.scale.ndim == 0

    @cached_property
    def range(self) -> tuple[int, int]:
        """Smallest and largest integer of the format."""
        if self.bits is None:
            raise SpicaError("a float tensor has no integer range; quantise the network first")
        return (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) if self.signed else (0, (1 << self.bits) - 1)

    @cached_property
    def dtype(self) -> np.dtype:
        """The narrowest numpy type for the format."""
        if self.bits is None:
            return np.dtype(np.float32)
        width = next(w for w in (8, 16, 32, 64) if w >= self.bits)
        return np.dtype(f"{'int' if self.signed else 'uint'}{width}")

    def to_float(self, values: ArrayLike) -> NDArray[np.float32]:
        """Return the real numbers (float32) that integers of this type stand for."""
        values = np.asarray(values)
        if self.bits is None:
            return values.astype(np.float32, copy=False)
        exact = np.ldexp(values.astype(np.float32), -self.frac_bits.astype(np.int32))
        return (exact * self.scale).astype(np.float32, copy=False)

    def from_float(self, values: ArrayLike) -> NDArray:
        """Return the integers of this type nearest to real numbers; ties to even, saturated."""
        exact = np.ldexp(np.asarray(values, np.float32) / self.scale, self.frac_bits.astype(np.int32))
        return np.clip(np.rint(exact), *self.range).astype(self.dtype)

    def __str__(self) -> str:
        fmt = "float32" if self.bits is None else f"{'int' if self.signed else 'uint'}{self.bits}"
        return f"{fmt}[{'x'.join(map(str, self.shape))}]"


def check_size(shape: tuple[int, ...], where: str) -> None:
    """Check that what a layer makes of one sample can be held.

    Raises:
        SpicaError: beginning with ``where``, the layer's name.
    """
    if prod(shape) > MOST_VALUES:
        sizes = "x".join(map(str, shape))
        raise SpicaError(
            f"{where}: makes {sizes} values of one sample; {MOST_VALUES:,} are the most; use smaller inputs"
        )


def check_type(kind: TensorType, where: str) -> None:
    """Check that a tensor is of a size that can be held, and that its integers stand for finite real numbers.

    Raises:
        SpicaError: beginning with ``where``, the name of the layer that writes it.
    """
    check_size(kind.shape, where)
    if kind.bits is None:
        return
    if kind.bits + int(np.ptp(kind.frac_bits)) > WIDEST_ALIGNED:
        raise SpicaError(f"{where}: its channels' exponents are too far apart ({np.ptp(kind.frac_bits)} bits) to align")
    with np.errstate(over="ignore"):
        if not np.isfinite(kind.to_float(np.reshape(kind.range, (2, *[1] * len(kind.shape))))).all():
            raise SpicaError(f"{where}: its output {kind} holds integers that stand for numbers beyond float32")
