"""Activation functions of real numbers, by the names that a ``TableActivation`` has for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.floating[Any]]

SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
"""The two constants of SELU, after Klambauer and others (2017), arXiv 1706.02515."""


def sigmoid(x: Reals) -> Reals:
    """Return ``1 / (1 + exp(-x))``, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * x))


def softplus(x: Reals) -> Reals:
    """Return ``log(1 + exp(x))``, without overflow."""
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def elu(x: Reals, alpha: float = 1.0) -> Reals:
    """Return ``x`` where it is positive, else ``alpha * (exp(x) - 1)``."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def celu(x: Reals, alpha: float = 1.0) -> Reals:
    """Return ``x`` where it is positive, else ``alpha * (exp(x / alpha) - 1)``."""
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / alpha))


def erf(x: Reals) -> Reals:
    """Return the error function, accurate to 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    return np.sign(x) * (1 - series * np.exp(-x * x))


def gelu(x: Reals) -> Reals:
    """Return ``x`` times the normal distribution function of ``x``, accurate to 2e-7."""
    half = 0.5 * (1 - erf(np.abs(x) / np.sqrt(2)))
    return x * np.where(x >= 0, 1 - half, half)


def gelu_tanh(x: Reals) -> Reals:
    """Return the GELU by a hyperbolic tangent, which TensorFlow and others know as approximate."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def power(x: Reals, exponent: float = 2.0) -> Reals:
    """Return ``x ** exponent``: infinity for zero where that is negative, and no number for many ``x`` below zero."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.power(x, exponent)


def hard_sigmoid(x: Reals, slope: float = 1 / 6, offset: float = 0.5) -> Reals:
    """Return ``slope * x + offset`` between 0 and 1."""
    return np.clip(slope * x + offset, 0, 1)


FUNCTIONS: dict[str, Callable[..., Reals]] = {
    "abs": np.abs,
    "celu": celu,
    "clip": lambda x, low=-1.0, high=1.0: np.minimum(np.maximum(x, low), high),
    "elu": elu,
    "erf": erf,
    "exp": lambda x: np.exp(np.minimum(x, 80)),
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "hard_shrink": lambda x, bound=0.5: np.where(np.abs(x) > bound, x, 0),
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": lambda x: x * hard_sigmoid(x),
    "leaky_relu": lambda x, slope=0.01: np.where(x > 0, x, slope * x),
    "log_sigmoid": lambda x: -softplus(-x),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "power": power,
    "relu_squared": lambda x: np.maximum(x, 0) ** 2,
    "selu": lambda x: SELU_SCALE * elu(x, SELU_ALPHA),
    "sigmoid": sigmoid,
    "silu": lambda x, slope=1.0: x * sigmoid(slope * x),
    "soft_shrink": lambda x, bound=0.5: np.sign(x) * np.maximum(np.abs(x) - bound, 0),
    "softplus": lambda x, slope=1.0: softplus(slope * x) / slope,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "sparse_plus": lambda x: np.where(x <= -1, 0, np.where(x >= 1, x, 0.25 * (x + 1) ** 2)),
    "squareplus": lambda x, b=4.0: 0.5 * (x + np.sqrt(x * x + b)),
    "tanh": np.tanh,
    "tanh_shrink": lambda x: x - np.tanh(x),
    "threshold": lambda x, bound=0.0, value=0.0: np.where(x > bound, x, np.full_like(x, value)),
}
"""Each of the function's own real parameters, in order, has the value that most frameworks give it."""
