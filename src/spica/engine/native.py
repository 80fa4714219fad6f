"""The native engine: layers as programs in C++, vectorised, on several threads, without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica.engine.plan import compile_layer
from spica.network import Layer, TensorType
from spica.program.trace import ANY_BITS, Tracer, Untraceable, Value
from spica.semantics.primitives import Complex, Epilogue, Padding, Pair
from spica.semantics.reference import Reference

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
            tracer, value = _traced(x)
            sums = tracer.convolve(value, kernel, strides, padding, fill, bound)
            return self._run(tracer, value, sums, x)
        except Untraceable:
            return super().convolve(x, kernel, strides, padding, fill, bound)

    def convolve_depthwise(self, x: NDArray, kernel: NDArray, strides: Pair, padding: Padding, bound: int) -> NDArray:
        try:
            tracer, value = _traced(x)
            return self._run(tracer, value, tracer.convolve_depthwise(value, kernel, strides, padding, bound), x)
        except Untraceable:
            return super().convolve_depthwise(x, kernel, strides, padding, bound)

    def scan(
        self, x: NDArray, state: Complex, factor: Complex, arrive: Epilogue, leave: Epilogue, bits: int
    ) -> tuple[NDArray, Complex]:
        try:
            tracer = Tracer()
            reads = [_input(tracer, values) for values in (x, *state)]
            made, last = tracer.scan(reads[0], (reads[1], reads[2]), factor, arrive, leave, bits)
        except Untraceable:
            return super().scan(x, state, factor, arrive, leave, bits)
        states, real, imaginary = self._outputs(tracer, reads, [made, *last], [x, *state])
        return states, (real, imaginary)

    def apply_epilogue(self, acc: NDArray, epilogue: Epilogue) -> NDArray:
        if acc.size <= FEW:
            return super().apply_epilogue(acc, epilogue)
        try:
            tracer, value = _traced(acc)
            made = tracer.apply_epilogue(value, epilogue)
            return acc if made is value else self._run(tracer, value, made, acc)
        except Untraceable:
            return super().apply_epilogue(acc, epilogue)

    def _run(self, tracer: Tracer, value: Value, made: Value, x: NDArray) -> NDArray:
        """What a program of one step gives for ``x``; sums leave it as they are."""
        if made.memory is None:
            made = tracer.apply_epilogue(made, Epilogue(value_bits=ANY_BITS))
        return self._outputs(tracer, [value], [made], [x])[0]

    def _outputs(
        self, tracer: Tracer, reads: Sequence[Value], made: Sequence[Value], arrays: Sequence[NDArray]
    ) -> list[NDArray]:
        """What the program that was recorded gives for ``arrays``."""
        samples = len(arrays[0])
        outputs = [np.empty((samples, *value.shape[1:]), value.dtype) for value in made]
        program = tracer.build(reads, made)
        program.run([np.ascontiguousarray(a) for a in arrays], outputs, samples, self.threads, False)
        return outputs


def _traced(x: NDArray) -> tuple[Tracer, Value]:
    """A tracer with one input that can hold what ``x`` does."""
    tracer = Tracer()
    return tracer, _input(tracer, x)


def _input(tracer: Tracer, x: NDArray) -> Value:
    return tracer.input(x.shape[1:], int(x.min()), int(x.max()), x.dtype)
