"""A power meter like the one on the vendor's boards: floor, average, least and most over a run of samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Power:
    """Modelled power of a run, one sample after the other."""

    floor_mw: float  # without any event
    average_mw: float  # over the run
    min_mw: float  # over the sample that took least
    max_mw: float  # over the sample that took most
    energy_mj: float  # of a sample, floor included
    fps: float  # samples a second
    samples: int  # in the run

    def __str__(self) -> str:
        return (
            f"modelled power over {self.samples} samples: floor {self.floor_mw:.1f} mW, average {self.average_mw:.1f}, "
            f"min {self.min_mw:.1f}, max {self.max_mw:.1f}; {self.energy_mj:.3g} mJ a sample at {self.fps:.3g} fps"
        )


def power(floor_mw: float, times_ms: NDArray[np.float64], energies_uj: NDArray[np.float64]) -> Power:
    """Return the power of samples that took ``times_ms`` each and ``energies_uj`` beyond the floor."""
    each = floor_mw + energies_uj / times_ms
    average = float(floor_mw + energies_uj.sum() / times_ms.sum())
    mean_ms = float(times_ms.mean())
    energy_mj = average * mean_ms * 1e-3
    return Power(floor_mw, average, float(each.min()), float(each.max()), energy_mj, 1e3 / mean_ms, len(times_ms))
