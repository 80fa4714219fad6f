"""What a legalization rule is: a pass on one layer of an integer network, for one device."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

from spica.errors import SpicaError
from spica.hardware.device.schema import Device
from spica.network import Layer, Network
from spica.passes.base import Pass, Result


def legalization(*layers: type[Layer]) -> Callable[[Callable[..., Result]], Pass]:
    """Make a pass of a function of a network, one of its layers (of these classes only) and a device."""

    def made(rule: Callable[..., Result]) -> Pass:
        @wraps(rule)
        def rewrite(net: Network, layer: Layer, device: Device) -> Result:
            return rule(net, layer, device) if isinstance(layer, layers) else Result(net)

        return Pass(rewrite, requires=(integer,))

    return made


def integer(net: Network) -> None:
    """Check that a network computes on integers.

    Raises:
        SpicaError: for a float network.
    """
    if not net.is_integer:
        raise SpicaError(f"{net.name}: expected an integer network, got a float one; quantise it with spica.quantize")
