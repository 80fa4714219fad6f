"""Count the sums of each layer that saturate on samples: what a weight step that is too fine loses."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.engine.inputs import as_clips, check_samples
from spica.engine.native import Native
from spica.engine.plan import layer_by_layer
from spica.engine.runner import BATCH, Memory, execute, execute_segment, make_ops
from spica.network import Network
from spica.network.fields import WIDEST_ACCUMULATOR
from spica.program import Segment
from spica.semantics.primitives import Epilogue, saturate
from spica.semantics.reference import Reference


class Counting(Native):
    """The primitives of the native engine; counts the sums of the layer that runs, and those that saturate.

    Attributes:
        layer: name of the layer that runs.
        sums, saturated: counts by layer.
    """

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.layer = ""
        self.sums: Counter[str] = Counter()
        self.saturated: Counter[str] = Counter()

    def forward(self, layer: Any, read: Any, types: Any) -> NDArray:
        """Run a layer primitive by primitive, so that its sums are seen."""
        return Reference.forward(self, layer, read, types)

    def apply_epilogue(self, acc: NDArray, epilogue: Epilogue) -> NDArray:
        """Compute ``primitives.apply_epilogue``."""
        bits = epilogue.value_bits
        if bits > WIDEST_ACCUMULATOR:  # shifts an input, and sums nothing
            return super().apply_epilogue(acc, epilogue)
        kept = saturate(acc.astype(np.int64), bits)
        lost = kept != acc
        if epilogue.bias is not None:
            biased = kept + epilogue.bias
            lost |= saturate(biased, bits) != biased
        self._count(lost)
        return super().apply_epilogue(acc, epilogue)

    def add(self, a: NDArray, b: NDArray, shifts: tuple[NDArray, NDArray], value_bits: int) -> NDArray:
        """Compute ``primitives.add``."""
        left, right = (x.astype(np.int64) << shift for x, shift in zip((a, b), shifts))
        self._count(np.any([saturate(x, value_bits) != x for x in (left, right, left + right)], axis=0))
        return super().add(a, b, shifts, value_bits)

    def _count(self, lost: NDArray[np.bool_]) -> None:
        self.sums[self.layer] += lost.size
        self.saturated[self.layer] += int(lost.sum())


def saturated_shares(net: Network, x: Any) -> dict[str, float]:
    """Return the share of saturated sums, 0 to 1, of every layer that sums, by name.

    Args:
        net: an integer network.
        x: samples, as ``Network.forward`` takes them.
    """
    ops = Counting(make_ops("native", None).threads)
    clips = as_clips(net, x)
    for samples in [x] if clips is None else clips:
        memory = Memory(net)

        def step(segment: Segment, read: list[NDArray], memory: Memory = memory) -> list[NDArray]:
            ops.layer = segment.layers[0].name
            return execute_segment(net, segment, read, ops, memory)

        execute(check_samples(net, samples), layer_by_layer(net), step, (), BATCH)
    return {layer: ops.saturated[layer] / ops.sums[layer] for layer in ops.sums}
