"""A legalization rule: a pass on one layer of an integer network, for one device."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from spica.errors import SpicaError
from spica.hardware.device.schema import Device
from spica.network import Layer, Network
from spica.passes.base import Pass, Result

Changed = tuple[Network, str] | None
"""The network after a rule, and what was changed in words; None where the rule does not help."""

Rule = Callable[[Network, Any, Device], Changed]


def legalization(*layers: type[Layer]) -> Callable[[Rule], Pass]:
    """Make a pass of a function of a network, one of its layers (of these classes only) and a device."""

    def made(rule: Rule) -> Pass:
        @wraps(rule)
        def rewrite(net: Network, layer: Layer, device: Device) -> Result:
            found = rule(net, layer, device) if isinstance(layer, layers) else None
            return Result(net) if found is None else Result(found[0], True, found[1])

        return Pass(rewrite, requires=(_integer,))

    return made


def _integer(net: Network) -> None:
    if not net.is_integer:
        raise SpicaError(f"{net.name}: expected an integer network, got a float one; quantise it with spica.quantize")
