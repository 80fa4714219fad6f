"""Float networks that hold what has no integer form: the layers before it quantised, it and what follows in floats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from spica.errors import SpicaError
from spica.hardware import Device, fix
from spica.network import Network
from spica.network.edit import redirect, subgraph
from spica.network.rules import refusal
from spica.passes import prepare
from spica.quantization.api import quantize
from spica.quantization.rules import quantize_layer


def host_reasons(net: Network) -> dict[str, str]:
    """Return why layers of a float network have no integer form once it is prepared, by their names."""
    reasons = {layer.name: refusal(quantize_layer, type(layer)) for layer in prepare(net) if layer.inputs}
    return {name: reason for name, reason in reasons.items() if reason}


def quantize_before_host(
    net: Network,
    reasons: Mapping[str, str],
    device: Device,
    samples: ArrayLike | None,
    options: Mapping[str, Any],
) -> Network:
    """Quantise the layers of a float network that read nothing of the host's; the others compute in real numbers.

    What a device needs changed in the integer layers, and can be changed exactly, is changed (``hardware.fix``).

    Args:
        net: a float network with one input.
        reasons: why layers are the host's, by name; whatever reads of them is the host's too.
        device: which device they are for.
        samples: typical inputs, as ``spica.quantize`` takes them.
        options: further options of ``spica.quantize``.

    Returns:
        A network whose first layers compute with integers, up to a ``Dequantize`` where the host reads them.

    Raises:
        SpicaError: where no sample is given, an option is bad, or no layer is left to quantise.
    """
    host = set(reasons)
    for layer in net:
        if host.intersection(layer.inputs):
            host.add(layer.name)
    own = [layer for layer in net if layer.name not in host]
    if not any(net.macs(layer) for layer in own):
        name, reason = next(iter(reasons.items()))
        raise SpicaError(f"{net.name}: nothing is left for the device before {name} ({reason})")
    if samples is None:
        raise SpicaError(
            f"{net.name}: is a float network; give samples to quantise what is before {next(iter(reasons))}, which "
            "stays on the host: spica.split(net, device, samples)"
        )
    read = {name for layer in net if layer.name in host for name in layer.inputs} | set(net.outputs)
    cut = [layer.name for layer in own if layer.name in read]
    before = fix(quantize(subgraph(net, cut), samples, **options), device).network
    made = dict(zip(cut, before.outputs))
    after = [redirect(layer, made) for layer in net if layer.name in host]
    return before.with_layers([*before, *after], [made.get(name, name) for name in net.outputs])
