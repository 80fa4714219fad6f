"""The cost of a run, by layer and in all: events are counted; cycles, times and energies modelled from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.hardware.cost_model.confidence import Confidence, sum_band
from spica.hardware.cost_model.units import host_ms
from spica.hardware.device.schema import Device
from spica.hardware.mapping.placement import NP, Loads
from spica.hardware.spec import OpType
from spica.util.renamed import renamed
from spica.util.table import table


@dataclass(frozen=True, kw_only=True)
class NPCost:
    """The work of one NP for a sample: events it receives, synapse operations, cycles (modelled)."""

    np: NP
    events: float
    sops: float
    cycles: float


@dataclass(frozen=True, kw_only=True)
class LayerCost:
    """One layer's cost a sample, averages over the samples of a run."""

    layer: str
    op_type: OpType  # what it is to the hardware
    pass_index: int  # the pass in which it runs, from 0
    nps: int  # NPs that it has; 0 in the input-convolution unit
    events: float  # non-zero inputs (counted)
    inputs: int  # inputs, zero or not
    sops: float  # synapse operations: events x synapses that each reaches (counted)
    cycles: float  # clock cycles of the NP that has most to do (modelled)
    latency_ms: float  # the same in milliseconds
    energy_uj: float  # dynamic energy in microjoules (modelled)
    packets: float  # events, once for each NP that needs them (counted)
    hops: float  # links of the mesh that these cross (modelled)
    crossings: float  # packets from another device
    link_load: float  # share of the layer's cycles in which the busiest link carries a packet (modelled)
    memory_accesses: float  # weights and potentials read and written (modelled)
    external_weights: bool  # whether its weights are read from external memory at every inference
    by_np: tuple[NPCost, ...]

    kind, turn = renamed("op_type"), renamed("pass_index")

    @property
    def sparsity(self) -> float:
        """Fraction of the inputs that are zero."""
        return 1 - self.events / self.inputs

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data; "kind" and "turn" are old names, kept until version 0.3."""
        return asdict(self) | {"sparsity": self.sparsity, "kind": self.op_type, "turn": self.pass_index}


@dataclass(frozen=True)
class Power:
    """Modelled power of a run, one sample after the other, as the meter on the vendor's boards would show it."""

    floor_mw: float  # without any event: the chip's and its board's
    board_mw: float  # of it the board's
    average_mw: float  # over the run
    min_mw: float  # over the sample that took least
    max_mw: float  # over the sample that took most
    energy_mj: float  # of a sample, floor included
    fps: float  # samples a second
    samples: int  # in the run
    bands: Mapping[str, tuple[float, float]]  # of floor_mw, average_mw, energy_mj and fps

    def __str__(self) -> str:
        within = {name: "{:.3g} to {:.3g}".format(*band) for name, band in self.bands.items()}
        board = f" ({self.board_mw:.0f} of it the board's)" if self.board_mw else ""
        return (
            f"one by one: floor {self.floor_mw:.0f} mW{board}, average {self.average_mw:.1f} "
            f"({within['average_mw']}), min {self.min_mw:.1f}, max {self.max_mw:.1f}; {self.energy_mj:.3g} mJ a sample "
            f"({within['energy_mj']}) at {self.fps:.3g} fps ({within['fps']})"
        )


MODELLED = {
    "latency_ms": "latency of one sample, ms",
    "fps": "samples a second in a stream",
    "power_mw": "power of the chip in a stream, mW",
    "dynamic_power_mw": "of it dynamic, mW",
    "energy_uj": "energy a sample, uJ",
    "dynamic_energy_uj": "of it dynamic, uJ",
    "static_energy_uj": "of it static, uJ",
}
"""Totals that come from a model, and what tables call them."""

SOURCES = ("cycles_error", "sop_pj", "weight_pj", "static_mw", "board_mw", "energy_factor")
"""Figures of the device whose sources a reader of the totals must see."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """The cost of the samples of a run on a device.

    Latency is that of one sample alone, the sum over layers. Rate, power and energy are those of a stream,
    where the next sample enters as soon as the slowest two neighbouring layers allow; in several passes there is
    none, as the weights of the next pass take the place of the last one's.
    """

    network: str
    device: Device
    samples: int
    mode: str  # this and the next two: how the network was mapped
    chips: int
    passes: int
    layers: tuple[LayerCost, ...]
    dense_cycles: float  # cycles of a sample if no input of any layer were zero (modelled)
    input_bytes: int  # of a sample
    loads: Loads  # weights loaded for a sample, where there are several passes
    transfer_cycles: float  # of loading them, and of packets between devices
    transfer_energy_uj: float
    layer_cycles: NDArray[np.float64]  # of each layer and sample (layers, N)
    layer_energies: NDArray[np.float64]  # in microjoules (layers, N)
    confidence: Confidence  # tier and errors of what is modelled

    trust = renamed("confidence")

    @property
    def nps(self) -> int:
        """NPs in use, over all passes."""
        return sum(cost.nps for cost in self.layers)

    @property
    def reload_bytes(self) -> int:
        """Bytes of weights loaded for a sample, in all passes."""
        return self.loads.total_bytes

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
        between = [cost for cost in self.layers if cost.op_type is not OpType.INPUT_CONVOLUTION]
        return 1 - sum(c.events for c in between) / max(sum(c.inputs for c in between), 1)

    @property
    def cycles(self) -> float:
        """Clock cycles of one sample alone."""
        return sum(cost.cycles for cost in self.layers) + self.transfer_cycles

    @property
    def latency_ms(self) -> float:
        """Milliseconds from a sample to its result, transfers from and to the host apart."""
        return self.cycles / self.device.cycles_per_ms

    @property
    def interval_ms(self) -> float:
        """Milliseconds between results in a stream.

        A layer and the one after it cannot work on two samples at once, so the slowest neighbours set the pace.
        """
        if self.passes > 1:
            return self.latency_ms
        layers = self.layer_cycles
        pace = layers[0] if len(layers) == 1 else (layers[:-1] + layers[1:]).max(axis=0)
        return float(pace.mean()) / self.device.cycles_per_ms

    @property
    def bottleneck(self) -> LayerCost:
        """The layer that takes longest."""
        return max(self.layers, key=lambda cost: cost.cycles)

    @property
    def fps(self) -> float:
        """Samples a second in a stream."""
        return 1e3 / self.interval_ms

    @property
    def dynamic_power_mw(self) -> float:
        """Milliwatts beyond the static ones in a stream."""
        return self.dynamic_energy_uj / self.interval_ms

    @property
    def power_mw(self) -> float:
        """Milliwatts in a stream, static and dynamic."""
        return self.chips * self.device.static_mw + self.dynamic_power_mw

    @property
    def dynamic_energy_uj(self) -> float:
        """Microjoules a sample that its events cause."""
        return sum(cost.energy_uj for cost in self.layers) + self.transfer_energy_uj

    @property
    def static_energy_uj(self) -> float:
        """Microjoules of static power during a sample's share of a stream."""
        return self.chips * self.device.static_mw * self.interval_ms

    @property
    def energy_uj(self) -> float:
        """Microjoules a sample in a stream, static and dynamic."""
        return self.dynamic_energy_uj + self.static_energy_uj

    @property
    def power(self) -> Power:
        """Power while the host sends the samples one after the other, each alone."""
        device, confidence = self.device, self.confidence
        host = host_ms(device, self.loads, self.input_bytes)
        times = (self.layer_cycles.sum(axis=0) + self.transfer_cycles) / device.cycles_per_ms + host
        energies = self.layer_energies.sum(axis=0) + self.transfer_energy_uj
        floor, mean_ms = self.chips * device.floor_mw, float(times.mean())
        each, dynamic = floor + energies / times, float(energies.sum() / times.sum())
        meter = confidence.meter
        static = meter.times(confidence.cycles)
        energy = sum_band((floor * mean_ms, static), (dynamic * mean_ms, confidence.dynamic))
        power = sum_band((floor, meter), (dynamic, confidence.dynamic.times(confidence.cycles.inverse())))
        faster = confidence.cycles.inverse()
        return Power(
            floor_mw=floor,
            board_mw=floor - self.chips * device.static_mw,
            average_mw=floor + dynamic,
            min_mw=float(each.min()),
            max_mw=float(each.max()),
            energy_mj=(floor + dynamic) * mean_ms * 1e-3,
            fps=1e3 / mean_ms,
            samples=len(times),
            bands={
                "floor_mw": (floor * meter.low, floor * meter.high),
                "average_mw": power,
                "energy_mj": (1e-3 * energy[0], 1e-3 * energy[1]),
                "fps": (1e3 / mean_ms * faster.low, 1e3 / mean_ms * faster.high),
            },
        )

    def band(self, figure: str) -> tuple[float, float]:
        """Return where a modelled figure lies, by its name, such as "latency_ms" or "energy_uj".

        In 90 % of cases, where ``confidence.counted``; else as far as can be assumed.
        """
        c, value = self.confidence, getattr(self, figure)
        static, dynamic = c.floor.times(c.cycles), c.dynamic.times(c.cycles.inverse())
        if figure == "energy_uj":
            return sum_band((self.static_energy_uj, static), (self.dynamic_energy_uj, c.dynamic))
        if figure == "power_mw":
            return sum_band((value - self.dynamic_power_mw, c.floor), (self.dynamic_power_mw, dynamic))
        factors = {
            "fps": c.cycles.inverse(),
            "dynamic_energy_uj": c.dynamic,
            "dynamic_power_mw": dynamic,
            "static_energy_uj": static,
        }.get(figure, c.cycles)
        return value * factors.low, value * factors.high

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data: modelled figures with their bands, and the constants' sources."""
        plain = ("network", "samples", "mode", "chips", "passes", "nps", "events", "sops", "sparsity", "reload_bytes")
        bands = {name: self.band(name) for name in MODELLED}
        return {name: getattr(self, name) for name in (*plain, "dense_cycles")} | {
            "device": self.device.name,
            "bottleneck": self.bottleneck.layer,
            "modelled": {n: {"value": getattr(self, n), "low": low, "high": high} for n, (low, high) in bands.items()},
            "power_meter": asdict(self.power),
            "tier": self.confidence.tier,
            "band": self.confidence.band_name,
            "inherited": {"device": self.device.base, "figures": self._inherited},
            "reasons": list(self.confidence.reasons),
            "sources": {name: self.device.sources[name] for name in SOURCES},
            "layers": [cost.to_dict() | {"band": self._layer_band(cost)} for cost in self.layers],
        }

    def _layer_band(self, cost: LayerCost) -> tuple[float, float]:
        """Return where a layer's cycles lie."""
        factors = self.confidence.layers[cost.layer]
        return cost.cycles * factors.low, cost.cycles * factors.high

    @property
    def _inherited(self) -> list[str]:
        """Figures of time and energy that a device of which nobody measured any has from another."""
        return [name for name in self.device.inherited if name.endswith(("_cycles", "_pj", "_mw", "_mhz"))]

    def __str__(self) -> str:
        device, slowest = self.device, self.bottleneck
        several = f"{self.chips} x " if self.chips > 1 else ""
        passes = f" in {self.passes} passes ({self.reload_bytes:,} bytes of weights loaded)" if self.passes > 1 else ""
        reasons = f": {', '.join(self.confidence.reasons)}" if self.confidence.reasons else ""
        figures = [(words, getattr(self, name), self.band(name)) for name, words in MODELLED.items()]
        return "\n".join(
            [
                f"{self.network} on {several}{device.name}: {self.nps} of {self.chips * device.nps} NPs{passes}, "
                f"averages over {self.samples} sample{'s' if self.samples > 1 else ''}",
                self._layer_table(),
                "",
                f"Bottleneck: {slowest.layer}, {slowest.cycles / self.cycles:.0%} of the cycles. "
                f"Zeros save {1 - self.cycles / self.dense_cycles:.0%} of the cycles that dense activations would take",
                f"Estimates, {self.confidence.tier}{reasons} (modelled, not measured)",
                figure_table("modelled", figures, self.confidence.band_name),
                str(self.power),
                "",
                *(f"{name}: {device.sources[name]}" for name in SOURCES),
                *([f"figures of {device.base}: {', '.join(self._inherited)}"] if self._inherited else []),
            ]
        )

    def _layer_table(self) -> str:
        rows = [("pass", "layer", "kind", "NPs", "events", "sparsity", "SOPs", "cycles", "within", "link", "ms", "uJ")]
        for c in self.layers:
            counted = (str(c.nps or "unit"), f"{c.events:,.0f}", f"{c.sparsity:.1%}", f"{c.sops:,.0f}")
            within = "{:+.0%} {:+.0%}".format(*(factor - 1 for factor in self.confidence.layers[c.layer]))
            modelled = (
                f"{c.cycles:,.0f}",
                within,
                f"{c.link_load:.0%}",
                two_digits(c.latency_ms),
                two_digits(c.energy_uj),
            )
            rows.append((str(c.pass_index + 1), c.layer, c.op_type, *counted, *modelled))
        return table(rows, left=3) if self.passes > 1 else table([row[1:] for row in rows], left=2)


def two_digits(value: float) -> str:
    """Return a modelled figure in two significant digits: more would promise what the model does not hold."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"


def figure_table(title: str, figures: list[tuple[str, float, tuple[float, float]]], band: str) -> str:
    """Return modelled figures as a table, given each one's words, value and band, and what the bands are called."""
    rows = [(words, two_digits(value), " to ".join(map(two_digits, band))) for words, value, band in figures]
    return table([(title, "value", band), *rows], left=1)
