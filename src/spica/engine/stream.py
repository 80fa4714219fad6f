"""Streaming: a network that takes frames as they come and keeps what its layers remember between them."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from statistics import median

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from spica.engine.inputs import check_array, is_count
from spica.engine.plan import segments_of
from spica.engine.runner import BATCH, Memory, execute, execute_segment, make_ops
from spica.errors import SpicaError
from spica.network import Network, TensorType
from spica.network.file import digest
from spica.network.layer import State, state_types
from spica.program import Segment
from spica.util.files import read_bytes, write_atomically

NETWORK, FRAMES = "network", "frames"
"""Tensors of a state file beside the state: the network's digest, and the number of frames so far."""

RECENT = 1024
"""Pushes whose time is remembered."""


@dataclass(frozen=True, eq=False)
class _Moment:
    """Where a stream stands. It is replaced as one, so that no interrupt finds half of it moved on."""

    states: Mapping[str, State]
    frames: int = 0
    rest: NDArray | list[NDArray] | None = None  # the outputs of empty frames, while they change nothing


class Stream:
    """Frames through a network, one stream or many side by side; ``net.stream()`` opens it.

    The state (frame buffers, recurrent states) belongs to the stream and starts cleared. ``push`` returns when its
    frames are done and nothing is queued: whoever pushes too fast waits, and memory stays as it is, however long the
    stream.

    Threads may share a stream: it takes their frames one push after the other. A push that fails or is interrupted
    leaves it as it was.

    Attributes:
        network: what the frames go through.
        streams: how many streams go side by side.
    """

    _may_rest = True
    """Whether empty frames that change nothing need not be computed."""

    def __init__(self, net: Network, *, streams: int = 1, engine: str = "native", threads: int | None = None) -> None:
        """Open ``streams`` streams of ``net``, independent of each other.

        Args:
            net: a network with one input.
            streams: how many go side by side.
            engine: "native" or "reference".
            threads: threads of the native engine; all processors by default.

        Raises:
            SpicaError: where the network or an option is not of this kind.
        """
        if not is_count(streams):
            raise SpicaError(f"streams is {streams!r}, but must be an integer of at least 1")
        if len(net.inputs) != 1:
            raise SpicaError(f"{net.name}: has {len(net.inputs)} inputs; a stream has one")
        self.network, self.streams = net, streams
        self._ops, self._engine = make_ops(engine, threads), engine
        self._plans = {True: self._plan(streaming=True)}  # that of stretches is made when one comes
        self._moment: _Moment | None = _Moment(Memory(net, streams).states)
        self._lock = threading.RLock()
        self._seconds: deque[float] = deque(maxlen=RECENT)

    def push(self, frames: ArrayLike) -> NDArray | list[NDArray]:
        """Return outputs (float32) for the next frames; the same as in one long ``forward``.

        An empty frame after which nothing that is remembered has changed is not computed again until something comes.

        Args:
            frames: ``(N, ...)``: the next frames of the only stream, usually one; the next frame of each of many.

        Raises:
            SpicaError: where frames do not fit, or the stream is closed.
        """
        start, source = time.perf_counter(), self.network.inputs[0].name
        x = check_array(source, self.network.types[source], frames)
        if self.streams > 1 and len(x) != self.streams:
            raise SpicaError(f"{self.network.name}: {len(x)} frames for {self.streams} streams; push one for each")
        empty = len(x) == self.streams and not x.any()
        with self._lock:
            now = self._open()
            states, outputs, frames = now.states, now.rest, now.frames + len(x) // self.streams
            if not empty or outputs is None:
                memory = Memory(self.network, self.streams, now.states)
                outputs, states = self._take(x, memory), memory.states
            settled = empty and all(_equal(now.states[name], states[name]) for name in states)
            self._moment = _Moment(states, frames, outputs if settled and self._may_rest else None)
            self._seconds.append(time.perf_counter() - start)
        return [a.copy() for a in outputs] if isinstance(outputs, list) else outputs.copy()

    @property
    def frames(self) -> int:
        """Frames of each stream that have been pushed."""
        return self._open().frames

    @property
    def latency_ms(self) -> float:
        """Milliseconds that a push takes: the measured median of the last thousand.

        Raises:
            SpicaError: before the first.
        """
        if not self._seconds:
            raise SpicaError(f"{self.network.name}: nothing has been pushed yet")
        return 1e3 * median(self._seconds)

    def reset(self) -> None:
        """Clear the state, as at the start."""
        self._become(Memory(self.network, self.streams).states, 0)

    def state(self) -> dict[str, State]:
        """Return a copy of the state of every layer, by layer name; the first axis of each array is the streams'."""
        return {name: tuple(a.copy() for a in state) for name, state in self._open().states.items()}

    def restore(self, state: dict[str, State]) -> None:
        """Continue from a state that ``state()`` gave.

        Raises:
            SpicaError: where it is not one of this network's.
        """
        mine = self._open().states
        same = isinstance(state, dict) and state.keys() == mine.keys()
        if not same or any(_formats(state[name]) != _formats(mine[name]) for name in mine):
            count = "one stream" if self.streams == 1 else f"{self.streams} streams"
            raise SpicaError(f"{self.network.name}: not a state of this network with {count}; use one that it gave")
        for layer in self.network.stateful_layers:
            kinds = state_types(layer, self.network.input_types(layer))
            if not all(map(_holds, kinds, state[layer.name])):
                raise SpicaError(f"{layer.name}: its state holds numbers that it never has; use one that a stream gave")
        self._become({name: tuple(a.copy() for a in saved) for name, saved in state.items()}, self.frames)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the state, and how many frames there were, to a file, atomically (safetensors: no code in it)."""
        now = self._open()
        tensors = {f"{name}#{i}": a for name, state in now.states.items() for i, a in enumerate(state)}
        tensors |= {NETWORK: self._digest(), FRAMES: np.array([now.frames])}
        write_atomically(path, save_tensors({name: np.ascontiguousarray(a) for name, a in tensors.items()}))

    def load(self, path: str | PathLike[str]) -> None:
        """Continue from a state that ``save`` wrote.

        Raises:
            SpicaError: where the file cannot be read, or is not one of this network's.
        """
        try:
            tensors = load_tensors(read_bytes(path))
            of, frames = tensors.pop(NETWORK), int(tensors.pop(FRAMES)[0])
        except (SafetensorError, KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
            raise SpicaError(f"{path}: not a whole file of a stream's state ({error})") from None
        if not np.array_equal(of, self._digest()):
            raise SpicaError(f"{path}: the state of another network than {self.network.name}")
        counts = Counter(key.rpartition("#")[0] for key in tensors)
        self.restore({name: tuple(tensors[f"{name}#{i}"] for i in range(n)) for name, n in counts.items()})
        self._become(self._open().states, frames)

    def _digest(self) -> NDArray[np.uint8]:
        return np.frombuffer(digest(self.network), np.uint8)

    def close(self) -> None:
        """Forget the state; the stream takes no more frames."""
        self._moment = None

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, x: NDArray, memory: Memory) -> NDArray | list[NDArray]:
        net = self.network

        def step(segment: Segment, read: list[NDArray]) -> list[NDArray]:
            return self._step(segment, read, memory)

        streaming, batch = len(x) == self.streams, BATCH if self.streams == 1 else self.streams
        if streaming not in self._plans:
            self._plans[streaming] = self._plan(streaming)
        tensors = execute({net.inputs[0].name: x}, self._plans[streaming], step, net.outputs, batch)
        outputs = [net.types[name].to_float(tensors[name]) for name in net.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def _plan(self, streaming: bool) -> list[Segment]:
        return segments_of(self.network, self.network.outputs, self._engine, streaming)

    def _step(self, segment: Segment, read: list[NDArray], memory: Memory) -> list[NDArray]:
        """Run one segment; a chip's stream has its own way."""
        return execute_segment(self.network, segment, read, self._ops, memory)

    def _open(self) -> _Moment:
        if self._moment is None:
            raise SpicaError(f"{self.network.name}: this stream is closed; open another with net.stream()")
        return self._moment

    def _become(self, states: Mapping[str, State], frames: int) -> None:
        with self._lock:
            self._open()
            self._moment = _Moment(states, frames)


def _formats(state: State) -> list[tuple]:
    return [(np.shape(a), getattr(a, "dtype", None)) for a in state]


def _holds(kind: TensorType, values: NDArray) -> bool:
    """Return whether values are of a type's range, or finite real numbers."""
    low, high = (-np.inf, np.inf) if kind.is_float else kind.range
    return bool(np.isfinite(values).all() and (values >= low).all() and (values <= high).all())


def _equal(a: State, b: State) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b))
