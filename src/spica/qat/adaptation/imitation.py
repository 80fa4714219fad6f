"""Distillation without labels: a float network is trained to give what another one gives."""

from __future__ import annotations

from dataclasses import replace
from math import cos, pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.layers.weighted import weighted_layers
from spica.network import Network
from spica.network.graph import Layer
from spica.qat.adaptation.tensors import forward, load_torch
from spica.util.progress import progress as show

FEATURES = 0.3
"""Weight of what layers inside give, beside the outputs'."""

BATCH = 64


class Student:
    """A float network whose weights are learned, in units in which one learning rate suits every layer."""

    def __init__(self, net: Network, device: str) -> None:
        torch = load_torch()
        self.net, self.device = net, device
        self.units: dict[str, dict[str, float]] = {}
        self.learned: dict[str, dict[str, Any]] = {}
        for layer in weighted_layers(net):
            arrays = dict(layer.kernels)
            arrays["bias"] = np.zeros(layer.filters, np.float32) if layer.bias is None else layer.bias
            size = {field: float(np.sqrt(np.mean(array**2))) or 1.0 for field, array in arrays.items()}
            size["bias"] = max(size["bias"], 0.1)
            self.units[layer.name] = size
            self.learned[layer.name] = {
                field: torch.tensor(array / size[field], dtype=torch.float32, device=device, requires_grad=True)
                for field, array in arrays.items()
            }

    @property
    def parameters(self) -> list[Any]:
        """Return the tensors that are learned."""
        return [tensor for fields in self.learned.values() for tensor in fields.values()]

    def run(self, x: Any, wanted: set[str]) -> dict[str, Any]:
        """Return the values of some tensors for a batch with its channels last."""
        source = self.net.inputs[0].name
        values = {source: x.movedim(-1, 1)}
        for layer in self.net.layers:
            if layer.name != source:
                units = self.units.get(layer.name, {})
                weights = {f: t * units[f] for f, t in self.learned.get(layer.name, {}).items()}
                values[layer.name] = forward(layer, [values[name] for name in layer.inputs], weights)
        return {name: values[name] for name in wanted}

    def network(self) -> Network:
        """Return the network of the weights of now."""
        made: list[Layer] = []
        for layer in self.net:
            if layer.name in self.learned:
                units, tensors = self.units[layer.name], self.learned[layer.name]
                fields: dict[str, Any] = {f: (t * units[f]).detach().cpu().numpy() for f, t in tensors.items()}
                layer = replace(layer, **fields)
            made.append(layer)
        return self.net.with_layers(made)


def imitate(
    net: Network,
    original: Network,
    samples: NDArray[np.float32],
    epochs: int,
    learning_rate: float,
    seed: int,
    progress: bool | None,
) -> Network:
    """Return a float network, trained on samples to give what the original gives at its outputs and inside.

    Args:
        net: the network to train.
        original: the network to imitate; outputs stand in one order.
        samples: what both read.
        epochs: passes over the samples.
        learning_rate: Adam's at the start; it falls to zero along a cosine.
        seed: of the order of samples.
        progress: whether to show a bar.

    Raises:
        SpicaError: where PyTorch is missing, or a layer cannot be trained.
    """
    torch = load_torch()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    student, teacher = Student(net, device), Student(original, device)
    pairs = _pairs(net, original)
    optimizer = torch.optim.Adam(student.parameters, learning_rate)
    batches = _batches(len(samples), epochs, seed)
    for step, batch in enumerate(show(batches, "imitating", progress)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 + cos(pi * step / len(batches))) / 2
        x = torch.as_tensor(samples[np.sort(batch)], dtype=torch.float32, device=device)
        with torch.no_grad():
            wanted = teacher.run(x, {b for _, b, _ in pairs})
        given = student.run(x, {a for a, _, _ in pairs})
        loss = sum(weight * _distance(given[a], wanted[b]) for a, b, weight in pairs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return student.network()


def _batches(count: int, epochs: int, seed: int) -> list[NDArray[np.int64]]:
    """Return the samples of each step: all once in an epoch, in another order each time."""
    random = np.random.default_rng(seed)
    orders = [random.permutation(count) for _ in range(epochs)]
    return [order[start : start + BATCH] for order in orders for start in range(0, count, BATCH)]


def _pairs(net: Network, original: Network) -> list[tuple[str, str, float]]:
    """Return which tensor is to be like which, and how much that weighs: outputs, and layers that kept their place."""
    outputs = [(a, b, 1.0) for a, b in zip(net.outputs, original.outputs)]
    inside = [
        layer.name
        for layer in weighted_layers(net)
        if layer.name in original.types and layer.name not in net.outputs
        and net.types[layer.name].shape == original.types[layer.name].shape
    ]  # fmt: skip
    return outputs + [(name, name, FEATURES / len(inside)) for name in inside]


def _distance(given: Any, wanted: Any) -> Any:
    """Return the mean square error over the variance, each channel's mean taken off: offsets are made up for later."""
    axes = [axis for axis in range(wanted.ndim) if axis != 1]
    if wanted.ndim > 2:
        given, wanted = (v - v.mean(dim=axes, keepdim=True) for v in (given, wanted))
    error = ((given - wanted) ** 2).mean()
    return error / ((wanted - wanted.mean(dim=axes, keepdim=True)) ** 2).mean().clamp(min=1e-12)
