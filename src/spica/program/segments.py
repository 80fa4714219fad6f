"""Segments of a network: as many layers as can be in one program each, the others one by one.

The batch axis of a layer with memory is time. One that looks back at frames is two segments: one that keeps the frames
and lays them out, and, at the beginning of a program, the convolution that reads them. Where every sample is the next
frame of a stream of its own, as when frames come one by one, programs take and give states beside tensors, and go on
through layers with memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spica.layers.temporal import Temporal, window_shape
from spica.network import Layer, Network, TensorType
from spica.network.layer import forward_integer, forward_stateful, state_types
from spica.program.ir import Events, Program, State
from spica.program.native import NativeProgram
from spica.program.trace import Tracer, Untraceable, Value, port, tensor_of
from spica.util.cached import cached_property


@dataclass(frozen=True, eq=False)
class Segment:
    """Layers that are run in one go.

    Attributes:
        layers: in the network's order.
        reads, writes: names of the tensors that it takes and gives.
        program: what it computes; ``None`` where it is one layer that no program can hold.
        windows_only: whether it only makes that layer's windows of past frames.
        stateful: names of the layers whose states its program takes behind what it reads, and gives behind what it
            writes.
    """

    layers: tuple[Layer, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    program: Program | None = None
    windows_only: bool = False
    stateful: tuple[str, ...] = ()

    @cached_property
    def native(self) -> NativeProgram:
        """Its program for the native engine, built when first asked for."""
        assert self.program is not None
        return NativeProgram(self.program)


def trace_network(net: Network, keep: Iterable[str] | None = None, *, streaming: bool = False) -> list[Segment]:
    """Return the segments of ``net`` in the order in which they run.

    Args:
        net: an integer network; a float one is all single layers without a program.
        keep: names of the tensors that must be written; the network's outputs by default.
        streaming: for samples that are the next frame of a stream each.
    """
    kept = frozenset(net.outputs if keep is None else keep)
    groups: list[tuple[list[Layer], _LayerTracer | None]] = []
    for layer in net:
        if not layer.inputs:
            continue
        current = groups[-1][1] if groups else None
        # Windows are made before the program that reads them, so what they are made of must be done by then.
        if current is not None and (streaming or not isinstance(layer, Temporal)) and current.add(layer):
            groups[-1][0].append(layer)
            continue
        fresh = _LayerTracer(net.types, streaming)
        groups.append(([layer], fresh if fresh.add(layer) else None))
    segments = []
    for i, (layers, trace) in enumerate(groups):
        first, later = layers[0], {name for others, _ in groups[i + 1 :] for layer in others for name in layer.inputs}
        if trace is None:
            segments.append(Segment((first,), first.inputs, (first.name,)))
            continue
        if isinstance(first, Temporal) and not streaming:
            segments.append(Segment((first,), first.inputs, (window_name(first),), windows_only=True))
        writes = tuple(layer.name for layer in layers if layer.name in later | kept)
        program, stateful = trace.program(writes), tuple(trace.states)
        segments.append(Segment(tuple(layers), tuple(trace.inputs), writes, program, stateful=stateful))
    return segments


def trace_layer(layer: Layer, types: Sequence[TensorType]) -> Program | None:
    """Return a program of one layer for inputs of these types; ``None`` where there can be none."""
    trace = _LayerTracer(dict(zip(layer.inputs, types)))
    return trace.program([layer.name]) if trace.add(layer) else None


def window_name(layer: Temporal) -> str:
    """Return the name of the tensor of windows that a layer reads."""
    return f"{layer.name}/window"


class _LayerTracer:
    """Traces layers, one after the other, into one program."""

    def __init__(self, types: Mapping[str, TensorType], streaming: bool = False) -> None:
        self.types, self.streaming, self.tracer = types, streaming, Tracer()
        self.inputs: dict[str, Value] = {}
        self.states: dict[str, list[tuple[Value, Value]]] = {}
        self.values: dict[str, Value] = {}
        self.events: list[Events] = []

    def add(self, layer: Layer) -> bool:
        """Trace one more layer; return false, with nothing traced, where it cannot be."""
        types = [self.types[name] for name in layer.inputs]
        windowed = isinstance(layer, Temporal) and not self.streaming
        memory = () if windowed else state_types(layer, types)
        if any(kind.is_float for kind in types) or (memory and not self.streaming):
            return False
        mark, self.tracer.layer = self.tracer.mark(), layer.name
        try:
            fresh = self._fresh_inputs(layer, types, windowed)
            known = self.values | fresh
            read: list[Any] = [known[name] for name in (fresh if windowed else layer.inputs)]
            before: Any = tuple(map(self._input, memory))
            after: Any = ()
            if memory:
                made, after = forward_stateful(layer, read, types, self.tracer, before)  # type: ignore[arg-type]
            else:
                made = forward_integer(layer, read, types, self.tracer)  # type: ignore[arg-type]
            tensors = tuple(map(tensor_of, read))
        except Untraceable:
            self.tracer.reset(mark)
            return False
        self.values |= fresh
        self.values[layer.name] = made  # type: ignore[assignment]
        self.inputs |= fresh
        if memory:
            self.states[layer.name] = list(zip(before, after))
        if not windowed:  # of a window only the newest frame is new; who lays it out counts that
            self.events.append(Events(layer=layer.name, tensors=tensors))
        return True

    def program(self, writes: Sequence[str]) -> Program:
        """Return the program of all layers that gives the tensors called ``writes``."""
        states = tuple(
            State(layer=name, before=port(f"{name}#{i}", before), after=port(f"{name}#{i}", after))
            for name, pairs in self.states.items()
            for i, (before, after) in enumerate(pairs)
        )
        outputs = {name: self.values[name] for name in writes}
        return self.tracer.program(self.inputs, outputs, states=states, events=tuple(self.events))

    def _fresh_inputs(self, layer: Any, types: Sequence[TensorType], windowed: bool) -> dict[str, Value]:
        """Inputs of a layer that no layer before it has read or made."""
        if windowed:
            return {window_name(layer): self._input(types[0], window_shape(layer, types[0]))}
        new = {name: kind for name, kind in zip(layer.inputs, types) if name not in self.values}
        return {name: self._input(kind) for name, kind in new.items()}

    def _input(self, kind: TensorType, shape: Sequence[int] | None = None) -> Value:
        return self.tracer.input(kind.shape if shape is None else shape, *kind.range, kind.dtype)
