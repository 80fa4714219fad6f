"""Checking the arguments of public functions: each error says which, what it is, and what it must be."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from spica.errors import SpicaError


def is_integer(value: Any) -> bool:
    """Return whether a value is an integer of Python's or numpy's; no truth value is."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def check_integer(name: str, value: Any, low: int = 1, high: int | None = None) -> int:
    """Return an integer of Python's or numpy's as Python's; no fraction, truth value or text stands for one.

    Raises:
        SpicaError: where it is none, or not within ``low`` and ``high``, both included.
    """
    if not is_integer(value) or int(value) < low or (high is not None and int(value) > high):
        bounds = f"an integer of at least {low:,}" if high is None else f"an integer from {low:,} to {high:,}"
        raise SpicaError(f"{name} is {value!r:.60}, but must be {bounds}")
    return int(value)


def check_number(name: str, value: Any, low: float, high: float) -> float:
    """Return a number as Python's float.

    Raises:
        SpicaError: where it is none, or not within ``low`` and ``high``, both included.
    """
    good = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not good or not low <= value <= high:  # NaN is not either
        raise SpicaError(f"{name} is {value!r:.60}, but must be a number from {low:g} to {high:g}")
    return float(value)


def check_choice(name: str, value: Any, choices: Iterable[Any]) -> None:
    """Check that a value is one of a few.

    Raises:
        SpicaError: where it is not; it lists them.
    """
    known = list(choices)
    if not isinstance(value, str | int) or isinstance(value, bool) or value not in known:
        raise SpicaError(f"{name} {value!r:.60} is unknown; choose from {', '.join(map(str, known))}")


def is_masked(value: Any) -> bool:
    """Return whether an array hides values, which converting it would show again."""
    masked = sys.modules.get("numpy.ma")  # whoever made such an array has loaded it; nobody else need
    return masked is not None and bool(masked.is_masked(value))
