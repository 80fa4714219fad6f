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
    row_overhead_bytes: int  # that a row of an image takes beside its values
    filter_overhead_bytes: int  # that a filter takes beside its weights
    scratchpad_step_bytes: int  # step in which memory can be moved between the two; their sum if it cannot
    max_band_rows: int  # most input rows in a band, halo apart

    # Cycles (cost_model/units.py)
    kernel1_cycles: float  # of an event in each filter, kernel 1x1
    kernel3_cycles: float  # the same, 3x3, separable ones too
    kernel5_cycles: float  # the same, 5x5
    kernel7_cycles: float  # the same, 7x7
    separable5_cycles: float  # the same, 5x5 of a separable convolution
    depthwise_cycles: float  # of an event for each tap of a depthwise kernel
    run_events: float  # events that a row of a channel costs as much as, if it holds any
    band_imbalance: float  # by how much the busiest of several bands exceeds the mean, a natural logarithm of bands
    filter_step: int  # filters that an NP computes together: those of a group are rounded up to a multiple
    output_cycles: float  # for each value that an NP makes, whose potential is looked at once
    input_row_cycles: float  # for each input row and filter
    event_cycles: float  # of an event whatever the filters, where a kernel has several taps
    weight_cycles: float  # for each weight that an NP has, whatever the events
    layer_cycles: float  # of a layer without events
    input_unit_filters: int  # filters that the input-convolution unit computes together
    input_unit_cycles: float  # of that unit for each pixel of these filters
    dense_cycles: float  # of an event and filter of a fully connected layer
    dense_start_cycles: float  # of such a layer beside its events
    external_dense_cycles: float  # of a weight of a fully connected layer that is read from external memory
    external_dense_filter_cycles: float  # of each filter of such a layer beside its weights
    reload_cycles: float  # to load a byte of weights of a pass after the first
    reload_np_cycles: float  # and for each NP that they go to
    host_ms: float  # milliseconds that the host adds to each sample that it sends alone
    host_input_ns: float  # nanoseconds that it adds for each byte of the sample
    host_reload_ns: float  # nanoseconds that it adds for each byte of weights of the first of several passes
    link_events: float  # events that a link of the mesh carries a cycle
    chip_link_events: float  # events that the link between two devices carries a cycle
    cycles_error: float  # relative error of a network's cycles, near what was measured
    far_cycles_error: float  # and far from it
    small_cycles_low: float  # least that a small network takes of its modelled cycles
    small_cycles_high: float  # and most
    layer_error: float  # relative error of a layer's cycles, in one band of rows and near what was measured
    far_layer_error: float  # and of other layers

    # Energy
    sop_pj: float  # of a synapse operation whatever its weight, kernels up to 3x3
    weight_pj: float  # of one beside that, whose weight is not zero
    large_kernel_factor: float  # by which operations of a larger kernel take more
    weight_energy_share: float  # share of both that grows with the bits of the weight, from 4
    input_unit_pj: float  # of a value that the input-convolution unit makes
    dense_pj: float  # of a synapse operation in a fully connected layer
    reload_pj: float  # of a byte of weights loaded
    hop_pj: float  # of an event over one link of the mesh, where sop_pj does not hold it already
    chip_link_pj: float  # of an event between two devices
    static_mw: float  # power of the chip whether or not there are events
    board_mw: float  # power of what else is on its board and shown by the same meter
    board_mw_per_mhz: float  # and for each MHz of the chip's clock
    static_error: float  # relative error of the chip's static power
    floor_error: float  # relative error of what a meter on its board shows without any event
    energy_factor: float  # dynamic energy lies between value / factor and value x factor, near what was measured
    far_energy_factor: float  # and far from it
    small_energy_factor: float  # and of small networks

    # Layers (device/rules.py)
    np_kinds: Mapping[str, str]  # kinds of processors and units, and what each takes, with its source; for people
    rules: tuple[Rule, ...]  # what is asked of layers
    auxiliary: Mapping[str, str]  # op types that units beside the NPs compute, each with its source
    unsupported: Mapping[str, str]  # what to do about op types that the device lacks
    after_max_pool: tuple[str, ...]  # op types that may read what a (separable) convolution max-pooled; empty: any
    tables_after: tuple[str, ...]  # op types whose output may go through a look-up table

    sources: Mapping[str, str]  # where each figure comes from, or "assumed"
    base: str = ""  # name of the device that it extends
    inherited: tuple[str, ...] = ()  # figures that are that device's

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
        for name in ERRORS:
            error, limit = getattr(self, name), "below 1" if name.endswith("_error") else "at least 1"
            if name == "small_cycles_low":
                error, limit = 1 / error, "at most 1"
            if error >= 1 if limit == "below 1" else error < 1:
                raise SpicaError(f"{self.name}: {name} is {getattr(self, name)}, but must be {limit}")

    @property
    def nps(self) -> int:
        """NPs in the mesh; the input-convolution unit is beside them."""
        return self.nodes * self.nps_per_node

    @property
    def floor_mw(self) -> float:
        """Milliwatts that a meter on its board shows without any event."""
        return self.static_mw + self.board_mw + self.board_mw_per_mhz * self.clock_mhz

    @property
    def counted(self) -> bool:
        """Whether its bands hold 90 % of what was measured on it, counted on rows that were not fitted."""
        return self.tier == TIERS[0]

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
        given = dict.fromkeys(changes.keys() & FIGURES, "assumed: given by the user")
        base = self.base if self.tier == TIERS[-1] and self.base else self.name
        return self.speculate(given, base, **changes)

    def speculate(self, given: Mapping[str, str], base: str, **changes: Any) -> Device:
        """Return the device as one that nobody has measured: with wide ranges, and a list of what it inherits.

        Args:
            given: sources of the figures that are its own.
            base: name of the device that the others come from.
            changes: fields that are its own.
        """
        wide = {name: pick(getattr(self, name), value) for name, (pick, value) in WIDEST.items() if name not in given}
        sources = {**self.sources, **given, **dict.fromkeys(wide, "assumed: nobody has measured this device")}
        before = self.inherited if self.base == base else FIGURES
        inherited = tuple(name for name in before if name not in {*given, *wide})
        fields = {"tier": TIERS[-1], "sources": sources, "base": base, "inherited": inherited}
        return dataclasses.replace(self, **(wide | fields | changes))


FIGURES = {f.name: str(f.type) for f in fields(Device) if f.type in ("int", "float")}
"""The numbers that a device file gives, and whether each is an "int" or a "float"."""

WIDEST: dict[str, tuple[Any, float]] = {
    "cycles_error": (max, 0.5), "far_cycles_error": (max, 0.6),
    "layer_error": (max, 0.5), "far_layer_error": (max, 0.6), "small_cycles_low": (min, 0.4),
    "small_cycles_high": (max, 1.6), "static_error": (max, 0.5), "floor_error": (max, 0.5),
    "energy_factor": (max, 3.0), "far_energy_factor": (max, 4.0), "small_energy_factor": (max, 4.0),
}  # fmt: skip
"""What is assumed of the errors of a device that nobody has measured, unless its own are worse."""

ERRORS = tuple(WIDEST)
"""The figures that say how far others err."""

MAY_BE_ZERO = frozenset(("row_overhead_bytes", "filter_overhead_bytes"))
MAY_BE_ZERO |= {"run_events", "band_imbalance", "event_cycles", "output_cycles", "input_row_cycles"}
MAY_BE_ZERO |= {"weight_cycles", "external_dense_filter_cycles", "reload_np_cycles", "weight_pj"}
MAY_BE_ZERO |= {"host_ms", "host_input_ns", "host_reload_ns", "board_mw", "board_mw_per_mhz"}
MAY_BE_ZERO |= {"weight_energy_share", "hop_pj", "chip_link_pj", "reload_pj"}

SMALLEST_FIGURE, LARGEST_FIGURE = 1e-9, 10**15
LARGEST_FIGURES = dict.fromkeys(("nodes", "mesh_columns", "max_passes", "usual_passes", "max_chips"), 1 << 12)
LARGEST_FIGURES |= {"nps_per_node": 1 << 8, "input_memory_bytes": 1 << 30, "weight_memory_bytes": 1 << 30}
"""Bounds that no device comes near; beyond them a file is wrong, and mapping to it would take for ever."""

MOST_SPLITS = 1 << 14
"""Ways to split an NP's memory that are worth a search."""
