"""The native engine: layers as programs in C++, vectorised, on several threads, without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.engine.plan import compile_layer
from spica.engine.record import ANY_BITS, Recorder, Unrecorded, Value
from spica.engine.reference import Reference
from spica.layers.arithmetic import Complex, Padding, Pair, Stage
from spica.network import Layer, TensorType

FEW = 1024
"""Values that numpy finishes sooner than a program for them is made."""


class Native(Reference):
    """Integer primitives on ``threads`` threads. Same integers as the reference, which stands in beyond 32 bits."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def forward(self, layer: Layer, read: Sequence[NDArray], types: Sequence[TensorType]) -> NDArray:
        compiled = compile_layer(layer, types)
        if compiled is None:
            return super().forward(layer, read, types)
        once = dict(zip(layer.inputs, read))  # a layer may read one tensor twice
        return compiled(list(once.values()), self.threads, count=False)[0][0]

    def convolve(
        self, x: NDArray, kernel: NDArray, strides: Pair, padding: Padding, fill: NDArray, bound: int
    ) -> NDArray:
        try:
            recorder, value = _recorded(x)
            sums = recorder.convolve(value, kernel, strides, padding, fill, bound)
            return self._run(recorder, value, sums, x)
        except Unrecorded:
            return super().convolve(x, kernel, strides, padding, fill, bound)

    def convolve_depthwise(self, x: NDArray, kernel: NDArray, strides: Pair, padding: Padding, bound: int) -> NDArray:
        try:
            recorder, value = _recorded(x)
            return self._run(recorder, value, recorder.convolve_depthwise(value, kernel, strides, padding, bound), x)
        except Unrecorded:
            return super().convolve_depthwise(x, kernel, strides, padding, bound)

    def recur(
        self, x: NDArray, state: Complex, factor: Complex, arrive: Stage, leave: Stage, bits: int
    ) -> tuple[NDArray, Complex]:
        try:
            recorder = Recorder()
            reads = [_input(recorder, values) for values in (x, *state)]
            made, last = recorder.recur(reads[0], (reads[1], reads[2]), factor, arrive, leave, bits)
        except Unrecorded:
            return super().recur(x, state, factor, arrive, leave, bits)
        states, real, imaginary = self._outputs(recorder, reads, [made, *last], [x, *state])
        return states, (real, imaginary)

    def finish(self, acc: NDArray, stage: Stage) -> NDArray:
        if acc.size <= FEW:
            return super().finish(acc, stage)
        try:
            recorder, value = _recorded(acc)
            made = recorder.finish(value, stage)
            return acc if made is value else self._run(recorder, value, made, acc)
        except Unrecorded:
            return super().finish(acc, stage)

    def _run(self, recorder: Recorder, value: Value, made: Value, x: NDArray) -> NDArray:
        """What a program of one step gives for ``x``; sums leave it as they are."""
        if made.memory is None:
            made = recorder.finish(made, Stage(value_bits=ANY_BITS))
        return self._outputs(recorder, [value], [made], [x])[0]

    def _outputs(
        self, recorder: Recorder, reads: Sequence[Value], made: Sequence[Value], arrays: Sequence[NDArray]
    ) -> list[NDArray]:
        """What the program that was recorded gives for ``arrays``."""
        samples = len(arrays[0])
        outputs = [np.empty((samples, *value.shape[1:]), value.dtype) for value in made]
        program = recorder.build(reads, made)
        program.run([np.ascontiguousarray(a) for a in arrays], outputs, samples, self.threads, False)
        return outputs


def _recorded(x: NDArray) -> tuple[Recorder, Value]:
    """A recorder with one input that can hold what ``x`` does."""
    recorder = Recorder()
    return recorder, _input(recorder, x)


def _input(recorder: Recorder, x: NDArray) -> Value:
    return recorder.input(x.shape[1:], int(x.min()), int(x.max()), x.dtype)
