"""The layer that learns on the chip: binary weights, several neurons a class, binary input spikes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import weighted
from spica.network.fields import LARGEST_VALUE, Bounds, Size
from spica.network.layer import Layer, Ops, forward_integer, infer, macs, record
from spica.network.types import TensorType
from spica.semantics.primitives import Epilogue

MEMORY_BITS = 8
"""Bits of what a neuron remembers of an input."""

RULES = ("swap", "prototype")

POTENTIAL_BITS = 27
"""Value bits of a neuron's potential."""

UNIT = 1024
"""The integer that stands for 1 in plasticity and competition."""

Share = Annotated[int, Bounds(0, UNIT)]


@record
class LearningDense(Layer):
    """Fully connected layer that learns; the output of a class is the largest potential among its neurons.

    Its fields are all of its state, so a saved network goes on learning where it stopped. Neurons are in order of their
    classes. The rules that change it are in ``spica.learning``.

    Attributes:
        kernel: (inputs, neurons), 0 or 1; each neuron has ``weights_per_neuron`` ones.
        neurons_per_class: neurons of each class.
        weights_per_neuron: connections that each neuron has, always.
        rule: "swap" or "prototype", see ``spica.learning``.
        initial_plasticity, min_plasticity, plasticity_decay, competition: the rule's parameters, in 1/1024.
        plasticity: of each neuron, in 1/1024.
        threshold: potential that is taken off each neuron's when winners are chosen in learning.
        learned: samples that each neuron has learned.
        memory: (inputs, neurons), what a "prototype" neuron remembers of its samples; without columns otherwise.
        seed: of everything that the rule draws by lot.
        names: of the classes, where they have any.
    """

    kernel: NDArray[np.int8]
    neurons_per_class: Size
    weights_per_neuron: Size
    rule: str
    initial_plasticity: Share
    min_plasticity: Share
    plasticity_decay: Share
    competition: Share
    plasticity: Annotated[NDArray[np.int64], Bounds(0, UNIT)]
    threshold: Annotated[NDArray[np.int64], Bounds(-LARGEST_VALUE, LARGEST_VALUE)]
    learned: Annotated[NDArray[np.int64], Bounds(0, LARGEST_VALUE)]
    memory: NDArray[np.int16]
    seed: Annotated[int, Bounds(0, (1 << 64) - 1)]
    names: tuple[str, ...] = ()


@infer.register
def _(layer: LearningDense, inputs: Sequence[TensorType]) -> TensorType:
    x = weighted.one_input(layer, inputs)
    where, (rows, neurons) = layer.name, layer.kernel.shape if layer.kernel.ndim == 2 else (0, 0)
    if x.is_float or x.bits != 1 or x.signed or not x.per_tensor:
        raise SpicaError(
            f"{where}: a learning layer reads binary spikes, but its input is {x}; quantise what it reads to 1 bit"
        )
    if prod(x.shape) != rows or neurons == 0 or layer.neurons_per_class < 1 or neurons % layer.neurons_per_class:
        raise SpicaError(
            f"{where}: its kernel {layer.kernel.shape} does not fit {prod(x.shape)} inputs and whole classes"
        )
    if layer.kernel.dtype != np.int8 or not np.isin(layer.kernel, (0, 1)).all():
        raise SpicaError(f"{where}: its weights must be 0 or 1, as int8")
    if (layer.kernel.sum(axis=0) != layer.weights_per_neuron).any():
        raise SpicaError(f"{where}: each neuron must have {layer.weights_per_neuron} connections")
    state = (layer.plasticity, layer.threshold, layer.learned)
    if any(a.shape != (neurons,) or a.dtype.kind not in "iu" for a in state):
        raise SpicaError(f"{where}: plasticity, threshold and learned must be integers, one a neuron")
    if layer.rule not in RULES:
        raise SpicaError(f"{where}: rule {layer.rule!r:.40} is unknown; choose from {', '.join(RULES)}")
    if layer.memory.shape != (rows, neurons if layer.rule == "prototype" else 0):
        raise SpicaError(f"{where}: its memory {layer.memory.shape} does not fit its kernel {layer.kernel.shape}")
    if layer.names and len(layer.names) * layer.neurons_per_class != neurons:
        raise SpicaError(f"{where}: {len(layer.names)} names do not fit {neurons // layer.neurons_per_class} classes")
    bits = max(layer.weights_per_neuron.bit_length() + 1, 2)
    return TensorType((neurons // layer.neurons_per_class,), bits, True)


@forward_integer.register
def _(layer: LearningDense, inputs: Sequence[NDArray], types: Sequence[TensorType], ops: Ops) -> NDArray:
    x, each = inputs[0], layer.neurons_per_class
    rows, neurons = layer.kernel.shape
    spikes = x.reshape(len(x), 1, 1, rows)
    # One pixel whose neurons become an image: a row of each class's neurons, pooled to their largest.
    kernel = layer.kernel.reshape(rows, neurons // each, each).transpose(0, 2, 1).reshape(1, 1, rows, neurons)
    plain = Epilogue(value_bits=POTENTIAL_BITS, dtype=infer(layer, types).dtype)
    potentials = ops.apply_epilogue(weighted.convolve(spikes, kernel, 1, ops), plain)
    pooled = replace(plain, pool=((1, each), (1, each), weighted.NO_PADDING))
    return ops.apply_epilogue(potentials.reshape(len(x), 1, each, neurons // each), pooled).reshape(len(x), -1)


@macs.register
def _(layer: LearningDense, inputs: Sequence[TensorType]) -> int:
    return layer.kernel.size
