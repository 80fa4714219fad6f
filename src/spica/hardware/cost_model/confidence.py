"""Confidence in modelled figures: their tier, the reasons, and the band in which they lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import exp, hypot, log
from typing import NamedTuple

from spica.hardware.cost_model.activity import Activity
from spica.hardware.cost_model.units import FITTED_BITS, SMALL_KERNEL
from spica.hardware.device.schema import TIERS, Device
from spica.hardware.mapping.placement import Placement, Schedule
from spica.hardware.spec import OpType

SMALL_NETWORK = 1_000_000
"""Cycles below which costs that the equations leave out, such as starting a layer, are felt."""

DENSE_WEIGHTS = 0.6
"""Share of non-zero weights above which the energy of whole networks was not measured."""

FEW_FILTERS = 8
"""Filters of an NP below which cycles were not measured."""

SPARSE = 0.15
"""Density below which events cluster, so that rows of channels that hold any are fewer than expected."""


class Factors(NamedTuple):
    """A band around a figure: it lies between ``low`` and ``high`` times the modelled value."""

    low: float
    high: float

    def times(self, other: Factors) -> Factors:
        """Return the band of a product of two figures that err independently of each other."""
        return Factors(exp(-hypot(log(self.low), log(other.low))), exp(hypot(log(self.high), log(other.high))))

    def inverse(self) -> Factors:
        """Return the band of one over the figure."""
        return Factors(1 / self.high, 1 / self.low)


UNKNOWN_ACTIVITY = Factors(0.3, 1.25)
"""Band of an estimate whose densities are assumed: 94 % of the published networks, at a density of 0.5 everywhere."""


def around(error: float) -> Factors:
    """Return the band of a figure with a relative error."""
    return Factors(1 - error, 1 + error)


def within(factor: float) -> Factors:
    """Return the band of a figure that is right to a factor."""
    return Factors(1 / factor, factor)


def sum_band(*parts: tuple[float, Factors]) -> tuple[float, float]:
    """Return the band of a sum of figures, each with its own, that err independently of each other."""
    total = sum(value for value, _ in parts)
    below = hypot(*(value * (1 - factors.low) for value, factors in parts))
    above = hypot(*(value * (factors.high - 1) for value, factors in parts))
    return total - below, total + above


@dataclass(frozen=True)
class Confidence:
    """The confidence in a run's estimates."""

    tier: str  # one of TIERS
    reasons: tuple[str, ...]  # what takes the run away from the networks that were measured, in words
    counted: bool  # whether 90 % of measured networks like this one were counted to lie in the bands
    cycles: Factors  # of cycles and times
    dynamic: Factors  # of dynamic energy
    floor: Factors  # of the chip's static power
    meter: Factors  # of what a meter on its board shows without any event
    layers: Mapping[str, Factors]  # of each layer's cycles, by its name

    @property
    def band_name(self) -> str:
        """What the bands are called."""
        return "90 % band" if self.counted else "plausible range (assumed)"


def judge(schedule: Schedule, cycles: float, activity: Mapping[str, Activity]) -> Confidence:
    """Return the confidence in the estimates of a mapped network, which takes ``cycles`` in all."""
    device = schedule.device
    unknown = {place.layer: list(_unmeasured(place)) for place in schedule.placements}
    reasons = [reason for found in unknown.values() for reason in found]
    if schedule.chips > 1:
        reasons.append(f"{schedule.chips} devices, whose link is assumed")
    counted, far = device.counted and not reasons, bool(reasons)
    assumed = [name for name, seen in activity.items() if seen.assumed and name in schedule.by_layer]
    if small := cycles < SMALL_NETWORK:
        reasons.append("a small network")
    time = around(device.far_cycles_error if far else device.cycles_error)
    energy = within(device.far_energy_factor if far else device.energy_factor)
    if small:
        time = Factors(min(time.low, device.small_cycles_low), max(time.high, device.small_cycles_high))
        energy = Factors(*(pick(a, b) for pick, a, b in zip((min, max), energy, within(device.small_energy_factor))))
    if assumed:
        reasons.append("assumed activity" + (f" of {len(assumed)} layers" if len(assumed) < len(activity) else ""))
        time, energy = time.times(UNKNOWN_ACTIVITY), energy.times(UNKNOWN_ACTIVITY)
    tier = max(device.tier, "interpolated", key=TIERS.index) if reasons else device.tier
    layers = {p.layer: _layer_band(device, p, bool(unknown[p.layer]), activity[p.layer]) for p in schedule.placements}
    floors = around(device.static_error), around(device.floor_error)
    return Confidence(tier, tuple(dict.fromkeys(reasons)), counted, time, energy, *floors, layers)


def _layer_band(device: Device, place: Placement, far: bool, seen: Activity) -> Factors:
    """Return the band of one layer's cycles: layers on NPs in one band of rows are surer than others.

    So are those of many events: where few are expected, they may cluster.
    """
    sparse = not seen.counted and seen.events.sum() < SPARSE * seen.inputs * len(seen.events)
    other = place.op_type in (OpType.INPUT_CONVOLUTION, OpType.FULLY_CONNECTED)
    near = len(place.bands) == 1 and not (far or sparse or other)
    band = around(device.layer_error if near else device.far_layer_error)
    return band.times(UNKNOWN_ACTIVITY) if seen.assumed else band


def _unmeasured(place: Placement) -> Iterator[str]:
    """Yield what makes a layer one whose like was not measured in a network."""
    spec = place.spec
    if spec.op_type in (OpType.ATTENTION, OpType.NORMALIZATION):
        yield "layers of transformers, whose cost is assumed"
    if spec.op_type in (OpType.INPUT_CONVOLUTION, OpType.FULLY_CONNECTED) or spec.filters == 0:
        return
    if spec.taps != SMALL_KERNEL and not (spec.taps == 25 and spec.op_type is OpType.SEPARABLE_CONVOLUTION):
        yield f"kernels of {spec.taps} taps"
    if spec.weight_bits not in (None, FITTED_BITS):
        yield f"{spec.weight_bits}-bit weights"
    if spec.weight_density > DENSE_WEIGHTS:
        yield f"weights of which over {DENSE_WEIGHTS:.0%} are not zero"
    if max(map(len, place.groups)) < FEW_FILTERS:
        yield f"fewer than {FEW_FILTERS} filters an NP"
