"""A device as data: its figures, its rules, where each comes from, and variants of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from spica.errors import SpicaError
from spica.hardware.device.rules import Rule
from spica.util.arguments import check_integer, check_number
from spica.util.cached import cached_property
from spica.util.renamed import renamed
from spica.util.table import table

TIERS = ("calibrated", "interpolated", "transferred", "speculative")
"""Degrees of confidence in a device's figures of time and energy, best first."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """A neural processor: its size, its memories, what it costs to run, and what it asks of layers.

    All fields are keys of a device file; numbers are its figures (``FIGURES``). Cycles are those of its own clock,
    energies are in pJ.
    """

    name: str
    description: str  # one line
    generation: int  # 1 or 2
    tier: str  # one of TIERS: how the figures of time and energy were obtained

    # Size
    nodes: int  # in the mesh
    nps_per_node: int  # neural processors (NPs) in a node
    mesh_columns: int  # nodes in a row of the mesh
    clock_mhz: float
    max_passes: int  # most passes in which a network may run, its weights loaded anew for each; 1: it must fit whole
    usual_passes: int  # passes to which the fastest mode limits itself, unless the network needs more
    max_chips: int  # most devices that may share a network

    # Memories of an NP
    input_memory_bytes: int  # for the input rows of its band
    weight_memory_bytes: int  # for the weights of its filters
    scratchpad_step_bytes: int  # step in which memory can be moved between the two; their sum if it cannot
    max_band_rows: int  # most input rows in a band, halo apart

    # Cycles (cost_model/units.py)
    products_per_cycle: float  # products of an event, a filter and a kernel tap that an NP makes a cycle
    row_cycles: float  # for each non-empty row of a channel, kernel tap and filter
    event_cycles: float  # of an event apart from its products
    output_cycles: float  # for each value that an NP makes, whose potential is looked at once
    layer_cycles: float  # of a layer without events
    input_unit_filters: int  # filters that the input-convolution unit computes together
    input_unit_cycles: float  # of that unit for each product of its filters together
    dense_cycles: float  # a weight of a fully connected layer
    dense_start_cycles: float  # of such a layer beside its weights
    external_dense_cycles: float  # the same two where an NP cannot hold the weights
    external_dense_start_cycles: float
    reload_cycles: float  # to load a byte of weights, where a network runs in several passes
    host_ms: float  # milliseconds that the host adds to each sample that it sends alone
    host_input_ns: float  # nanoseconds that it adds for each byte of the sample
    host_reload_ns: float  # nanoseconds that it adds for each byte of weights loaded
    link_events: float  # events that a link of the mesh carries a cycle
    chip_link_events: float  # events that the link between two devices carries a cycle
    cycles_error: float  # relative error of cycles, 90 % of cases, near what was fitted
    far_cycles_error: float  # and far from it

    # Energy
    sop_pj: float  # of a synapse operation, kernels up to 3x3, 4-bit weights
    large_kernel_sop_pj: float  # of one with a larger kernel
    weight_energy_share: float  # share of it that grows with the bits of the weight
    input_unit_pj: float  # of a multiply-accumulate in the input-convolution unit
    dense_pj: float  # of a multiply-accumulate in a fully connected layer
    reload_pj: float  # of a byte of weights loaded
    hop_pj: float  # of an event over one link of the mesh, where sop_pj does not hold it already
    chip_link_pj: float  # of an event between two devices
    static_mw: float  # power that flows whether or not there are events
    energy_factor: float  # energies lie between value / factor and value x factor, 90 % of cases, near what was fitted
    far_energy_factor: float  # and far from it

    # Layers (device/rules.py)
    np_kinds: Mapping[str, str]  # kinds of processors and units, and what each takes, with its source; for people
    rules: tuple[Rule, ...]  # what is asked of layers
    auxiliary: Mapping[str, str]  # op types that units beside the NPs compute, each with its source
    unsupported: Mapping[str, str]  # what to do about op types that the device lacks
    after_max_pool: tuple[str, ...]  # op types that may read what a (separable) convolution max-pooled; empty: any
    tables_after: tuple[str, ...]  # op types whose output may go through a look-up table

    sources: Mapping[str, str]  # where each figure comes from, or "assumed"

    kinds, beside = renamed("op_types"), renamed("auxiliary")

    def __post_init__(self) -> None:
        if self.tier not in TIERS:
            raise SpicaError(f"{self.name}: tier is {self.tier!r}; choose from {', '.join(TIERS)}")
        for name, kind in FIGURES.items():
            integers = kind == "int"
            least = 0 if name in MAY_BE_ZERO else 1 if integers else SMALLEST_FIGURE
            check: Any = check_integer if integers else check_number
            check(f"{self.name}: {name}", getattr(self, name), least, LARGEST_FIGURES.get(name, LARGEST_FIGURE))
        ways = (self.input_memory_bytes + self.weight_memory_bytes) // self.scratchpad_step_bytes
        if ways > MOST_SPLITS:
            raise SpicaError(
                f"{self.name}: scratchpad_step_bytes is {self.scratchpad_step_bytes}, which splits memory in {ways:,} "
                f"ways, but {MOST_SPLITS:,} are the most"
            )
        if min(self.energy_factor, self.far_energy_factor) < 1 or max(self.cycles_error, self.far_cycles_error) >= 1:
            raise SpicaError(f"{self.name}: energy_factor must be at least 1 and cycles_error below 1, far ones too")

    @property
    def nps(self) -> int:
        """NPs in the mesh; the input-convolution unit is beside them."""
        return self.nodes * self.nps_per_node

    @property
    def cycles_per_ms(self) -> float:
        """Clock cycles in a millisecond."""
        return self.clock_mhz * 1e3

    @cached_property
    def op_types(self) -> frozenset[str]:
        """Op types that the device computes, on NPs or in auxiliary units."""
        return frozenset((*(rule.op_type for rule in self.rules), *self.auxiliary))

    def __str__(self) -> str:
        rows = [("figure", "value", "source")]
        rows += [(name, f"{getattr(self, name):,}", self.sources[name]) for name in FIGURES]
        rows += [("processors", "", ""), *((name, "", text) for name, text in self.np_kinds.items())]
        return f"{self.name}: {self.description}; estimates are {self.tier}\n" + table(rows, left=3)

    def replace(self, **changes: Any) -> Device:
        """Return the device with some figures changed: an imagined one, whose estimates are speculative.

        Raises:
            SpicaError: for a name that is not a figure, or a value that none can have.
        """
        if unknown := changes.keys() - {*FIGURES, "name", "description"}:
            raise SpicaError(
                f"{self.name}: {min(unknown)!r} is not a figure of a device; choose from {', '.join(FIGURES)}"
            )
        changes = {name: value.item() if isinstance(value, np.generic) else value for name, value in changes.items()}
        changed = dict.fromkeys(changes.keys() & FIGURES, "assumed: given by the user")
        return dataclasses.replace(self, **changes, tier=TIERS[-1], sources={**self.sources, **changed})


FIGURES = {f.name: str(f.type) for f in fields(Device) if f.type in ("int", "float")}
"""The numbers that a device file gives, and whether each is an "int" or a "float"."""

MAY_BE_ZERO = frozenset(("row_cycles", "event_cycles", "output_cycles", "host_ms", "host_input_ns", "host_reload_ns"))
MAY_BE_ZERO |= {"weight_energy_share", "hop_pj", "chip_link_pj", "reload_pj"}

SMALLEST_FIGURE, LARGEST_FIGURE = 1e-9, 10**15
LARGEST_FIGURES = dict.fromkeys(("nodes", "mesh_columns", "max_passes", "usual_passes", "max_chips"), 1 << 12)
LARGEST_FIGURES |= {"nps_per_node": 1 << 8, "input_memory_bytes": 1 << 30, "weight_memory_bytes": 1 << 30}
"""Bounds that no device comes near; beyond them a file is wrong, and mapping to it would take for ever."""

MOST_SPLITS = 1 << 14
"""Ways to split an NP's memory that are worth a search."""
