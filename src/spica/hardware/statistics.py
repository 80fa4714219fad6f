"""What a run cost, by layer and in all: events are counted; cycles, times and energies modelled from them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from spica.hardware.device import Device
from spica.hardware.timing import stream_interval
from spica.network.summary import table


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer's cost, averages over the samples of a run.

    Attributes:
        layer: its name.
        kind: the hardware's name of it.
        nps: NPs that it has; 0 in the input-convolution unit.
        events: non-zero inputs a sample (counted).
        inputs: inputs a sample.
        sops: synapse operations a sample: events x synapses that each reaches (counted).
        cycles: clock cycles a sample (modelled).
        latency_ms: the same in milliseconds.
        energy_uj: dynamic energy a sample in microjoules (modelled).
    """

    layer: str
    kind: str
    nps: int
    events: float
    inputs: int
    sops: float
    cycles: float
    latency_ms: float
    energy_uj: float

    @property
    def sparsity(self) -> float:
        """Fraction of the inputs that are zero."""
        return 1 - self.events / self.inputs


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What the samples of a run cost on a device.

    Latency is that of one sample alone, the sum over layers. Rate, power and energy are those of a stream,
    where the next sample enters as soon as the slowest two neighbouring layers allow.
    """

    network: str
    device: Device
    samples: int
    layers: tuple[LayerCost, ...]

    @property
    def nps(self) -> int:
        """NPs in use."""
        return sum(cost.nps for cost in self.layers)

    @property
    def events(self) -> float:
        """Events a sample, in all layers."""
        return sum(cost.events for cost in self.layers)

    @property
    def sops(self) -> float:
        """Synapse operations a sample, in all layers."""
        return sum(cost.sops for cost in self.layers)

    @property
    def sparsity(self) -> float:
        """Fraction of zeros among what layers send each other; the network's own input is left out."""
        between = [cost for cost in self.layers if cost.kind != "input_convolution"]
        return 1 - sum(c.events for c in between) / max(sum(c.inputs for c in between), 1)

    @property
    def cycles(self) -> float:
        """Clock cycles of one sample alone."""
        return sum(cost.cycles for cost in self.layers)

    @property
    def latency_ms(self) -> float:
        """Milliseconds from a sample to its result, transfers from and to the host apart."""
        return self.cycles / (self.device.clock_mhz * 1e3)

    @property
    def interval_ms(self) -> float:
        """Milliseconds between results in a stream."""
        return stream_interval([cost.cycles for cost in self.layers]) / (self.device.clock_mhz * 1e3)

    @property
    def fps(self) -> float:
        """Samples a second in a stream."""
        return 1e3 / self.interval_ms

    @property
    def dynamic_energy_uj(self) -> float:
        """Microjoules a sample that its events cause."""
        return sum(cost.energy_uj for cost in self.layers)

    @property
    def static_energy_uj(self) -> float:
        """Microjoules of static power during a sample's share of a stream."""
        return self.device.static_mw * self.interval_ms

    @property
    def energy_uj(self) -> float:
        """Microjoules a sample in a stream, static and dynamic."""
        return self.dynamic_energy_uj + self.static_energy_uj

    @property
    def dynamic_power_mw(self) -> float:
        """Milliwatts beyond the static ones in a stream."""
        return self.dynamic_energy_uj / self.interval_ms

    @property
    def power_mw(self) -> float:
        """Milliwatts in a stream, static and dynamic."""
        return self.device.static_mw + self.dynamic_power_mw

    def band(self, figure: str) -> tuple[float, float]:
        """Where a modelled figure lies in 90 % of cases, by its name, such as "latency_ms" or "energy_uj"."""
        value, error, factor = getattr(self, figure), self.device.cycles_error, self.device.energy_factor
        if figure.endswith(("_uj", "_mw")):
            return value / factor, value * factor
        if figure == "fps":
            return value / (1 + error), value / (1 - error)
        return value * (1 - error), value * (1 + error)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain data: modelled figures with their 90 % bands, and the constants' sources."""
        device = self.device
        modelled = {}
        for name in MODELLED:
            low, high = self.band(name)
            modelled[name] = {"value": getattr(self, name), "low": low, "high": high}
        return {
            "network": self.network,
            "device": device.name,
            "samples": self.samples,
            "nps": self.nps,
            "events": self.events,
            "sops": self.sops,
            "sparsity": self.sparsity,
            "modelled": modelled,
            "tier": device.tier,
            "sources": {name: device.sources[name] for name in SOURCES},
            "layers": [asdict(cost) | {"sparsity": cost.sparsity} for cost in self.layers],
        }

    def __str__(self) -> str:
        device = self.device
        rows: list[tuple[str, ...]] = [("layer", "kind", "NPs", "events", "sparsity", "SOPs", "cycles", "ms", "uJ")]
        rows += [
            (
                c.layer,
                c.kind,
                str(c.nps or "unit"),
                f"{c.events:,.0f}",
                f"{c.sparsity:.1%}",
                f"{c.sops:,.0f}",
                f"{c.cycles:,.0f}",
                two_digits(c.latency_ms),
                two_digits(c.energy_uj),
            )
            for c in self.layers
        ]
        figures: list[tuple[str, ...]] = [("modelled", "value", "90 % band")]
        figures += [
            (words, two_digits(getattr(self, name)), " to ".join(map(two_digits, self.band(name))))
            for name, words in MODELLED.items()
        ]
        return "\n".join(
            [
                f"{self.network} on {device.name}: {self.nps} of {device.nps} NPs, "
                f"averages over {self.samples} samples",
                table(rows),
                "",
                f"Estimates, {device.tier} (modelled, not measured)",
                table(figures, left=1),
                "",
                *(f"{name}: {device.sources[name]}" for name in SOURCES),
            ]
        )


MODELLED = {
    "latency_ms": "latency of one sample, ms",
    "fps": "samples a second in a stream",
    "power_mw": "power in a stream, mW",
    "dynamic_power_mw": "of it dynamic, mW",
    "energy_uj": "energy a sample, uJ",
    "dynamic_energy_uj": "of it dynamic, uJ",
    "static_energy_uj": "of it static, uJ",
}
"""Totals that come from a model, and what tables call them."""

SOURCES = ("cycles_error", "sop_pj", "static_mw", "energy_factor")
"""Figures of the device whose sources a reader of the totals must see."""


def two_digits(value: float) -> str:
    """A modelled figure in two significant digits: more would promise what the model does not hold."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"
