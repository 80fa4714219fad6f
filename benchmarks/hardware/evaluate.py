"""Hold the hardware model against measurements of AKD1500: ``python benchmarks/hardware/evaluate.py``, two minutes.

A family's rows are predicted by a law that was fitted without them, so what is counted here was not fitted. Forms of
the law, and a few of its constants, were chosen with all rows in view; the page of the model names them. Results go to
results/left_out.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import published

from spica.hardware import Device, load_device, map_network, specs
from spica.hardware.cost_model.confidence import SPARSE
from spica.hardware.cost_model.statistics import Statistics
from spica.hardware.cost_model.units import event_cycles
from spica.hardware.simulate import MappedNetwork

FAMILIES = {
    "akidanet_imagenet_25": "AkidaNet 0.25", "akidanet_imagenet_50": "AkidaNet 0.5",
    "akidanet_imagenet_100": "AkidaNet 1.0", "akidanet_vww": "VWW", "akidanet_plant": "PlantVillage",
    "ds_cnn": "keywords", "arrhythmia": "ECG", "yolov2": "YOLOv2", "bearing": "bearing", "sweep": "sweep",
}  # fmt: skip
"""Families of rows by the start of their networks' names."""

RESULTS = Path(__file__).parent / "results" / "left_out.json"
AKD1500 = load_device("AKD1500")
SWEEP = [(float(d), 679_844 * d + 25_577) for d in np.arange(0.1, 1.01, 0.1)]
"""Density and cycles of a 3x3 convolution, 32x32x32 to 32 filters: the vendor's line through its measurements."""

SMALL = ("keywords", "ECG")
"""Families of small networks, which are reported apart."""

TIME = ("kernel3_cycles", "run_events", "output_cycles", "band_imbalance")
ENERGY = ("sop_pj", "input_unit_pj", "reload_pj", "large_kernel_factor")
"""Figures that are fitted; ``weight_pj`` keeps its measured relation to ``sop_pj``."""


def family(name: str) -> str:
    """Return the family of a network."""
    return next(words for start, words in FAMILIES.items() if name.startswith(start))


@dataclass(frozen=True, eq=False)
class LayerRow:
    """A measured layer of a mapped network."""

    network: str
    layer: str
    kind: str  # "conv", "sep", "input" or "fc"
    place: int  # its place among the layers of the mapping
    cycles: float  # measured
    chip: MappedNetwork
    given: dict[str, float]  # share of non-zero values that each layer receives
    printed: bool  # in a table; else read off a picture, to some percent of its largest layer

    @property
    def family(self) -> str:
        return family(self.network)

    @property
    def is_convolution(self) -> bool:
        """Whether it runs on NPs as events."""
        return self.kind in ("conv", "sep")

    @property
    def is_sparse(self) -> bool:
        """Whether so few values are events that these cluster, which independent densities do not tell."""
        return self.given.get(self.chip.placements[self.place].layer, 1.0) < SPARSE

    def modelled(self, cost: Statistics) -> float:
        """Return its modelled cycles; a layer of a later pass was measured with the load of its own weights."""
        place, device = self.chip.placements[self.place], cost.device
        load = place.weight_bytes * device.reload_cycles + len(place.nps) * device.reload_np_cycles
        return cost.layers[self.place].cycles + (load if place.pass_index else 0.0)


@dataclass(frozen=True, eq=False)
class NetworkRow:
    """A measured network in one mode of mapping."""

    network: str
    mode: str
    sparsity: str  # "published" layer by layer, "scaled" or "uniform"
    nps: int  # published, the input-convolution unit among them
    passes: int
    cycles: float
    dynamic_mj: float
    total_mj: float | None
    chip: MappedNetwork
    given: dict[str, float]

    @property
    def family(self) -> str:
        return family(self.network)

    @property
    def mapped_as_published(self) -> bool:
        return (self.chip.nps + 1, self.chip.passes) == (self.nps, self.passes)


@cache
def layer_rows() -> tuple[LayerRow, ...]:
    """Return every measured layer."""
    return tuple(_layer_rows())


def _layer_rows() -> Iterator[LayerRow]:
    rows = published.read("layers.csv")
    for model in dict.fromkeys(r["model"] for r in rows):
        name = model.replace("imagenet_a", "akidanet_imagenet_")
        net = published.build(name)
        given, _ = published.densities(name, net, 0)
        chip = map_network(net, AKD1500)
        for i, r in enumerate(r for r in rows if r["model"] == model):
            assert max(len(chip.placements[i].nps), 1) == int(r["nps"]), (model, r["layer"])
            cycles = float(r["latency_ms"]) * AKD1500.cycles_per_ms
            printed = r["source"].startswith("printed")
            yield LayerRow(name, r["layer"], r["type"], i, cycles, chip, given, printed)
    net = published.network((32, 32, 32), published.separable(32), published.conv(32), bits=4)
    chip = map_network(net, AKD1500)
    for density, cycles in SWEEP:
        given = dict.fromkeys((layer.name for layer in net), density)
        yield LayerRow("sweep", f"density {density:.1f}", "conv", 1, cycles, chip, given, True)


@cache
def network_rows() -> tuple[NetworkRow, ...]:
    """Return every measured network."""
    nets: dict[str, Any] = {}
    found = []
    for r in published.read("networks.csv"):
        name = r["network"]
        net = nets.setdefault(name, published.build(name))
        given, how = published.densities(name, net, float(r["mean_sparsity"]))
        chip = map_network(net, AKD1500, mode=r["mode"])
        measured = (float(r["cycles"]), float(r["dynamic_mj"]), float(r["total_mj"]) if r["total_mj"] else None)
        found.append(NetworkRow(name, r["mode"], how, int(r["nps"]), int(r["passes"]), *measured, chip, given))
    return tuple(found)


def estimate(row: LayerRow | NetworkRow, device: Device) -> Statistics:
    """Return a row's cost on a device with the mapping that it has."""
    mapped = MappedNetwork(row.chip.network, device, row.chip.placements, row.chip.mode)
    return mapped.estimate(row.given)


def in_band(value: float, modelled: float, factors: tuple[float, float]) -> bool:
    """Return whether a measured value lies in the band of a modelled one."""
    return modelled * factors[0] <= value <= modelled * factors[1]


def layer_errors(rows: Sequence[LayerRow], device: Device) -> list[float]:
    """Return the relative error of each layer's cycles."""
    costs: dict[int, Statistics] = {}
    for row in rows:
        if id(row.given) not in costs:
            costs[id(row.given)] = estimate(row, device)
    return [row.modelled(costs[id(row.given)]) / row.cycles - 1 for row in rows]


def energy_errors(rows: Sequence[NetworkRow], device: Device) -> list[float]:
    """Return the relative error of each network's dynamic energy."""
    return [estimate(row, device).dynamic_energy_uj * 1e-3 / row.dynamic_mj - 1 for row in rows]


def vary(device: Device, values: dict[str, float]) -> Device:
    """Return a device with other figures, as sure of them as it was."""
    if "sop_pj" in values:
        values = values | {"weight_pj": device.weight_pj * values["sop_pj"] / device.sop_pj}
    return replace(device, **values)


def fit(names: Sequence[str], errors: Callable[[Device], list[float]], start: Device = AKD1500) -> Device:
    """Return the device whose figures ``names`` make relative errors small, robust to single rows (Gauss-Newton)."""
    values = np.array([getattr(start, name) for name in names])
    for _ in range(4):
        here = np.array(errors(vary(start, dict(zip(names, values)))))
        steps = []
        for i in range(len(names)):
            moved = values.copy()
            moved[i] *= 1.02
            steps.append((np.array(errors(vary(start, dict(zip(names, moved))))) - here) / (0.02 * values[i]))
        weights = 1 / np.sqrt(np.maximum(np.abs(here), 0.01))
        change, *_ = np.linalg.lstsq(np.stack(steps, axis=1) * weights[:, None], -here * weights, rcond=None)
        values = np.maximum(values + change, 0.1 * values)
    return vary(start, dict(zip(names, values)))


@cache
def fitted(without: str = "") -> Device:
    """Return the device fitted to all rows but one family's."""
    convolutions = [r for r in layer_rows() if r.is_convolution and not r.is_sparse and r.family != without]
    device = fit(TIME, lambda d: layer_errors(convolutions, d))
    networks = [r for r in network_rows() if r.family != without]
    names = [name for name in ENERGY if name != "large_kernel_factor" or without != "ECG"]
    return fit(names, lambda d: energy_errors(networks, d), device)


# -- what is counted, with each family left out ------------------------------------------------------------------------


def layer_results() -> Iterator[dict[str, Any]]:
    """Yield what the law says of every layer when it was fitted without the layer's family."""
    for name in dict.fromkeys(row.family for row in layer_rows()):
        rows = [row for row in layer_rows() if row.family == name]
        for row, error in zip(rows, layer_errors(rows, fitted(name))):
            place = row.chip.placements[row.place]
            band = estimate(row, fitted(name)).confidence.layers[place.layer]
            yield {
                "network": row.network, "layer": row.layer, "family": name, "kind": row.kind, "printed": row.printed,
                "bands": len(place.bands), "sparse": row.is_sparse, "measured": row.cycles, "error": error,
                "band": list(band), "inside": in_band(1, 1 + error, band),
            }  # fmt: skip


def network_results() -> Iterator[dict[str, Any]]:
    """Yield what the law says of every network when it was fitted without the network's family."""
    for row in network_rows():
        cost = estimate(row, fitted(row.family))
        measured = {"cycles": row.cycles, "dynamic": row.dynamic_mj * 1e3, "total": row.total_mj}
        modelled = {"cycles": cost.cycles, "dynamic": cost.dynamic_energy_uj, "total": cost.power.energy_mj}
        bands = {
            "cycles": cost.band("cycles"),
            "dynamic": cost.band("dynamic_energy_uj"),
            "total": cost.power.bands["energy_mj"],
        }
        figures = {
            name: {"error": modelled[name] / value - 1, "inside": bands[name][0] <= value <= bands[name][1]}
            for name, value in measured.items()
            if value is not None
        }
        yield {
            "network": row.network, "mode": row.mode, "family": row.family, "sparsity": row.sparsity,
            "tier": cost.confidence.tier, "measured": row.cycles, "modelled": cost.cycles,
            "nps": [row.nps, row.chip.nps + 1], "passes": [row.passes, row.chip.passes], **figures,
        }  # fmt: skip


def single_layers() -> Iterator[dict[str, Any]]:
    """Yield the measured slopes of kernels and energies of a layer, and the catalogue's."""
    for r in published.read("kernels.csv"):
        make = published.separable if r["type"] == "separable" else published.conv
        spec = specs(published.network((32, 32, 32), make(32, int(r["kernel"])), bits=4))["layer_1"]
        modelled = event_cycles(AKD1500, spec)
        what = f"{r['type']} {r['kernel']}x{r['kernel']}: cycles of an event and filter"
        yield {"what": what, "measured": float(r["cycles"]), "modelled": modelled}
    for r in published.read("weights.csv"):
        sops = float(r["density"]) * 32**3 * 9 * 32
        modelled = sops * (AKD1500.sop_pj + AKD1500.weight_pj * float(r["nonzero_weights"])) * 1e-6
        what = f"3x3, density {r['density']}, {float(r['nonzero_weights']):.0%} of weights not zero: microjoules"
        yield {"what": what, "measured": float(r["energy_uj"]), "modelled": modelled}


def main() -> None:
    """Write the results."""
    everything = fitted()
    results = {
        "fit": {
            name: {"fit": float(getattr(everything, name)), "catalogue": getattr(AKD1500, name)}
            for name in TIME + ENERGY
        },
        "layers": list(layer_results()),
        "networks": list(network_results()),
        "single layers": list(single_layers()),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rounded(results), indent=1) + "\n")


def rounded(value: Any) -> Any:
    """Return plain data in four digits, which no processor's rounding changes."""
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
