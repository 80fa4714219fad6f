"""Devices as data: read from the catalogue or from a file of the user's, checked, and varied."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from spica.errors import SpicaError
from spica.hardware.device.rules import KINDS, Rule, parse_rule
from spica.util.table import table

TIERS = ("calibrated", "interpolated", "transferred", "speculative")
"""How far a device's figures of time and energy can be trusted, best first."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A neural processor: its size, its memories, what it costs to run, and what it asks of layers.

    Attributes:
        name: what users call it.
        description: one line.
        generation: 1 or 2.
        tier: one of ``TIERS``: how the figures of time and energy were obtained.
        nodes: nodes in the mesh.
        nps_per_node: neural processors (NPs) in a node.
        mesh_columns: nodes in a row of the mesh.
        clock_mhz: clock in MHz.
        max_passes: most passes in which a network may run, its weights loaded anew for each; 1: it must fit whole.
        usual_passes: passes to which the fastest mode limits itself, unless the network needs more.
        max_chips: most devices that may share a network.
        input_memory_bytes: bytes an NP has for the input rows of its band.
        weight_memory_bytes: bytes an NP has for the weights of its filters.
        scratchpad_step_bytes: step in which memory can be moved between the two; their sum if it cannot.
        max_band_rows: most input rows in a band, halo apart.
        products_per_cycle: products of an event, a filter and a kernel tap that an NP makes a cycle.
        row_cycles: cycles for each non-empty row of a channel, kernel tap and filter.
        event_cycles: cycles of an event apart from its products.
        output_cycles: cycles for each value that an NP makes, whose potential is looked at once.
        layer_cycles: cycles of a layer without events.
        input_unit_filters: filters that the input-convolution unit computes together.
        input_unit_cycles: cycles of that unit for each product of its filters together.
        dense_cycles, dense_start_cycles: cycles a weight of a fully connected layer, and beside its weights.
        external_dense_cycles, external_dense_start_cycles: the same where an NP cannot hold the weights.
        reload_cycles: cycles to load a byte of weights, where a network runs in several passes.
        host_ms: milliseconds that the host adds to each sample that it sends alone.
        host_input_ns: nanoseconds that it adds for each byte of the sample.
        host_reload_ns: nanoseconds that it adds for each byte of weights loaded.
        link_events: events that a link of the mesh carries a cycle.
        chip_link_events: events that the link between two devices carries a cycle.
        cycles_error, far_cycles_error: relative error of cycles, 90 % of cases; near and far from what was fitted.
        sop_pj: energy of a synapse operation (pJ), kernels up to 3x3, 4-bit weights.
        large_kernel_sop_pj: the same for larger kernels.
        weight_energy_share: share of it that grows with the bits of the weight.
        input_unit_pj, dense_pj: energy (pJ) of a multiply-accumulate there.
        reload_pj: energy (pJ) of a byte of weights loaded.
        hop_pj: energy (pJ) of an event over one link of the mesh, where ``sop_pj`` does not hold it already.
        chip_link_pj: energy (pJ) of an event between two devices.
        static_mw: power (mW) that flows whether or not there are events.
        energy_factor, far_energy_factor: energies lie between value / factor and value x factor, 90 % of cases.
        np_kinds: kinds of processors and units, and what each takes, with its source; for people.
        rules: what is asked of layers.
        beside: kinds of layers that are computed beside the NPs, each with its source.
        unsupported: what to do about kinds of layers that the device lacks, by kind.
        after_max_pool: kinds of layers that may read what a (separable) convolution max-pooled; empty: any.
        tables_after: kinds of layers whose output may go through a look-up table.
        sources: where each figure comes from, or "assumed".
    """

    name: str
    description: str
    generation: int
    tier: str
    nodes: int
    nps_per_node: int
    mesh_columns: int
    clock_mhz: float
    max_passes: int
    usual_passes: int
    max_chips: int
    input_memory_bytes: int
    weight_memory_bytes: int
    scratchpad_step_bytes: int
    max_band_rows: int
    products_per_cycle: float
    row_cycles: float
    event_cycles: float
    output_cycles: float
    layer_cycles: float
    input_unit_filters: int
    input_unit_cycles: float
    dense_cycles: float
    dense_start_cycles: float
    external_dense_cycles: float
    external_dense_start_cycles: float
    reload_cycles: float
    host_ms: float
    host_input_ns: float
    host_reload_ns: float
    link_events: float
    chip_link_events: float
    cycles_error: float
    far_cycles_error: float
    sop_pj: float
    large_kernel_sop_pj: float
    weight_energy_share: float
    input_unit_pj: float
    dense_pj: float
    reload_pj: float
    hop_pj: float
    chip_link_pj: float
    static_mw: float
    energy_factor: float
    far_energy_factor: float
    np_kinds: Mapping[str, str]
    rules: tuple[Rule, ...]
    beside: Mapping[str, str]
    unsupported: Mapping[str, str]
    after_max_pool: tuple[str, ...]
    tables_after: tuple[str, ...]
    sources: Mapping[str, str]

    def __post_init__(self) -> None:
        if self.tier not in TIERS:
            raise SpicaError(f"{self.name}: tier is {self.tier!r}; choose from {', '.join(TIERS)}")
        for name, kind in FIGURES.items():
            value = getattr(self, name)
            numeric = type(value) is int or (kind == "float" and type(value) is float)
            if not (numeric and math.isfinite(value) and (value > 0 or (value == 0 and name in MAY_BE_ZERO))):
                raise SpicaError(
                    f"{self.name}: {name} is {value!r}, but must be a positive "
                    f"{'integer' if kind == 'int' else 'number'}"
                )
        if min(self.energy_factor, self.far_energy_factor) < 1 or max(self.cycles_error, self.far_cycles_error) >= 1:
            raise SpicaError(f"{self.name}: energy_factor must be at least 1 and cycles_error below 1, far ones too")

    @property
    def nps(self) -> int:
        """NPs in the mesh; the input-convolution unit is beside them."""
        return self.nodes * self.nps_per_node

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds of layers that the device computes, on NPs or beside them."""
        return frozenset((*(rule.kind for rule in self.rules), *self.beside))

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("figure", "value", "source")]
        rows += [(name, f"{getattr(self, name):,}", self.sources[name]) for name in FIGURES]
        kinds = [("processors", "", ""), *((name, "", text) for name, text in self.np_kinds.items())]
        return f"{self.name}: {self.description}; estimates are {self.tier}\n" + table([*rows, *kinds], left=3)

    def replace(self, **changes: Any) -> Device:
        """The device with some figures changed: an imagined one, whose estimates are speculative.

        Raises:
            SpicaError: for a name that is not a figure, or a value that none can have.
        """
        if unknown := [name for name in changes if name not in (*FIGURES, "name", "description")]:
            raise SpicaError(
                f"{self.name}: {unknown[0]!r} is not a figure of a device; choose from {', '.join(FIGURES)}"
            )
        changes = {name: value.item() if isinstance(value, np.generic) else value for name, value in changes.items()}
        changed = {name: "assumed: given by the user" for name in changes if name in FIGURES}
        return dataclasses.replace(self, **changes, tier=TIERS[-1], sources={**self.sources, **changed})


MAY_BE_ZERO = {
    "row_cycles",
    "event_cycles",
    "output_cycles",
    "host_ms",
    "host_input_ns",
    "host_reload_ns",
    "weight_energy_share",
    "hop_pj",
    "chip_link_pj",
    "reload_pj",
}

FIGURES = {f.name: str(f.type) for f in fields(Device) if f.type in ("int", "float")}
"""The numbers that a device file gives, and whether each is an "int" or a "float"."""


def device_names() -> list[str]:
    """Names of the devices in the catalogue."""
    return sorted(_catalogue())


def load_device(device: str | PathLike[str] | Device) -> Device:
    """A device by its name in the catalogue or the path of a TOML file; a ``Device`` is returned as it is.

    Raises:
        SpicaError: where there is no such device, or its file is wrong; it says which key.
    """
    if isinstance(device, Device):
        return device
    name = str(device)
    if entry := _catalogue().get(name.upper()):
        return _parse(name.upper(), entry.read_text("utf-8"))
    if not name.endswith(".toml"):
        raise SpicaError(f"device {name!r} is unknown; choose from {', '.join(device_names())}, or give a .toml file")
    try:
        return _parse(name, Path(device).read_text("utf-8"))
    except OSError as error:
        raise SpicaError(f"{name}: cannot be read ({error.strerror}); check the path") from None
    except UnicodeDecodeError:
        raise SpicaError(f"{name}: not a text file; give a TOML file") from None


def _catalogue() -> dict[str, Any]:
    """The catalogue's files by the names of their devices."""
    entries = resources.files("spica.hardware.device").joinpath("catalog").iterdir()
    return {e.name.removesuffix(".toml").upper(): e for e in entries if e.name.endswith(".toml")}


def _parse(where: str, text: str) -> Device:
    """The device that a TOML file's text describes; what it lacks is taken from the device it is ``like``."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SpicaError(f"{where}: not TOML ({error}); correct the file") from None
    known: dict[str, type] = {
        "name": str,
        "like": str,
        "description": str,
        "tier": str,
        "figures": dict,
        "np_kinds": dict,
        "beside": dict,
        "unsupported": dict,
        "order": dict,
        "rule": list,
        "further_rule": list,
    }
    for key, value in table.items():
        if key not in known:
            raise SpicaError(f"{where}: {key}: not a key of a device file; choose from {', '.join(known)}")
        if not isinstance(value, known[key]):
            raise SpicaError(f"{where}: {key}: must be a {known[key].__name__}, but is {value!r:.40}")
    parts = _inherited(where, table.pop("like", None))
    parts |= {key: table[key] for key in ("name", "description", "tier") if key in table}
    figures, sources = _parse_figures(where, table.get("figures", {}))
    parts |= figures
    parts["sources"] = {**parts.get("sources", {}), **sources}
    if "rule" in table:
        parts["rules"] = _parse_rules(f"{where}: rule", table["rule"])
    if "further_rule" in table:
        parts["rules"] = (*parts.get("rules", ()), *_parse_rules(f"{where}: further_rule", table["further_rule"]))
    for key in ("np_kinds", "beside", "unsupported"):
        if key in table:
            parts[key] = _texts(f"{where}: {key}", table[key])
    if "order" in table:
        parts |= _parse_order(f"{where}: order", table["order"])
    if missing := [f.name for f in fields(Device) if f.name not in parts]:
        raise SpicaError(f"{where}: {missing[0]} is missing; give it, or name a device that this is 'like'")
    return Device(**parts)


def _parse_rules(where: str, tables: list) -> tuple[Rule, ...]:
    return tuple(parse_rule(f"{where} {i}", rule) for i, rule in enumerate(tables, start=1))


def _inherited(where: str, like: str | None) -> dict[str, Any]:
    if like is None:
        return {}
    if like.upper() not in (known := device_names()):
        raise SpicaError(f"{where}: like: device {like!r} is unknown; choose from {', '.join(known)}")
    base = load_device(like)
    return {f.name: getattr(base, f.name) for f in fields(Device)}


def _parse_figures(where: str, table: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    for key, entry in table.items():
        if key not in FIGURES:
            raise SpicaError(f"{where}: figures.{key}: not a figure of a device; choose from {', '.join(FIGURES)}")
        if not isinstance(entry, dict) or set(entry) != {"value", "source"}:
            raise SpicaError(f'{where}: figures.{key}: must be {{ value = ..., source = "..." }}')
        if not isinstance(entry["source"], str) or not entry["source"]:
            raise SpicaError(f"{where}: figures.{key}.source: must say where it comes from, or 'assumed'")
    return {key: e["value"] for key, e in table.items()}, {key: e["source"] for key, e in table.items()}


def _parse_order(where: str, table: dict[str, Any]) -> dict[str, tuple[str, ...]]:
    for key, kinds in table.items():
        if key not in ("after_max_pool", "tables_after"):
            raise SpicaError(f"{where}.{key}: not a rule of order; choose from after_max_pool, tables_after")
        if not isinstance(kinds, list) or not set(kinds) <= set(KINDS):
            raise SpicaError(f"{where}.{key}: must be a list of kinds among {', '.join(KINDS)}")
    return {key: tuple(kinds) for key, kinds in table.items()}


def _texts(where: str, table: dict[str, Any]) -> dict[str, str]:
    for key, value in table.items():
        if not isinstance(value, str):
            raise SpicaError(f"{where}.{key}: must be a line of text, but is {value!r:.40}")
    return table
