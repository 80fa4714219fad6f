"""The cost of learning one sample on a device, beside inferring it.

No public measurement of a learning step is known. Here the winner's connections are read and written where they are
kept, and each access costs the cycles that the device's file gives for a weight read from external memory, and the
energy of a synapse operation in a fully connected layer. That is an assumption.
"""

from __future__ import annotations

from dataclasses import dataclass

from spica.errors import SpicaError
from spica.hardware.cost_model.statistics import Statistics, figure_table, two_digits
from spica.hardware.simulate import MappedNetwork
from spica.hardware.spec import specs
from spica.layers import LearningDense

ACCESSES = {"swap": 2, "prototype": 4}
"""Accesses to each input of the winner: "swap" reads a connection and writes it; "prototype" reads and writes its
memory to count, and reads it again to write the connection."""


@dataclass(frozen=True, kw_only=True)
class LearningStep:
    """One sample learned on a device: all of it modelled, from an assumption (see the module's text)."""

    nps: int  # NPs that hold the learning layer
    memory_bytes: int  # what they keep of it: connections, and memories of the rule "prototype"
    accesses: int  # to what they keep, by one step
    cycles: float  # clock cycles of the step, beside the inference before it
    latency_ms: float  # of the inference and the step
    energy_uj: float  # dynamic energy of the step, beside the inference
    statistics: Statistics  # of the inference

    def __str__(self) -> str:
        confidence, energy = self.statistics.confidence, self.energy_uj + self.statistics.dynamic_energy_uj
        figures = [
            (words, value, (value * factors.low, value * factors.high))
            for words, value, factors in (
                ("latency, inference included, ms", self.latency_ms, confidence.cycles),
                ("of it dynamic, uJ", energy, confidence.dynamic),
            )
        ]
        return (
            f"The learning layer: {self.nps} NP{'s' if self.nps > 1 else ''}, {self.memory_bytes:,} bytes\n"
            f"A step: {self.accesses:,} accesses, {two_digits(self.cycles)} cycles, {two_digits(self.energy_uj)} uJ "
            "beside the inference (modelled; assumed: an access costs what a weight read from outside does)\n"
            + figure_table("learning one sample", figures, confidence.band_name)
        )


def learning_step(chip: MappedNetwork) -> LearningStep:
    """Return the cost of learning one of the samples that ``chip`` ran last.

    Raises:
        SpicaError: where the network has no learning layer, or nothing has run yet.
    """
    layer = next((r for r in chip.network if isinstance(r, LearningDense)), None)
    if layer is None:
        raise SpicaError(f"{chip.network.name}: has no learning layer; give it one with spica.learn")
    statistics, device = chip.statistics, chip.device
    cost = next(c for c in statistics.layers if c.layer == layer.name)
    accesses = ACCESSES[layer.rule] * len(layer.kernel)
    cycles = accesses * device.external_dense_cycles
    return LearningStep(
        nps=cost.nps,
        memory_bytes=specs(chip.network)[layer.name].weight_memory_bits // 8,
        accesses=accesses,
        cycles=cycles,
        latency_ms=statistics.latency_ms + cycles / device.cycles_per_ms,
        energy_uj=accesses * device.dense_pj * 1e-6,
        statistics=statistics,
    )
