"""Explore variants of a device for one network: what each costs, and which of them no other beats."""

from __future__ import annotations

import itertools
import signal
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import prod
from multiprocessing import get_context
from os import PathLike
from typing import Any

from numpy.typing import ArrayLike

from spica.errors import SpicaError
from spica.hardware.cost_model.activity import TYPICAL_DENSITY
from spica.hardware.cost_model.statistics import two_digits
from spica.hardware.device.load import load_device
from spica.hardware.device.schema import FIGURES, Device
from spica.hardware.mapping.api import map_network
from spica.network import Network
from spica.network.graph import check_network
from spica.util.arguments import check_integer
from spica.util.progress import progress
from spica.util.table import table

OPTIONS = ("mode", "chips", "passes")
"""Options of mapping that can be varied beside a device's figures and ``sram``, both memories of an NP together."""

BETTER = ("latency_ms", "energy_uj", "nps", "passes")
"""Figures of which less is better."""

MOST_DESIGNS = 1_000_000
"""Designs of one call; they are all kept."""

MODELLED = ("latency_ms", "fps", "energy_uj", "power_mw")


@dataclass(frozen=True)
class Design:
    """One device, or way to map to it, and what the network costs there (modelled); ``problem`` says why it cannot."""

    values: dict[str, Any]
    nps: int = 0
    passes: int = 0
    latency_ms: float = 0.0
    fps: float = 0.0
    energy_uj: float = 0.0
    power_mw: float = 0.0
    tier: str = ""
    problem: str = ""

    def beats(self, other: Design) -> bool:
        """Return whether it is as good in all figures of ``BETTER``, and better in one."""
        ours, theirs = ([getattr(d, name) for name in BETTER] for d in (self, other))
        return all(x <= y for x, y in zip(ours, theirs)) and ours != theirs


@dataclass(frozen=True)
class Exploration:
    """Every design that was tried, in order."""

    network: str
    device: str
    designs: tuple[Design, ...]

    @property
    def pareto(self) -> tuple[Design, ...]:
        """The Pareto front: designs that no other equals in latency, energy, NPs and passes and beats in one."""
        able = [d for d in self.designs if not d.problem]
        return tuple(d for d in able if not any(other.beats(d) for other in able))

    def to_dict(self) -> dict[str, Any]:
        """Return every design as plain data, and whether it is on the Pareto front."""
        best = self.pareto
        designs = [asdict(d) | {"pareto": d in best} for d in self.designs]
        return {"network": self.network, "device": self.device, "modelled": [*MODELLED], "designs": designs}

    def __str__(self) -> str:
        names, best = list(self.designs[0].values), self.pareto
        rows = [(*names, "NPs", "passes", "ms", "fps", "uJ", "mW", "", "")]
        for d in self.designs:
            cells = [str(d.nps), str(d.passes), *(two_digits(getattr(d, name)) for name in MODELLED)]
            cells = [""] * 7 + [d.problem[:60]] if d.problem else [*cells, "best" if d in best else "", d.tier]
            rows.append((*map(str, d.values.values()), *cells))
        return (
            f"{self.network} on variants of {self.device}; times and energies are modelled\n"
            + table(rows, left=len(names))
            + "\nbest: no other design is as good in latency, energy, NPs and passes and better in one"
        )


def explore(
    net: Network,
    device: str | PathLike[str] | Device,
    vary: Mapping[str, Sequence[Any]],
    *,
    samples: ArrayLike | None = None,
    density: float | Mapping[str, float] = TYPICAL_DENSITY,
    workers: int = 1,
    address: str | None = None,
    show: bool | None = None,
) -> Exploration:
    """Map a network to every combination of some figures of a device, and model what it costs.

    Args:
        net: an integer network.
        device: the device that is varied.
        vary: values by name: figures of the device (see ``Device``), ``sram`` (bytes of both memories of an NP, split
            as they are), ``mode``, ``chips`` or ``passes``.
        samples: inputs whose densities in each layer are measured first and used for every design.
        density: share of non-zero values that layers receive, where there are no samples.
        workers: processes on this machine; a script that asks for more than one must guard its main module.
        address: of a Ray cluster that shares the work instead ("auto" for the one at hand).
        show: whether to show a progress bar; by default only in a terminal.

    Raises:
        SpicaError: for a name that cannot be varied. A design that cannot be says why in the result.
    """
    check_network(net)
    if not isinstance(vary, Mapping) or not vary:
        raise SpicaError("nothing is varied; give figures and their values, such as nodes=1,2,4")
    for name, values in vary.items():
        if name not in (*FIGURES, *OPTIONS, "sram"):
            raise SpicaError(f"{name!r} cannot be varied; choose from sram, {', '.join((*OPTIONS, *FIGURES))}")
        if isinstance(values, str) or not isinstance(values, Iterable) or not len(values):
            raise SpicaError(f"{name}: no values are given; give a list of them")
    count = prod(map(len, vary.values()))
    if count > MOST_DESIGNS:
        raise SpicaError(f"{count:,} designs are too many; vary less: {MOST_DESIGNS:,} are the most")
    workers = check_integer("workers", workers, 1, 1024)
    if samples is not None:
        density = densities(net, samples)
    device = load_device(device)
    points = [dict(zip(vary, values)) for values in itertools.product(*vary.values())]
    task = partial(_design, net, device, density)
    found = progress(_spread(task, points, workers, address), "exploring designs", show, len(points))
    return Exploration(net.name, device.name, tuple(found))


def densities(net: Network, samples: ArrayLike) -> dict[str, float]:
    """Return the share of non-zero values that each layer receives, measured on samples; options as ``Network.run``."""
    run = net.run(samples, count=True)
    return {name: run.events[name] / inputs for name, inputs in run.inputs.items() if inputs}


def _spread(
    task: Callable[[dict[str, Any]], Design], points: list[dict[str, Any]], workers: int, address: str | None
) -> Iterable[Design]:
    """Yield designs in the order of their points, made by a Ray cluster or by processes of this machine."""
    if address is not None:
        check_reachable(address)
        try:
            from ray.util.multiprocessing import Pool
        except ImportError:
            raise SpicaError("a cluster needs Ray; run: pip install 'spica[ray]'") from None
        with Pool(ray_address=address) as pool:
            yield from pool.imap(task, points)
    elif workers == 1 or len(points) == 1:
        yield from map(task, points)
    else:
        # Interrupts are for this process, which then ends its workers at once, whatever they are at.
        with get_context("spawn").Pool(min(workers, len(points)), initializer=_ignore_interrupts) as pool:
            yield from pool.imap(task, points, chunksize=8)


def check_reachable(address: str) -> None:
    """Check that a cluster answers at ``host:port``, with or without ``ray://``; Ray itself would try for minutes.

    Raises:
        SpicaError: where it does not, or the address is of another form.
    """
    if address in ("auto", "local"):
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise SpicaError(f"address {address!r:.60} is not of the form host:port, ray://host:port, auto or local")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise SpicaError(f"no cluster answers at {address} ({error}); start one with: ray start --head") from None


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _design(net: Network, device: Device, density: float | Mapping[str, float], values: dict[str, Any]) -> Design:
    figures = {name: value for name, value in values.items() if name in FIGURES}
    options = {name: value for name, value in values.items() if name in OPTIONS}
    try:
        if "sram" in values:
            figures |= _memories(device, values["sram"])
        chip = map_network(net, device.replace(**figures) if figures else device, **options)
        cost = chip.estimate(density)
    except SpicaError as error:
        return Design(values, problem=str(error))
    costs = {name: getattr(cost, name) for name in ("nps", "passes", *MODELLED)}
    return Design(values, **costs, tier=cost.confidence.tier)


def _memories(device: Device, total: Any) -> dict[str, int]:
    """Return the bytes of both memories of an NP that has ``total`` together, split as the device's are."""
    if type(total) is not int or total < 2:
        raise SpicaError(f"sram is {total!r}, but must be a number of bytes")
    inputs = total * device.input_memory_bytes // (device.input_memory_bytes + device.weight_memory_bytes)
    return {"input_memory_bytes": inputs, "weight_memory_bytes": total - inputs}
