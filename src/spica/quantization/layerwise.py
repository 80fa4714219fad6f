"""Both networks side by side, on the same samples, while the integer one is being made.

Each layer is made knowing what the layers before it really give, so that it can make up for their errors; no labels are
needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spica.engine.runner import compute, make_ops
from spica.layers import DiagonalRecurrence, GlobalAverage, WeightedLayer
from spica.layers.recurrent import states_of
from spica.layers.temporal import Temporal
from spica.layers.weighted import WEIGHT_RANGE
from spica.network import Layer, Network, TensorType
from spica.network.layer import forward_float, forward_stateful, infer, initial_state
from spica.quantization.gptq import second_moments
from spica.quantization.rounding import (
    derivable,
    multiplier_bits,
    output_stage,
    quantize_bias,
    quantize_relu,
    representable,
)
from spica.semantics.primitives import sliding_window

LARGEST_GAIN = 4.0
"""How much a filter's spread is corrected at most."""

MOST_SAMPLES = 256
MOST_PIXELS = 1 << 22
"""Pixels of all samples together: what the tensors of large images may take of memory."""


class Rehearsal:
    """The tensors of a float network and of its integer form, as far as that has been made."""

    def __init__(self, net: Network, source: str, real: NDArray[np.float32], integers: NDArray) -> None:
        """Start with the samples, ``real`` as the float network reads them, ``integers`` as the integer one does.

        They are samples, frames in their order, or clips ``(S, T, ...)``.
        """
        frame = net.types[source].shape
        pixels = int(np.prod(real.shape[1:-1]))
        count = max(min(MOST_SAMPLES, MOST_PIXELS // max(pixels, 1)), 16)
        self.streams = min(count, len(real)) if real.ndim == len(frame) + 2 else 1
        self.net, self.ops = net, make_ops("native", None)
        self.floats = {source: real[:count].reshape(-1, *frame)}
        self.integers = {source: integers[:count].reshape(-1, *frame)}
        self.last_reader = {name: layer.name for layer in net for name in layer.inputs}

    def moments(self, layer: WeightedLayer, kind: TensorType) -> NDArray[np.float64] | None:
        """Second moments of what the layer's weights read in the integer network (see ``second_moments``)."""
        return second_moments(layer, kind.to_float(self._read(layer, self.integers)[0]))

    def corrected(
        self, layer: WeightedLayer, twin: WeightedLayer, kinds: Sequence[TensorType], target: TensorType | None
    ) -> WeightedLayer:
        """The integer layer with every filter's accumulator brought to the mean it has in the float network.

        Few bits also make sums smaller, layer by layer, until nothing passes the first step of an activation. So below
        eight bits the output stage brings the spread back as well.

        Args:
            layer: the layer as rounding left it.
            twin: the float layer.
            kinds: types of the inputs.
            target: type of the output; ``None`` where the accumulator leaves.
        """
        wanted = forward_float(bare(twin), self._read(twin, self.floats))
        plain = replace(bare(layer), bias=None)
        kind = infer(plain, kinds)
        got = kind.to_float(compute(plain, self._read(plain, self.integers), kinds, self.ops))
        axes = tuple(range(wanted.ndim - 1))
        means = [t.mean(axis=axes, dtype=np.float64) for t in (wanted, got)]
        step = np.broadcast_to(np.ldexp(kind.scale.astype(np.float64), -kind.frac_bits), means[0].shape)
        gain, before, bits = np.ones_like(step), layer.weight_scale, layer.weight_bits
        assert before is not None and bits is not None
        if min(bits, *(k.bits or 8 for k in kinds)) < 8:
            spread = [t.std(axis=axes, dtype=np.float64) for t in (wanted, got)]
            gain = np.where(spread[1] > 0, spread[0] / np.maximum(spread[1], 1e-12), 1.0)
            scale = derivable(before * np.clip(gain, 1 / LARGEST_GAIN, LARGEST_GAIN), WEIGHT_RANGE[bits][1])
            if target is not None:
                average = np.prod(wanted.shape[1:3]) if isinstance(layer.pool, GlobalAverage) else 1
                outer = kind.scale / before / average
                scale = representable(scale, outer, multiplier_bits(scale * outer, kind.frac_bits, target))
                stage = output_stage(scale * outer, kind.frac_bits, target)
                relu = None
                if twin.activation is not None:
                    relu = quantize_relu(twin.activation, step * scale / before, target)
                layer = replace(layer, requantize=stage, activation=relu)
            gain = scale / before
            layer = replace(layer, weight_scale=scale)
        bias = quantize_bias(means[0] - gain * means[1], gain * step)
        return replace(layer, bias=bias)

    def largest_state(self, twin: DiagonalRecurrence) -> float:
        """Largest magnitude of a real or imaginary part of the states in the float network."""
        rest = initial_state(twin, [self.net.types[twin.inputs[0]]], self.streams)
        states = states_of(twin, self.floats[twin.inputs[0]], rest)
        return float(max(np.abs(states.real).max(), np.abs(states.imag).max()))

    def advance(self, layers: Sequence[Layer], twin: Layer, types: Mapping[str, TensorType]) -> None:
        """Run what was made of a layer in both networks; tensors that nobody reads any more are dropped.

        Args:
            layers: the integer layers, the last of which writes what ``twin`` does.
            twin: the float layer.
            types: of all tensors of the integer network so far.
        """
        self.floats[twin.name] = self._run(twin, self.floats, [self.net.types[i] for i in twin.inputs])
        for layer in layers:
            self.integers[layer.name] = self._run(layer, self.integers, [types[i] for i in layer.inputs])
        for name in set(twin.inputs):
            if self.last_reader[name] == twin.name:
                del self.floats[name], self.integers[name]

    def _run(self, layer: Layer, tensors: dict[str, NDArray], kinds: Sequence[TensorType]) -> NDArray:
        state = initial_state(layer, kinds, self.streams)
        if state:
            return forward_stateful(layer, [tensors[i] for i in layer.inputs], kinds, self.ops, state)[0]
        return compute(layer, [tensors[i] for i in layer.inputs], kinds, self.ops)

    def _read(self, layer: Layer, tensors: dict[str, NDArray]) -> list[NDArray]:
        """What a layer reads, in windows where it looks back."""
        read = [tensors[name] for name in layer.inputs]
        if not isinstance(layer, Temporal):
            return read
        height, width, channels = read[0].shape[1:]
        rest = np.zeros((self.streams, layer.frames - 1, height * width, channels), read[0].dtype)
        return [sliding_window(read[0], rest, layer.frames)[0]]


def bare(layer: WeightedLayer) -> WeightedLayer:
    """The layer up to its bias: no pooling, activation or output stage."""
    return replace(layer, pool=None, activation=None, requantize=None)
