"""Layer-wise calibration: the float and the integer network side by side, on the same samples.

Each layer is made knowing what the layers before it really give, so that it can make up for their errors; no labels are
needed. Layers run when somebody asks for what they give, so options that ask for nothing cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spica.engine.runner import compute, make_ops
from spica.layers import WeightedLayer
from spica.network import Layer, Network, TensorType
from spica.network.edit import replace_layer, subgraph
from spica.network.layer import forward_stateful, initial_state
from spica.quantization.gptq import second_moments

MOST_SAMPLES = 256
MOST_PIXELS = 1 << 22
"""Pixels of all samples together: what the tensors of large images may take of memory."""


class LayerwiseCalibration:
    """The tensors of a float network and of its integer form, as far as that has been made.

    Attributes:
        streams: how many streams of frames the first axis of each tensor holds, one after the other.
    """

    def __init__(self, net: Network, real: NDArray[np.float32], integers: NDArray, gptq: bool) -> None:
        """Start with samples, frames in order, or clips ``(S, T, ...)``, as ``net`` and its integer form read them.

        ``gptq`` tells whether weights are to be rounded by second moments.
        """
        self._net, self._real = net, real
        source = net.inputs[0].name
        frame = net.types[source].shape
        pixels = int(np.prod(real.shape[1:-1]))
        count = max(min(MOST_SAMPLES, MOST_PIXELS // max(pixels, 1)), 16)
        self.streams = min(count, len(real)) if real.ndim == len(frame) + 2 else 1
        self._gptq, self._ops = gptq, make_ops("native", None)
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

    def second_moments(self, layer: WeightedLayer, kind: TensorType) -> NDArray[np.float64] | None:
        """Return second moments of what a layer's weights read in the integer network, if weights are rounded so."""
        if not self._gptq:
            return None
        self._run_waiting()
        return second_moments(layer, kind.to_float(self._integers[layer.inputs[0]]), self.streams)

    def outputs(self, reference: Layer, layer: Layer, inputs: Sequence[TensorType]) -> tuple[NDArray, NDArray]:
        """Return what a float layer gives, and what an integer layer of the given input types does in its place."""
        self._run_waiting()
        floats = self._run(reference, self._floats, self._float_types[reference.name])
        return floats, self._run(layer, self._integers, inputs)

    def advance(self, reference: Layer, layers: Sequence[tuple[Layer, list[TensorType]]]) -> None:
        """Go on behind a float layer, whose integer form is ``layers``, each with the types of its inputs."""
        self._waiting.append((reference, list(layers)))

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
