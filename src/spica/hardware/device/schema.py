"""A device as data: its figures, its rules, where each comes from, and variants of it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from spica.errors import SpicaError
from spica.hardware.device.rules import Rule
from spica.util.renamed import renamed
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
        auxiliary: op types that units beside the NPs compute, each with its source.
        unsupported: what to do about op types that the device lacks.
        after_max_pool: op types that may read what a (separable) convolution max-pooled; empty: any.
        tables_after: op types whose output may go through a look-up table.
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
    auxiliary: Mapping[str, str]
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

    @cached_property
    def op_types(self) -> frozenset[str]:
        """Op types that the device computes, on NPs or in auxiliary units."""
        return frozenset((*(rule.op_type for rule in self.rules), *self.auxiliary))

    kinds, beside = renamed("op_types"), renamed("auxiliary")

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("figure", "value", "source")]
        rows += [(name, f"{getattr(self, name):,}", self.sources[name]) for name in FIGURES]
        kinds = [("processors", "", ""), *((name, "", text) for name, text in self.np_kinds.items())]
        return f"{self.name}: {self.description}; estimates are {self.tier}\n" + table([*rows, *kinds], left=3)

    def replace(self, **changes: Any) -> Device:
        """Return the device with some figures changed: an imagined one, whose estimates are speculative.

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


MAY_BE_ZERO = frozenset(("row_cycles", "event_cycles", "output_cycles", "host_ms", "host_input_ns", "host_reload_ns"))
MAY_BE_ZERO |= {"weight_energy_share", "hop_pj", "chip_link_pj", "reload_pj"}

FIGURES = {f.name: str(f.type) for f in fields(Device) if f.type in ("int", "float")}
"""The numbers that a device file gives, and whether each is an "int" or a "float"."""
