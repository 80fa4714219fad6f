"""Streaming: a network that takes frames as they come and keeps what its layers remember between them."""

from __future__ import annotations

from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.plan import Part, layer_by_layer
from spica.engine.run import BATCH, Memory, compute, make_ops, walk
from spica.errors import SpicaError
from spica.network import Network
from spica.network.record import State


class Stream:
    """One stream of frames through a network; ``net.stream()`` opens it.

    The state (frame buffers, recurrent states) belongs to the stream: many streams of one network are independent of
    each other. It starts cleared.
    """

    def __init__(self, net: Network, *, engine: str = "native", threads: int | None = None) -> None:
        self.network = net
        self._ops = make_ops(engine, threads)
        self._memory: Memory | None = Memory(net)

    def push(self, frames: ArrayLike) -> NDArray | list[NDArray]:
        """Outputs (float32) for the next frames ``(N, H, W, C)``, usually one; the same as in one long ``forward``."""
        net, memory = self.network, self._open()

        def step(part: Part, read: list[NDArray]) -> list[NDArray]:
            (layer,) = part.layers
            return [compute(layer, read, net.input_types(layer), self._ops, memory)]

        tensors = walk(net, frames, layer_by_layer(net), step, net.outputs, BATCH)
        outputs = [net.types[name].to_float(tensors[name]) for name in net.outputs]
        return outputs[0] if len(outputs) == 1 else outputs

    def reset(self) -> None:
        """Clear the state, as at the start."""
        self._open().states = Memory(self.network).states

    def state(self) -> dict[str, State]:
        """A copy of what every layer remembers, by layer name."""
        return {name: tuple(a.copy() for a in state) for name, state in self._open().states.items()}

    def restore(self, state: dict[str, State]) -> None:
        """Go on from a state that ``state()`` gave.

        Raises:
            SpicaError: where it is not one of this network's.
        """
        mine = self._open().states
        same = state.keys() == mine.keys() and all(_formats(state[name]) == _formats(mine[name]) for name in mine)
        if not same:
            raise SpicaError(f"{self.network.name}: not a state of this network; use one that its stream gave")
        self._open().states = {name: tuple(a.copy() for a in saved) for name, saved in state.items()}

    def close(self) -> None:
        """Forget the state; the stream takes no more frames."""
        self._memory = None

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> Memory:
        if self._memory is None:
            raise SpicaError(f"{self.network.name}: this stream is closed; open another with net.stream()")
        return self._memory


def _formats(state: State) -> list[tuple[tuple[int, ...], np.dtype]]:
    return [(a.shape, a.dtype) for a in state]
