"""Learning rules: how one sample changes a learning layer, in integers, by what the winning neuron knows.

The neuron that learns is the one of the sample's class (of all, without a class) whose potential less its threshold is
largest; among equals the one that has learned least, then the first. Draws are by a hash of seed, neuron, how often it
has learned, and input, so they depend on nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica import _native
from spica.layers.learning import MEMORY_BITS, UNIT, LearningDense

STATE = ("kernel", "memory", "plasticity", "threshold", "learned")
"""The fields of a learning layer that samples change."""

MEMORY_LIMIT = (1 << MEMORY_BITS - 1) - 1
"""Largest magnitude that a prototype's memory of an input holds."""


class State:
    """A learning layer's fields as arrays that samples change in place."""

    def __init__(self, layer: LearningDense) -> None:
        self.layer = layer
        # A neuron's connections lie together in memory, which native learning asks for.
        self.kernel = np.array(layer.kernel.T, np.int8, order="C").T
        self.memory = np.array(layer.memory.T, np.int16, order="C").T
        self.plasticity, self.threshold, self.learned = (
            a.astype(np.int64) for a in (layer.plasticity, layer.threshold, layer.learned)
        )
        rule = (
            layer.neurons_per_class, layer.weights_per_neuron, layer.min_plasticity, layer.plasticity_decay,
            layer.competition, UNIT, MEMORY_LIMIT,
        )  # fmt: skip
        state = (self.kernel.T, self.memory.T, self.plasticity, self.threshold, self.learned)
        self._native = _native.Learner(*state, rule, layer.seed & 0xFFFFFFFFFFFFFFFF)

    def learn_all(self, spikes: NDArray[np.uint8], labels: NDArray[np.int64] | None) -> None:
        """Learn samples (N, inputs), one after the other, in C++: what ``learn`` does, bit for bit."""
        self._native.learn(spikes, np.full(len(spikes), -1, np.int64) if labels is None else labels)

    def learn(self, spikes: NDArray, label: int | None) -> int | None:
        """Learn one sample of binary ``spikes`` (inputs,), return the neuron that did; without spikes there is none."""
        each = self.layer.neurons_per_class
        first, last = (0, self.kernel.shape[1]) if label is None else (label * each, (label + 1) * each)
        active = np.flatnonzero(spikes)
        if not len(active):
            return None
        potentials = self.kernel[active, first:last].sum(axis=0, dtype=np.int64) - self.threshold[first:last]
        best = np.flatnonzero(potentials == potentials.max())
        winner = first + int(best[np.argmin(self.learned[first:last][best])])
        (self._swap if self.layer.rule == "swap" else self._remember)(winner, spikes, active)
        potential = int(self.kernel[active, winner].sum())
        self.threshold[winner] = potential * self.layer.competition // UNIT
        plasticity = self.plasticity[winner]
        self.plasticity[winner] = max(
            plasticity - plasticity * self.layer.plasticity_decay // UNIT, self.layer.min_plasticity
        )
        self.learned[winner] += 1
        return winner

    def record(self) -> LearningDense:
        """Return the layer as it is now."""
        now: dict[str, Any] = {name: np.array(getattr(self, name), order="C") for name in STATE}
        return replace(self.layer, **now)

    def _swap(self, winner: int, spikes: NDArray, active: NDArray) -> None:
        """Move connections that saw no spike to inputs that had one, as many as plasticity allows."""
        weights = self.kernel[:, winner]
        idle = np.flatnonzero((weights == 1) & (spikes == 0))
        wanted = active[weights[active] == 0]
        count = -(-min(len(idle), len(wanted)) * int(self.plasticity[winner]) // UNIT)
        if count:
            weights[self._draw(idle, winner, count)] = 0
            weights[self._draw(wanted, winner, count)] = 1

    def _remember(self, winner: int, spikes: NDArray, active: NDArray) -> None:
        """Count for and against every input, forget a little, and connect to the inputs most counted for."""
        memory = self.memory[:, winner].astype(np.int64)
        gain = int(self.plasticity[winner])
        memory += np.where(spikes != 0, gain, -(gain // 4)) // (UNIT // 16)
        np.clip(memory, -MEMORY_LIMIT, MEMORY_LIMIT, out=memory)
        self.memory[:, winner] = memory
        # Among inputs counted alike, those connected now stay, and the rest is drawn.
        order = np.lexsort((self._hash(np.arange(len(memory)), winner), 1 - self.kernel[:, winner], -memory))
        self.kernel[:, winner] = 0
        self.kernel[order[: self.layer.weights_per_neuron], winner] = 1

    def _draw(self, inputs: NDArray, winner: int, count: int) -> NDArray:
        return inputs[np.argsort(self._hash(inputs, winner), kind="stable")[:count]]

    def _hash(self, inputs: NDArray, winner: int) -> NDArray[np.uint64]:
        return mix(self.layer.seed, winner, int(self.learned[winner]), inputs)


def mix(seed: int, neuron: int, time: int, inputs: NDArray) -> NDArray[np.uint64]:
    """Return a number for each input that looks random: the finaliser of SplitMix64 (Steele et al., 2014)."""
    base = (seed * 0x9E3779B97F4A7C15 + neuron * 0xBF58476D1CE4E5B9 + time * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    z = inputs.astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93) + np.uint64(base)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def random_kernel(inputs: int, neurons: range, weights: int, seed: int) -> NDArray[np.int8]:
    """Return connections of new neurons, drawn by lot: ``(inputs, len(neurons))``."""
    kernel = np.zeros((inputs, len(neurons)), np.int8)
    for column, neuron in enumerate(neurons):
        order = np.argsort(mix(seed + 1, neuron, 0, np.arange(inputs)), kind="stable")
        kernel[order[:weights], column] = 1
    return kernel
