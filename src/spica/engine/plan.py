"""How a network is run: in parts, each either one layer by itself or many layers as one native program.

The batch axis of a layer with memory is time. One that looks back at frames is two parts: one that keeps the frames and
lays them out, and, at the beginning of a program, the convolution that reads them. Where every sample is the next frame
of a stream of its own, as when frames come one by one, programs take and give states beside tensors, and go on through
layers with memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from spica.layers.temporal import Temporal, window_shape
from spica.network import Layer, Network, TensorType
from spica.network.layer import forward_integer, forward_stateful, state_types
from spica.program.trace import Tracer, Untraceable, Value


@dataclass(frozen=True, eq=False)
class Segment:
    """Layers that are run in one go.

    Attributes:
        layers: in the network's order.
        reads, writes: names of the tensors that it takes and gives.
        program: their native program; without one, the part is one layer.
        windows_only: whether it only makes that layer's windows of past frames.
        remembers: names of the layers whose states its program takes behind what it reads, and gives behind what it
            writes.
    """

    layers: tuple[Layer, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    program: Compiled | None = None
    windows_only: bool = False
    remembers: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Compiled:
    """A native program with what Python must know of its arrays.

    Attributes:
        program: the program.
        outputs: shape (without the batch axis) and dtype of each array that it gives.
        counters: numbers of the counters of each layer's inputs, by layer name.
        sizes: values that each layer reads of one sample, by layer name.
        choosing: names of the layers whose convolutions choose a path, in the order of the program's ``paths()``.
    """

    program: Any
    outputs: tuple[tuple[tuple[int, ...], np.dtype], ...]
    counters: dict[str, list[int]]
    sizes: dict[str, int]
    choosing: tuple[str, ...]

    def __call__(self, read: Sequence[NDArray], threads: int, count: bool) -> tuple[list[NDArray], list[int]]:
        """Arrays of all outputs, and the non-zero values of every counter (zeros where ``count`` is false)."""
        samples = len(read[0])
        made = [np.empty((samples, *shape), dtype) for shape, dtype in self.outputs]
        return made, self.program.run([np.ascontiguousarray(a) for a in read], made, samples, threads, count)


def layer_by_layer(net: Network) -> list[Segment]:
    """Every layer as a part of its own."""
    return [Segment((layer,), layer.inputs, (layer.name,)) for layer in net if layer.inputs]


_PLANS: WeakKeyDictionary[Network, dict[bool, tuple[frozenset[str], list[Segment]]]] = WeakKeyDictionary()


def plan(net: Network, kept: Sequence[str], streaming: bool = False) -> list[Segment]:
    """Parts of ``net`` with as many layers in programs as can be; the tensors called ``kept`` are written.

    ``streaming``: for samples that are the next frame of a stream each.
    """
    key, plans = frozenset(kept), _PLANS.setdefault(net, {})
    if streaming not in plans or plans[streaming][0] != key:
        plans[streaming] = key, _plan(net, key, streaming)
    return plans[streaming][1]


def _plan(net: Network, kept: frozenset[str], streaming: bool) -> list[Segment]:
    groups: list[tuple[list[Layer], _Trace | None]] = []
    for layer in net:
        if not layer.inputs:
            continue
        current = groups[-1][1] if groups else None
        # Windows are made before the program that reads them, so what they are made of must be done by then.
        if current is not None and (streaming or not isinstance(layer, Temporal)) and current.add(layer):
            groups[-1][0].append(layer)
            continue
        fresh = _Trace(net.types, streaming)
        groups.append(([layer], fresh if fresh.add(layer) else None))
    parts = []
    for i, (layers, trace) in enumerate(groups):
        later = {name for others, _ in groups[i + 1 :] for layer in others for name in layer.inputs} | kept
        if trace is None:
            parts.append(Segment(tuple(layers), layers[0].inputs, (layers[0].name,)))
            continue
        if isinstance(first := layers[0], Temporal) and not streaming:
            parts.append(Segment((first,), first.inputs, (window_name(first),), windows_only=True))
        writes = [layer.name for layer in layers if layer.name in later]
        compiled, remembers = trace.compile(layers, writes), tuple(trace.states)
        parts.append(Segment(tuple(layers), tuple(trace.inputs), tuple(writes), compiled, remembers=remembers))
    return parts


def window_name(layer: Temporal) -> str:
    """Name of the tensor of windows that a layer reads."""
    return f"{layer.name}/window"


def compile_layer(layer: Layer, types: Sequence[TensorType]) -> Compiled | None:
    """A program of one layer for inputs of these types, where there can be one."""
    trace = _Trace(dict(zip(layer.inputs, types)))
    return trace.compile([layer], [layer.name]) if trace.add(layer) else None


class _Trace:
    """Layers recorded one after the other."""

    def __init__(self, types: Mapping[str, TensorType], streaming: bool = False) -> None:
        self.types, self.streaming, self.tracer = types, streaming, Tracer()
        self.inputs: dict[str, Value] = {}
        self.states: dict[str, list[tuple[Value, Value]]] = {}
        self.values: dict[str, Value] = {}
        self.counters: dict[str, list[int]] = {}

    def add(self, layer: Layer) -> bool:
        """Record one more layer; false, and nothing recorded, where it cannot be."""
        types = self._types(layer)
        memory = state_types(layer, types)
        windowed = layer if isinstance(layer, Temporal) and not self.streaming else None
        if any(t.is_float for t in types) or (memory and windowed is None and not self.streaming):
            return False
        mark = self.tracer.mark()
        fresh: dict[str, Value] = {}
        names = layer.inputs if windowed is None else [window_name(windowed)]
        try:
            for name, kind in zip(names, types):
                if name not in self.values and name not in fresh:
                    shape = kind.shape if windowed is None else window_shape(windowed, kind)
                    fresh[name] = self.tracer.input(shape, *kind.range, kind.dtype)
            known = self.values | fresh
            self.tracer.layer = layer.name
            read = [known[name] for name in names]
            made: Any
            after: Any = ()
            before: Any = ()
            if memory and windowed is None:
                before = tuple(self.tracer.input(kind.shape, *kind.range, kind.dtype) for kind in memory)
                made, after = forward_stateful(layer, read, types, self.tracer, before)  # type: ignore[arg-type]
            else:
                made = forward_integer(layer, read, types, self.tracer)  # type: ignore[arg-type]
            # Of a window only the newest frame is new; who lays it out counts that.
            counters = [self.tracer.count(v) for v in read] if windowed is None else []
        except Untraceable:
            self.tracer.reset(mark)
            return False
        self.values |= {**fresh, layer.name: made}
        self.inputs |= fresh
        if before:
            self.states[layer.name] = list(zip(before, after))
        if windowed is None:
            self.counters[layer.name] = counters
        return True

    def compile(self, layers: Sequence[Layer], writes: Sequence[str]) -> Compiled:
        pairs = [pair for states in self.states.values() for pair in states]
        inputs = [*self.inputs.values(), *(before for before, _ in pairs)]
        outputs = [self.values[name] for name in writes] + [after for _, after in pairs]
        program = self.tracer.build(inputs, outputs)
        formats = tuple((v.shape[1:], np.dtype(v.dtype)) for v in outputs)
        sizes = {
            layer.name: sum(int(np.prod(t.shape)) for t in self._types(layer))
            for layer in layers
            if layer.name in self.counters
        }
        return Compiled(program, formats, self.counters, sizes, tuple(self.tracer.choosing))

    def _types(self, layer: Layer) -> list[TensorType]:
        return [self.types[name] for name in layer.inputs]
