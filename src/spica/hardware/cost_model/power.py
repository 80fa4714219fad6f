"""A power meter like the one on the vendor's boards: floor, average, least and most over a run of samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Power:
    """Modelled power of a run, one sample after the other.

    Attributes:
        floor_mw: power without any event.
        average_mw, min_mw, max_mw: power over the run, and over the samples that took least and most.
        energy_mj: of a sample, floor included.
        fps: samples a second.
        samples: in the run.
    """

    floor_mw: float
    average_mw: float
    min_mw: float
    max_mw: float
    energy_mj: float
    fps: float
    samples: int

    def __str__(self) -> str:
        return (
            f"modelled power over {self.samples} samples: floor {self.floor_mw:.1f} mW, average {self.average_mw:.1f}, "
            f"min {self.min_mw:.1f}, max {self.max_mw:.1f}; {self.energy_mj:.3g} mJ a sample at {self.fps:.3g} fps"
        )


def power(floor_mw: float, times_ms: NDArray[np.float64], energies_uj: NDArray[np.float64]) -> Power:
    """Return the power of samples that took ``times_ms`` each and ``energies_uj`` beyond the floor."""
    each = floor_mw + energies_uj / times_ms
    average = floor_mw + energies_uj.sum() / times_ms.sum()
    return Power(
        floor_mw,
        float(average),
        float(each.min()),
        float(each.max()),
        float(average * times_ms.mean() * 1e-3),
        float(1e3 / times_ms.mean()),
        len(times_ms),
    )
