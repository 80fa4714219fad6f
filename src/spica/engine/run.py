"""Running a network on a batch: checks the samples, walks the layers, keeps what was asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.plan import Compiled, Segment, layer_by_layer, plan
from spica.errors import SpicaError
from spica.layers.temporal import Temporal
from spica.network import Layer, Network, TensorType
from spica.network.graph import check_network
from spica.network.layer import forward_float, forward_stateful, initial_state
from spica.semantics.reference import Reference

ENGINES = ("native", "reference")
BATCH = 32
MOST_THREADS = 1024


@dataclass(eq=False)
class Run:
    """What one run of a network gave.

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
    parts = segments_of(net, kept, engine)

    def frames(x: Any, streams: int, batch_size: int) -> dict[str, NDArray]:
        memory = Memory(net, streams)

        def step(part: Segment, read: list[NDArray]) -> list[NDArray]:
            return execute_segment(net, part, read, ops, memory, result if count else None)

        return execute(check_samples(net, x), parts, step, kept, batch_size)

    check_batch_size(batch_size)
    clips = as_clips(net, x)
    if clips is None:
        result.tensors = frames(x, 1, batch_size)
    else:
        pieces, together = [], max(batch_size // clips.shape[1], 1)
        for start in range(0, len(clips), together):
            some = clips[start : start + together]
            # Streams go side by side only as a whole; one alone is taken batch by batch, however long it is.
            size = batch_size if len(some) == 1 else some.shape[0] * some.shape[1]
            flat = frames(some.reshape(-1, *some.shape[2:]), len(some), size)
            pieces.append({name: a.reshape(*some.shape[:2], *a.shape[1:]) for name, a in flat.items()})
        result.tensors = {name: np.concatenate([piece[name] for piece in pieces]) for name in kept}
    result.samples = len(result.tensors[kept[0]]) if kept else 0
    return result


def as_clips(net: Network, x: Any) -> NDArray | None:
    """Samples as clips ``(S, T, ...)``, where a network with memory is given such; each starts from rest."""
    if len(net.inputs) != 1 or not net.stateful_layers:
        return None
    try:
        clips = np.asarray(x)
    except ValueError:  # of different lengths; what checks samples says so
        return None
    return clips if clips.ndim == len(net.types[net.inputs[0].name].shape) + 2 and clips.size else None


def check_frames(net: Network, kind: TensorType, x: Any) -> NDArray:
    """As ``check_array`` for the input of ``net``; clips of a network with memory stay clips."""
    source, clips = net.inputs[0].name, as_clips(net, x)
    if clips is None:
        return check_array(source, kind, x)
    return check_array(source, kind, clips.reshape(-1, *clips.shape[2:])).reshape(clips.shape)


def is_count(value: Any) -> bool:
    """Whether it is an integer of at least 1, of Python's or numpy's."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= 1


def check_batch_size(batch_size: int) -> None:
    if not is_count(batch_size):
        raise SpicaError(f"batch_size is {batch_size!r}, but must be an integer of at least 1")


def segments_of(net: Network, kept: Sequence[str], engine: str, streaming: bool = False) -> list[Segment]:
    """How ``engine`` runs a network: float networks and the reference layer by layer, others in programs.

    ``streaming``: for samples that are the next frame of a stream each.
    """
    native = engine == "native" and not all(kind.is_float for kind in net.types.values())
    return plan(net, kept, streaming) if native else layer_by_layer(net)


def execute_segment(
    net: Network, part: Segment, read: list[NDArray], ops: Reference, memory: Memory, counts: Run | None = None
) -> list[NDArray]:
    """What a part writes, given what it reads; ``counts`` takes up the events."""
    if part.program is not None:
        states = [array for name in part.remembers for array in memory.states[name]]
        made, events = part.program([*read, *states], ops.threads, counts is not None)  # type: ignore[attr-defined]
        if counts is not None:
            add_counts(counts, part.program, events, len(read[0]))
        after = iter(made[len(part.writes) :])
        memory.states |= {name: tuple(islice(after, len(memory.states[name]))) for name in part.remembers}
        return made[: len(part.writes)]
    (layer,) = part.layers
    if counts is not None:
        count_events(counts, layer, read)
    if part.windows_only:
        assert isinstance(layer, Temporal)
        windows, past = ops.sliding_window(read[0], memory.states[layer.name][0], layer.frames)
        memory.states[layer.name] = (past,)
        return [windows]
    return [compute(layer, read, net.input_types(layer), ops, memory)]


def execute(
    samples: Mapping[str, NDArray],
    parts: Sequence[Segment],
    step: Callable[[Segment, list[NDArray]], Sequence[NDArray]],
    kept: Sequence[str],
    batch_size: int,
) -> dict[str, NDArray]:
    """Take checked samples through a network's parts, batch by batch; ``step`` gives what one writes for what it reads.

    Every tensor is dropped after its last reader, unless it is one of ``kept``.

    Returns:
        The kept tensors of all samples, by name.
    """
    last_reader = {name: part for part in parts for name in part.reads}
    pieces: dict[str, list[NDArray]] = {name: [] for name in kept}
    for start in range(0, len(next(iter(samples.values()))), batch_size):
        tensors = {name: a[start : start + batch_size] for name, a in samples.items()}
        for part in parts:
            tensors |= zip(part.writes, step(part, [tensors[name] for name in part.reads]))
            for name in set(part.reads):
                if last_reader[name] is part and name not in pieces:
                    del tensors[name]
        for name, piece in pieces.items():
            piece.append(tensors[name])
    return {name: piece[0] if len(piece) == 1 else np.concatenate(piece) for name, piece in pieces.items()}


def make_ops(engine: str, threads: int | None) -> Reference:
    """The primitives of the engine called ``engine``."""
    threads = len(os.sched_getaffinity(0)) if threads is None and hasattr(os, "sched_getaffinity") else threads
    threads = threads if threads is not None else os.cpu_count() or 1
    if not is_count(threads) or threads > MOST_THREADS:
        raise SpicaError(f"threads is {threads!r}, but must be an integer from 1 to {MOST_THREADS}")
    if engine == "reference":
        return Reference()
    if engine == "native":
        from spica.engine.native import Native

        return Native(threads)
    raise SpicaError(f"engine {engine!r} is unknown; choose from {', '.join(ENGINES)}")


class Memory:
    """The state of every layer that has one, from frame to frame: a run's or a stream's, never the network's."""

    def __init__(self, net: Network, streams: int = 1) -> None:
        self.states = {
            layer.name: initial_state(layer, net.input_types(layer), streams) for layer in net.stateful_layers
        }


def compute(
    layer: Layer, read: Sequence[NDArray], types: Sequence[TensorType], ops: Reference, memory: Memory | None = None
) -> NDArray:
    """One layer's output: by its float meaning on float tensors, by its integer meaning on integers.

    A layer with memory reads and replaces its state in ``memory``.
    """
    if memory is not None and layer.name in memory.states:
        output, memory.states[layer.name] = forward_stateful(layer, read, types, ops, memory.states[layer.name])
        return output
    if types[0].is_float:
        return forward_float(layer, read)
    return ops.forward(layer, read, types)


def count_events(counts: Run, layer: Layer, read: Sequence[NDArray]) -> None:
    """Add the non-zero values of a layer's inputs to ``counts``."""
    counts.events[layer.name] = counts.events.get(layer.name, 0) + sum(int(np.count_nonzero(a)) for a in read)
    counts.inputs[layer.name] = counts.inputs.get(layer.name, 0) + sum(a.size for a in read)


def add_counts(counts: Run, program: Compiled, events: Sequence[int], samples: int) -> None:
    """Add what a native program has counted to ``counts``."""
    for name, numbers in program.counters.items():
        counts.events[name] = counts.events.get(name, 0) + sum(events[number] for number in numbers)
        counts.inputs[name] = counts.inputs.get(name, 0) + program.sizes[name] * samples


def check_samples(net: Network, x: Any) -> dict[str, NDArray]:
    """The samples of every input by name, checked against its type."""
    arrays = list(x) if len(net.inputs) > 1 and isinstance(x, list | tuple) else [x]
    if len(arrays) != len(net.inputs):
        names = ", ".join(layer.name for layer in net.inputs)
        raise SpicaError(f"{net.name} reads {len(net.inputs)} inputs ({names}), but {len(arrays)} were given")
    samples = {layer.name: check_array(layer.name, net.types[layer.name], a) for layer, a in zip(net.inputs, arrays)}
    if len({len(a) for a in samples.values()}) > 1:
        raise SpicaError(f"{net.name}: its inputs have different numbers of samples")
    return samples


def check_array(name: str, kind: TensorType, x: Any) -> NDArray:
    """``x`` as an array of the type's dtype, with a batch axis; refuses anything that would need guessing."""
    try:
        array = np.asarray(x)
    except (ValueError, TypeError) as error:
        raise SpicaError(f"{name}: samples are not an array ({error}); give a numpy array") from None
    if array.ndim and not array.size:
        raise SpicaError(f"{name}: there are no samples in an array of shape {array.shape}; give at least one")
    if array.shape[1:] != kind.shape or array.ndim != len(kind.shape) + 1:
        want, hint = ", ".join(("N", *map(str, kind.shape))), ""
        if array.shape == kind.shape:
            hint = "; add a batch axis with x[None]"
        elif array.shape[2:] == kind.shape and array.ndim == len(kind.shape) + 2:
            hint = "; of clips, which only networks with memory take, give the frames: x.reshape(-1, *x.shape[2:])"
        raise SpicaError(f"{name}: samples have shape {array.shape}, but the network reads ({want}){hint}")
    if kind.is_float:
        if array.dtype.kind not in "fiub":
            raise SpicaError(f"{name}: samples are {array.dtype}, but the network reads real numbers")
        array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise SpicaError(f"{name}: samples hold NaN or infinity; clean the data")
        return array
    if array.dtype.kind not in "iu":
        raise SpicaError(
            f"{name}: samples are {array.dtype}, but an integer network reads {kind.dtype}; "
            "convert them with spica.to_input_integers(net, x)"
        )
    low, high = kind.range
    if array.dtype != kind.dtype and (array.min() < low or array.max() > high):
        raise SpicaError(
            f"{name}: samples reach from {array.min()} to {array.max()}, but the network reads "
            f"{kind.bits}-bit integers from {low} to {high}"
        )
    if kind.dtype.itemsize * 8 != kind.bits and (array.min() < low or array.max() > high):
        raise SpicaError(f"{name}: samples leave the range {low} to {high} of {kind.bits}-bit integers")
    return array.astype(kind.dtype, copy=False)


def to_input_integers(net: Network, x: ArrayLike) -> NDArray:
    """Real samples, as the float network saw them, to the integers that an integer network reads.

    Args:
        net: an integer network with one input.
        x: samples ``(N, ...)`` of real numbers; clips where the network has memory.

    Returns:
        ``round(x / scale)``, saturated to the input's bits, in its dtype.
    """
    check_network(net)
    kind = net.types[net.inputs[0].name]
    return kind.from_float(check_frames(net, TensorType(kind.shape), x))
