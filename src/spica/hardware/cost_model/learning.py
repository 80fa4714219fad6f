"""The cost of learning one sample on a device, beside inferring it.

No public measurement of a learning step is known. Here the winner's connections are read and written where they are
kept, and each access costs the cycles and the energy that the device's file gives for a weight of a fully connected
layer. That is an assumption.
"""

from __future__ import annotations

from dataclasses import dataclass

from spica.errors import SpicaError
from spica.hardware.cost_model.statistics import Statistics, two_digits
from spica.hardware.simulate import MappedNetwork
from spica.hardware.spec import specs
from spica.layers import LearningDense
from spica.util.table import table

ACCESSES = {"swap": 2, "prototype": 4}
"""Accesses to each input of the winner: "swap" reads a connection and writes it; "prototype" reads and writes its
memory to count, and reads it again to write the connection."""


@dataclass(frozen=True, kw_only=True)
class LearningStep:
    """One sample learned on a device: all of it modelled, from an assumption (see the module's text).

    Attributes:
        nps: NPs that hold the learning layer.
        memory_bytes: what they keep of it: connections, and memories of the rule "prototype".
        accesses: to what they keep, by one step.
        cycles: clock cycles of the step, beside the inference before it.
        latency_ms: milliseconds of the inference and the step.
        energy_uj: dynamic microjoules of the step, beside the inference.
        statistics: of the inference.
    """

    nps: int
    memory_bytes: int
    accesses: int
    cycles: float
    latency_ms: float
    energy_uj: float
    statistics: Statistics

    def __str__(self) -> str:
        inference, band = self.statistics, self.statistics.confidence.band
        figures: list[tuple[str, ...]] = [("learning one sample", "value", "90 % band")]
        for name, words in (("latency_ms", "latency, inference included, ms"), ("energy_uj", "of it dynamic, uJ")):
            value = self.latency_ms if name == "latency_ms" else self.energy_uj + inference.dynamic_energy_uj
            figures.append((words, two_digits(value), " to ".join(map(two_digits, band(name, value)))))
        cycles, energy = two_digits(self.cycles), two_digits(self.energy_uj)
        return "\n".join(
            [
                f"The learning layer: {self.nps} NP{'s' if self.nps > 1 else ''}, {self.memory_bytes:,} bytes",
                f"A step: {self.accesses:,} accesses, {cycles} cycles, {energy} uJ beside the inference "
                "(modelled; assumed: an access costs what a fully connected weight does)",
                table(figures, left=1),
            ]
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
    cycles = accesses * (device.external_dense_cycles if cost.external_weights else device.dense_cycles)
    return LearningStep(
        nps=cost.nps,
        memory_bytes=specs(chip.network)[layer.name].weight_memory_bits // 8,
        accesses=accesses,
        cycles=cycles,
        latency_ms=statistics.latency_ms + cycles / (device.clock_mhz * 1e3),
        energy_uj=accesses * device.dense_pj * 1e-6,
        statistics=statistics,
    )
