"""Rounding weights so that a layer's sums change least, rather than each weight.

Rounding one weight of a filter adds an error to its sums that the weights not yet rounded can take back, as far as
their inputs go along with its own. How far is in the second moments of the inputs (Frantar and Alistarh, Optimal
Brain Compression, 2022; Frantar et al., GPTQ, 2023).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

DAMPING = 0.01
"""Share of the mean second moment that is added to each, so that rarely used inputs do not run away."""


def round_weights(kernel: NDArray, scale: NDArray, high: int, moments: NDArray[np.float64]) -> NDArray[np.int8]:
    """Round ``kernel / scale`` to integers from ``-high`` to ``high`` (-1 and 1, without zero, for ``high`` 0).

    Args:
        kernel: real weights ``(..., F)``; one filter's weights are all but the last axis.
        scale: real value of one step, one a filter or scalar.
        high: the largest integer.
        moments: as ``rules.second_moments`` gives them: one matrix for all filters, or one for each.
    """
    wanted = (kernel / scale).reshape(-1, kernel.shape[-1]).astype(np.float64)
    upper = _inverse_factor(moments)
    rounded = np.zeros_like(wanted)
    for i in range(len(wanted)):
        row = wanted[i]
        rounded[i] = np.where(row >= 0, 1, -1) if high == 0 else np.clip(np.rint(row), -high, high)
        error = (row - rounded[i]) / upper[..., i, i]
        if i + 1 < len(wanted):
            rest = upper[..., i, i + 1 :]
            wanted[i + 1 :] -= np.outer(rest, error) if rest.ndim == 1 else (rest * error[:, None]).T
    return rounded.reshape(kernel.shape).astype(np.int8)


def _inverse_factor(moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the upper Cholesky factor of the inverse moments."""
    size = moments.shape[-1]
    mean = np.trace(moments, axis1=-2, axis2=-1)[..., None, None] / size
    damped = moments + np.maximum(DAMPING * mean, 1e-9) * np.eye(size)
    return np.linalg.cholesky(np.linalg.inv(damped)).swapaxes(-1, -2)
