"""Running a network on a batch: checks the samples, runs the segments, keeps what was asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.inputs import as_clips, check_batch_size, check_samples, is_count
from spica.engine.native import Native
from spica.engine.plan import segments_of
from spica.errors import SpicaError
from spica.layers.temporal import Temporal
from spica.network import Layer, Network, TensorType
from spica.network.layer import State, forward_float, forward_stateful, initial_state
from spica.program import Segment
from spica.semantics.reference import Reference
from spica.util.arguments import check_choice

ENGINES = ("native", "reference")
BATCH = 32
MOST_THREADS = 1024


@dataclass(eq=False)
class Run:
    """Result of one run of a network.

    Attributes:
        tensors: values of every tensor that was kept, by name, batch axis first.
        events: non-zero inputs that each layer received over the whole batch, by layer name.
        inputs: values that each layer received in all, by layer name (``1 - events / inputs`` is its sparsity).
        samples: number of samples.
    """

    tensors: dict[str, NDArray] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, int] = field(default_factory=dict)
    samples: int = 0

    def add(self, layer: str, events: int, inputs: int) -> None:
        """Count ``events`` among ``inputs`` values that a layer received."""
        self.events[layer] = self.events.get(layer, 0) + events
        self.inputs[layer] = self.inputs.get(layer, 0) + inputs


def run(
    net: Network,
    x: ArrayLike | Sequence[ArrayLike],
    *,
    engine: str = "native",
    threads: int | None = None,
    batch_size: int = BATCH,
    keep: Iterable[str] | None = None,
    count: bool = False,
) -> Run:
    """Run ``net`` on a batch of samples.

    Args:
        net: a float or an integer network.
        x: samples ``(N, H, W, C)`` or ``(N, C)``; a list of arrays where the network has several inputs. Samples of a
            network with memory are frames in their order; it also takes clips ``(S, T, ...)``, each from rest.
        engine: "native" or "reference"; they give the same integers. Float networks always run in numpy.
        threads: threads of the native engine; all processors by default.
        batch_size: samples that go through the layers together; the result does not depend on it.
        keep: names of tensors to return; the outputs by default.
        count: whether to count the events that every layer receives.

    Returns:
        The kept tensors and the counts. Integer tensors hold the integers; ``net.types[name].to_float`` reads them.

    Raises:
        SpicaError: where samples do not fit the network's inputs, or an option is unknown.
    """
    kept = tuple(net.outputs if keep is None else [keep] if isinstance(keep, str) else keep)
    if unknown := [k for k in kept if k not in net.types]:
        raise SpicaError(f"{net.name} has no tensor {unknown[0]!r} to keep")
    ops, result = make_ops(engine, threads), Run()
    segments = segments_of(net, kept, engine)

    def frames(x: Any, streams: int, batch_size: int) -> dict[str, NDArray]:
        memory = Memory(net, streams)

        def step(segment: Segment, read: list[NDArray]) -> list[NDArray]:
            return execute_segment(net, segment, read, ops, memory, result if count else None)

        return execute(check_samples(net, x), segments, step, kept, batch_size)

    check_batch_size(batch_size)
    clips = as_clips(net, x)
    result.tensors = frames(x, 1, batch_size) if clips is None else _run_clips(clips, frames, kept, batch_size)
    result.samples = len(result.tensors[kept[0]]) if kept else 0
    return result


def _run_clips(
    clips: NDArray, frames: Callable[[NDArray, int, int], dict[str, NDArray]], kept: Sequence[str], batch_size: int
) -> dict[str, NDArray]:
    """Run clips ``(S, T, ...)`` as streams side by side, as many together as a batch has room for."""
    pieces, together = [], max(batch_size // clips.shape[1], 1)
    for start in range(0, len(clips), together):
        some = clips[start : start + together]
        # Streams go side by side only as a whole; one alone is taken batch by batch, however long it is.
        size = batch_size if len(some) == 1 else some.shape[0] * some.shape[1]
        flat = frames(some.reshape(-1, *some.shape[2:]), len(some), size)
        pieces.append({name: a.reshape(*some.shape[:2], *a.shape[1:]) for name, a in flat.items()})
    return {name: np.concatenate([piece[name] for piece in pieces]) for name in kept}


def execute(
    samples: Mapping[str, NDArray],
    segments: Sequence[Segment],
    step: Callable[[Segment, list[NDArray]], Sequence[NDArray]],
    kept: Sequence[str],
    batch_size: int,
) -> dict[str, NDArray]:
    """Take checked samples through the segments of a network, batch by batch.

    Every tensor is dropped after its last reader, unless it is one of ``kept``.

    Args:
        samples: arrays ``(N, ...)`` of all inputs, by name.
        segments: in the order in which they run.
        step: runs one segment on its input arrays and returns its outputs.
        kept: names of the tensors to return.
        batch_size: samples that go through together.

    Returns:
        The kept tensors of all samples, by name.
    """
    last_reader = {name: segment for segment in segments for name in segment.reads}
    pieces: dict[str, list[NDArray]] = {name: [] for name in kept}
    for start in range(0, len(next(iter(samples.values()))), batch_size):
        tensors = {name: a[start : start + batch_size] for name, a in samples.items()}
        for segment in segments:
            tensors |= zip(segment.writes, step(segment, [tensors[name] for name in segment.reads]))
            for name in set(segment.reads):
                if last_reader[name] is segment and name not in pieces:
                    del tensors[name]
        for name, piece in pieces.items():
            piece.append(tensors[name])
    return {name: piece[0] if len(piece) == 1 else np.concatenate(piece) for name, piece in pieces.items()}


class Memory:
    """The state of every layer that has one, from frame to frame: a run's or a stream's, never the network's."""

    def __init__(self, net: Network, streams: int = 1, states: Mapping[str, State] | None = None) -> None:
        """Start from rest, or from given states, which stay as they are."""
        if states is None:
            states = {r.name: initial_state(r, net.input_types(r), streams) for r in net.stateful_layers}
        self.states = dict(states)


def execute_segment(
    net: Network, segment: Segment, read: list[NDArray], ops: Reference, memory: Memory, counts: Run | None = None
) -> list[NDArray]:
    """Run one segment on its input arrays and return its outputs. Add event counts to ``counts`` if given."""
    if segment.program is not None:
        states = [array for name in segment.stateful for array in memory.states[name]]
        made, events = segment.native([*read, *states], ops.threads, counts is not None)
        if counts is not None:
            sizes = segment.native.sizes
            for name, number in segment.native.events(events).items():
                counts.add(name, number, sizes[name] * len(read[0]))
        after = iter(made[len(segment.writes) :])
        memory.states |= {name: tuple(islice(after, len(memory.states[name]))) for name in segment.stateful}
        return made[: len(segment.writes)]
    (layer,) = segment.layers
    if counts is not None:
        count_events(counts, layer, read)
    if segment.windows_only:
        assert isinstance(layer, Temporal)
        windows, past = ops.sliding_window(read[0], memory.states[layer.name][0], layer.frames)
        memory.states[layer.name] = (past,)
        return [windows]
    return [compute(layer, read, net.input_types(layer), ops, memory)]


def compute(
    layer: Layer, read: Sequence[NDArray], types: Sequence[TensorType], ops: Reference, memory: Memory | None = None
) -> NDArray:
    """Run one layer: by its float semantics on float tensors, by its integer semantics on integers.

    A layer with memory reads and replaces its state in ``memory``.

    Args:
        layer: the layer.
        read: arrays ``(N, ...)`` of its inputs.
        types: theirs.
        ops: the primitives to compute with.
        memory: states by layer name; without it layers must have none.

    Returns:
        Its output ``(N, ...)``.
    """
    if memory is not None and layer.name in memory.states:
        output, memory.states[layer.name] = forward_stateful(layer, read, types, ops, memory.states[layer.name])
    elif types[0].is_float:
        with np.errstate(over="ignore", invalid="ignore"):
            output = forward_float(layer, read)
    else:
        return ops.forward(layer, read, types)
    if types[0].is_float and not np.isfinite(output).all():
        raise SpicaError(f"{layer.name}: its output goes beyond float32; check its weights and the samples")
    return output


def count_events(counts: Run, layer: Layer, read: Sequence[NDArray]) -> None:
    """Add the non-zero values of a layer's inputs to ``counts``."""
    counts.add(layer.name, sum(int(np.count_nonzero(a)) for a in read), sum(a.size for a in read))


def make_ops(engine: str, threads: int | None) -> Reference:
    """Return the primitives of the engine called ``engine``.

    Args:
        engine: "native" or "reference".
        threads: of the native engine; as many as the process may use processors by default.

    Raises:
        SpicaError: where either is unknown or out of range.
    """
    threads = len(os.sched_getaffinity(0)) if threads is None and hasattr(os, "sched_getaffinity") else threads
    threads = threads if threads is not None else os.cpu_count() or 1
    if not is_count(threads) or threads > MOST_THREADS:
        raise SpicaError(f"threads is {threads!r}, but must be an integer from 1 to {MOST_THREADS}")
    check_choice("engine", engine, ENGINES)
    return Native(threads) if engine == "native" else Reference()
