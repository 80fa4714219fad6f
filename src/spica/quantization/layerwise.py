"""Layer-wise calibration: the float and the integer network side by side, on the same samples.

Each layer is made knowing what the layers before it really give, so that it can make up for their errors; no labels are
needed. Layers run when somebody asks for what they give, so options that ask for nothing cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.engine.runner import compute, make_ops
from spica.layers import WeightedLayer
from spica.network import Layer, Network, TensorType
from spica.network.edit import replace_layer, subgraph
from spica.network.layer import forward_stateful, infer, initial_state
from spica.quantization.gptq import filter_inputs

MOST_SAMPLES = 256
MOST_PIXELS = 1 << 22
"""Pixels of all samples together: what the tensors of large images may take of memory."""


class LayerwiseCalibration:
    """The tensors of a float network and of its integer form, as far as that has been made.

    Attributes:
        streams: how many streams of frames the first axis of each tensor holds, one after the other.
    """

    def __init__(
        self, net: Network, real: NDArray[np.float32], integers: NDArray, *, reconstruction: bool, bias_correction: bool
    ) -> None:
        """Start with samples, frames in order, or clips ``(S, T, ...)``, as ``net`` and its integer form read them.

        ``reconstruction`` tells whether GPTQ rounds weights, ``bias_correction`` whether means are put right later.
        """
        self._net, self._real = net, real
        self._reconstruction, self._bias_correction = reconstruction, bias_correction
        source = net.inputs[0].name
        frame = net.types[source].shape
        pixels = int(np.prod(real.shape[1:-1]))
        count = max(min(MOST_SAMPLES, MOST_PIXELS // max(pixels, 1)), 16)
        self.streams = min(count, len(real)) if real.ndim == len(frame) + 2 else 1
        self._ops = make_ops("native", None)
        self._last_float = ("", real)
        self._floats = {source: real[:count].reshape(-1, *frame)}
        self._integers = {source: integers[:count].reshape(-1, *frame)}
        self._float_types = {layer.name: net.input_types(layer) for layer in net}
        self._last_reader = {name: layer.name for layer in net for name in layer.inputs}
        self._waiting: list[tuple[Layer, list[tuple[Layer, list[TensorType]]]]] = []

    def float_input(self, layer: Layer) -> NDArray[np.float32]:
        """Return what a layer reads in the float network."""
        self._run_waiting()
        return self._floats[layer.inputs[0]]

    def largest_sums(self, layer: WeightedLayer) -> NDArray[np.float64]:
        """Return the largest magnitude of each filter's sums ``(F,)`` on all samples, before and after its bias."""
        plain = replace(layer, pool=None, activation=None, requantize=None, bias=None)
        net = replace_layer(subgraph(self._net, [layer.name]), layer.name, plain)
        in_order = bool(net.stateful_layers) and self.streams == 1  # one stream of frames, which is not cut
        size = len(self._real) if in_order else MOST_SAMPLES
        ends = []
        for start in range(0, len(self._real), size):
            sums = np.asarray(net.forward(self._real[start : start + size])).reshape(-1, layer.filters)
            ends += [sums.min(axis=0), sums.max(axis=0)]
        found = np.stack(ends).astype(np.float64)
        return np.abs(found if layer.bias is None else np.concatenate([found, found + layer.bias])).max(axis=0)

    def filter_inputs(self, layer: WeightedLayer, kind: TensorType) -> NDArray[np.float32] | None:
        """Return what a layer's weights read in the integer network, samples held back apart, if GPTQ rounds them."""
        if not self._reconstruction:
            return None
        self._run_waiting()
        x = self._integers[layer.inputs[0]]
        making, _ = self.split(len(x))
        streams = self.streams * making.stop // len(x) if self.streams > 1 else 1
        return filter_inputs(layer, kind.to_float(x[making]), streams)

    def split(self, count: int) -> tuple[slice, slice]:
        """Return which of ``count`` samples a repair is made with, and which are held back to tell whether it helps.

        Of several streams whole ones are held back. Where there are fewer than four samples, all serve for both.
        """
        size = count // self.streams if self.streams > 1 else 1
        first = count - count // size // 4 * size
        return slice(0, first), slice(first if first < count else 0, count)

    def choose_kernel(
        self, reference: WeightedLayer, layers: Sequence[Any], inputs: Sequence[TensorType]
    ) -> NDArray[np.int8]:
        """Return the kernel whose filters are each the best, on the samples held back, of those of integer layers.

        Args:
            reference: the float layer, without its output stage.
            layers: forms of it that differ in their kernels, without output stage and bias.
            inputs: the types of what these read.

        What a bias can put right does not count where biases are corrected.
        """
        errors = []
        for layer in layers:
            wanted, got = self.outputs(reference, layer, inputs)
            _, check = self.split(len(got))
            error = infer(layer, list(inputs)).to_float(got[check]) - wanted[check]
            axes = tuple(range(error.ndim - 1))
            if not self._bias_correction and reference.bias is not None:
                error += reference.bias  # which the forms do without
            errors.append(error.var(axis=axes) if self._bias_correction else (error**2).mean(axis=axes))
        best = np.argmin(errors, axis=0)
        return np.choose(best, [layer.kernel for layer in layers])

    def outputs(self, reference: Layer, layer: Layer, inputs: Sequence[TensorType]) -> tuple[NDArray, NDArray]:
        """Return what a float layer gives, and what an integer layer of the given input types does in its place.

        The former is kept until ``advance``: ask for the same form of a float layer each time.
        """
        self._run_waiting()
        if self._last_float[0] != reference.name:
            self._last_float = reference.name, self._run(reference, self._floats, self._float_types[reference.name])
        return self._last_float[1], self._run(layer, self._integers, inputs)

    def advance(self, reference: Layer, layers: Sequence[tuple[Layer, list[TensorType]]]) -> None:
        """Go on behind a float layer, whose integer form is ``layers``, each with the types of its inputs."""
        self._waiting.append((reference, list(layers)))
        self._last_float = ("", self._real)

    def _run_waiting(self) -> None:
        """Run what was made since the last question; tensors that nobody reads any more are dropped."""
        for reference, layers in self._waiting:
            self._floats[reference.name] = self._run(reference, self._floats, self._float_types[reference.name])
            for layer, inputs in layers:
                self._integers[layer.name] = self._run(layer, self._integers, inputs)
            for name in set(reference.inputs):
                if self._last_reader[name] == reference.name:
                    del self._floats[name], self._integers[name]
        self._waiting.clear()

    def _run(self, layer: Layer, tensors: dict[str, NDArray], inputs: Sequence[TensorType]) -> NDArray:
        read, state = [tensors[i] for i in layer.inputs], initial_state(layer, inputs, self.streams)
        if state:
            return forward_stateful(layer, read, inputs, self._ops, state)[0]
        return compute(layer, read, inputs, self._ops)
