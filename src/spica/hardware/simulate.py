"""A network on a device: runs as the device would, tile by tile, and models what that costs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.inputs import as_clips, check_batch_size, check_samples
from spica.engine.plan import layer_by_layer
from spica.engine.runner import BATCH, Memory, compute, execute, make_ops
from spica.engine.stream import Stream
from spica.errors import SpicaError
from spica.hardware.cost_model.activity import Activity, expected_activity, join, measure
from spica.hardware.cost_model.model import model_cost
from spica.hardware.cost_model.statistics import Statistics
from spica.hardware.mapping.partition import run_tiles
from spica.hardware.mapping.placement import Schedule
from spica.layers.weighted import lowered
from spica.network import TensorType
from spica.network.classification import accuracy, classes, count_classes
from spica.program import Segment
from spica.semantics.reference import Reference


class MappedNetwork(Schedule):
    """An integer network placed on a device; ``map_network`` makes it. ``forward`` gives the network's integers."""

    _statistics: Statistics | None = None

    @property
    def statistics(self) -> Statistics:
        """Cost of the last ``forward``.

        Raises:
            SpicaError: before the first.
        """
        if self._statistics is None:
            raise SpicaError(f"{self.network.name}: nothing has run on {self.device.name} yet; call forward first")
        return self._statistics

    def forward(
        self, x: ArrayLike, *, engine: str = "native", threads: int | None = None, batch_size: int = BATCH
    ) -> NDArray | list[NDArray]:
        """Return what ``Network.forward`` does, bit for bit, computed tile by tile; ``statistics`` is its cost.

        Args:
            x: samples ``(N, H, W, C)`` or ``(N, C)`` of the input's integer type; a list where there are several. A
                network with memory takes frames in order, or clips ``(S, T, ...)``.
            engine: "native" or "reference".
            threads: threads of the native engine; all processors by default.
            batch_size: samples that go through the layers together.

        Raises:
            SpicaError: where samples do not fit the network's input, or an option is unknown.
        """
        net, ops = self.network, make_ops(engine, threads)
        check_batch_size(batch_size)
        seen: dict[str, list[Activity]] = defaultdict(list)

        def frames(x: Any) -> list[NDArray]:
            memory = Memory(net)
            step = partial(self.step, ops, memory, seen)
            tensors = execute(check_samples(net, x), layer_by_layer(net), step, net.outputs, batch_size)
            return [net.types[name].to_float(tensors[name]) for name in net.outputs]

        clips = as_clips(net, x)
        outputs = frames(x) if clips is None else [np.stack(of) for of in zip(*map(frames, clips))]
        self.count(seen)
        return outputs[0] if len(outputs) == 1 else outputs

    def step(
        self, ops: Reference, memory: Memory, seen: dict[str, list[Activity]], part: Segment, read: list[NDArray]
    ) -> list[NDArray]:
        """Run one layer as the device does, tile by tile; add what it receives to ``seen``."""
        (layer,) = part.layers
        types = self.network.input_types(layer)
        place = self.by_layer.get(layer.name)
        if place is not None:
            seen[layer.name].append(measure(*read))
            if len(place.nps) > 1:
                return [run_tiles(lowered(layer), place, read, types, ops, memory)]
        return [compute(layer, read, types, ops, memory)]

    def count(self, seen: Mapping[str, Sequence[Activity]]) -> None:
        """Make ``statistics`` those of what was seen."""
        self._statistics = model_cost(self, {name: join(parts) for name, parts in seen.items()})

    def stream(self, **options: Any) -> ChipStream:
        """Open a stream of frames through the device; see ``spica.engine.Stream``. Options: ``engine``, ``threads``."""
        return ChipStream(self, **options)

    def predict(self, x: ArrayLike, **options: Any) -> NDArray[np.int64]:
        """Return the class label of every sample, as ``Network.predict``; options as ``forward``."""
        return classes(self.network.name, self._output, self.forward(x, **options))

    def evaluate(self, x: ArrayLike, labels: ArrayLike, **options: Any) -> float:
        """Return the fraction of samples whose predicted class is the label, 0 to 1; options as ``forward``."""
        return accuracy(self.predict(x, **options), labels, count_classes(self._output))

    @property
    def _output(self) -> TensorType:
        return self.network.types[self.network.outputs[0]]

    def estimate(self, density: float | Mapping[str, float]) -> Statistics:
        """Return what a sample would cost whose layers receive a share ``density`` of non-zero values; run none.

        ``density`` is 0 to 1, for all layers or by name of the layer that receives.

        Raises:
            SpicaError: for another density, or an unknown layer.
        """
        return model_cost(self, expected_activity(self.network, density))

    def __repr__(self) -> str:
        several = f"{self.chips} x " if self.chips > 1 else ""
        passes = f" in {self.passes} passes" if self.passes > 1 else ""
        on = f"{several}{self.device.name}: {self.nps} of {self.device.nps} NPs{passes}"
        return f"<MappedNetwork {self.network.name!r} on {on}>"


class ChipStream(Stream):
    """A stream that runs tile by tile, as the device would; the device's ``statistics`` are those of the last push."""

    _may_rest = False  # empty frames cost a device something too

    def __init__(self, chip: MappedNetwork, *, engine: str = "native", threads: int | None = None) -> None:
        super().__init__(chip.network, engine=engine, threads=threads)
        self.chip = chip
        self._seen: dict[str, list[Activity]] = {}

    def push(self, frames: ArrayLike) -> NDArray | list[NDArray]:
        """Take the next frames, as ``Stream.push``, and make the device's ``statistics`` theirs."""
        with self._lock:
            self._seen = defaultdict(list)
            outputs = super().push(frames)
            self.chip.count(self._seen)
        return outputs

    def _plan(self, streaming: bool) -> list[Segment]:
        return layer_by_layer(self.network)

    def _step(self, part: Segment, read: list[NDArray], memory: Memory) -> list[NDArray]:
        return self.chip.step(self._ops, memory, self._seen, part, read)
