"""The cost of a network as one number that a budget can bound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from spica.errors import SpicaError
from spica.hardware.device.schema import Device
from spica.hardware.mapping.api import map_network
from spica.hardware.spec import specs
from spica.network import Network
from spica.util.arguments import check_choice

QUANTITIES = {
    "nps": "neural processors in use",
    "memory": "KiB of weights",
    "energy": "microjoules a sample (modelled)",
    "latency": "milliseconds a sample (modelled)",
}


def cost(
    quantity: str, device: str | Device = "AKD1000", samples: ArrayLike | None = None
) -> Callable[[Network], float]:
    """Return a function from an integer network to its cost: one of ``QUANTITIES``.

    Args:
        quantity: "nps", "memory", "energy" or "latency".
        device: where it runs; the memory of weights is the same everywhere.
        samples: integers that the network reads, whose events make energy and latency.

    Raises:
        SpicaError: for another quantity, or where samples are missing.
    """
    check_choice("cost", quantity, QUANTITIES)
    if quantity in ("energy", "latency") and samples is None:
        raise SpicaError(f"{quantity} depends on the events in samples; give samples")

    def measured(net: Network) -> float:
        if quantity == "memory":
            return sum(spec.weight_memory_bits for spec in specs(net).values()) / 8 / 1024
        chip = map_network(net, device)
        if quantity == "nps":
            return float(chip.nps)
        chip.forward(np.asarray(samples))
        return chip.statistics.energy_uj if quantity == "energy" else chip.statistics.latency_ms

    return measured
