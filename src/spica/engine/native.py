"""The native engine: layers as programs in C++, vectorised, on several threads, without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from numpy.typing import NDArray

from spica.network import Layer, TensorType
from spica.program import trace_layer
from spica.program.ir import ANY_BITS
from spica.program.native import NativeProgram
from spica.program.trace import Tracer, Untraceable, Value
from spica.semantics.primitives import Complex, Epilogue, Padding, Pair
from spica.semantics.reference import Reference

FEW = 1024
"""Values that numpy finishes sooner than a program for them is made."""


class Native(Reference):
    """Integer primitives on ``threads`` threads. Same integers as the reference, which stands in beyond 32 bits."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def forward(self, layer: Layer, read: Sequence[NDArray], types: Sequence[TensorType]) -> NDArray:
        """Run one layer's integer meaning as a program of its own."""
        program = trace_layer(layer, types)
        if program is None:
            return super().forward(layer, read, types)
        once = dict(zip(layer.inputs, read))  # a layer may read one tensor twice
        return NativeProgram(program)(list(once.values()), self.threads)[0][0]

    def convolve(
        self, x: NDArray, kernel: NDArray, strides: Pair, padding: Padding, fill: NDArray, bound: int
    ) -> NDArray:
        """Compute ``primitives.convolve``."""
        try:
            return self._run(lambda ops, x: [ops.convolve(x, kernel, strides, padding, fill, bound)], x)[0]
        except Untraceable:
            return super().convolve(x, kernel, strides, padding, fill, bound)

    def convolve_depthwise(self, x: NDArray, kernel: NDArray, strides: Pair, padding: Padding, bound: int) -> NDArray:
        """Compute ``primitives.convolve_depthwise``."""
        try:
            return self._run(lambda ops, x: [ops.convolve_depthwise(x, kernel, strides, padding, bound)], x)[0]
        except Untraceable:
            return super().convolve_depthwise(x, kernel, strides, padding, bound)

    def apply_epilogue(self, acc: NDArray, epilogue: Epilogue) -> NDArray:
        """Compute ``primitives.apply_epilogue``."""
        if acc.size <= FEW:
            return super().apply_epilogue(acc, epilogue)
        try:
            return self._run(lambda ops, acc: [ops.apply_epilogue(acc, epilogue)], acc)[0]
        except Untraceable:
            return super().apply_epilogue(acc, epilogue)

    def scan(
        self, x: NDArray, state: Complex, factor: Complex, arrive: Epilogue, leave: Epilogue, bits: int
    ) -> tuple[NDArray, Complex]:
        """Compute ``Reference.scan``."""

        def trace(ops: Tracer, x: Value, *state: Value) -> list[Value]:
            states, last = ops.scan(x, (state[0], state[1]), factor, arrive, leave, bits)
            return [states, *last]

        try:
            states, real, imaginary = self._run(trace, x, *state)
        except Untraceable:
            return super().scan(x, state, factor, arrive, leave, bits)
        return states, (real, imaginary)

    def _run(self, trace: Callable[..., list[Value]], *arrays: NDArray) -> list[NDArray]:
        """Run what ``trace`` does with a tracer and values, on ``arrays``; accumulators leave as they are."""
        tracer = Tracer()
        reads = [tracer.input(a.shape[1:], int(a.min()), int(a.max()), a.dtype) for a in arrays]
        plain = Epilogue(value_bits=ANY_BITS)
        made = [v if v.sums is None else tracer.apply_epilogue(v, plain) for v in trace(tracer, *reads)]
        named = [{str(i): value for i, value in enumerate(values)} for values in (reads, made)]
        return NativeProgram(tracer.program(*named))(arrays, self.threads)[0]
