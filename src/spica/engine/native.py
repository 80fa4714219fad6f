"""The native engine: layers as programs in C++, vectorised, on several threads, without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.network import Layer, TensorType
from spica.program import trace_layer
from spica.program.ir import ANY_BITS, Range
from spica.program.native import NativeProgram
from spica.program.trace import Tracer, Untraceable, Value
from spica.semantics.primitives import Complex, Epilogue, Padding, Pair
from spica.semantics.reference import Reference

FEW = 1024
"""Values that numpy finishes sooner than a program for them is made."""

MOST_SCANS = 64
_SCANS: dict[Hashable, NativeProgram] = {}
"""Programs of recurrences by their content; layer by layer, one runs again for every batch and clip."""


class Native(Reference):
    """Integer primitives on ``threads`` threads. Same integers as the reference, which stands in beyond 32 bits."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def forward(self, layer: Layer, read: Sequence[NDArray], types: Sequence[TensorType]) -> NDArray:
        """Run one layer's integer semantics as a program of its own."""
        program = trace_layer(layer, types)
        if program is None:
            return super().forward(layer, read, types)
        once = dict(zip(layer.inputs, read))  # a layer may read one tensor twice
        return NativeProgram(program)(list(once.values()), self.threads)[0][0]

    def convolve(
        self, x: NDArray, kernel: NDArray, strides: Pair, padding: Padding, fill: NDArray, bound: int
    ) -> NDArray:
        """Compute ``primitives.convolve``."""
        return self._run("convolve", x, kernel, strides, padding, fill, bound)

    def convolve_depthwise(self, x: NDArray, kernel: NDArray, strides: Pair, padding: Padding, bound: int) -> NDArray:
        """Compute ``primitives.convolve_depthwise``."""
        return self._run("convolve_depthwise", x, kernel, strides, padding, bound)

    def apply_epilogue(self, acc: NDArray, epilogue: Epilogue) -> NDArray:
        """Compute ``primitives.apply_epilogue``."""
        return super().apply_epilogue(acc, epilogue) if acc.size <= FEW else self._run("apply_epilogue", acc, epilogue)

    def scan(
        self, x: NDArray, state: Complex, factor: Complex, arrive: Epilogue, leave: Epilogue, bits: int
    ) -> tuple[NDArray, Complex]:
        """Compute ``Reference.scan``."""
        reads = (x, *state)
        spans = [_wide_range(a) for a in reads]
        parameters = (*factor, *vars(arrive).values(), *vars(leave).values())
        key = x.shape[1:], bits, *spans, *(a.dtype for a in reads), *map(_content, parameters)
        program = _SCANS.get(key)  # kept here: another thread may clear the table
        try:
            if program is None:
                tracer = Tracer()
                values = [tracer.input(a.shape[1:], *span, a.dtype) for a, span in zip(reads, spans)]
                made, last = tracer.scan(values[0], (values[1], values[2]), factor, arrive, leave, bits)
                if len(_SCANS) >= MOST_SCANS:
                    _SCANS.clear()
                program = _SCANS[key] = _compile(tracer, values, [made, *last])
        except Untraceable:
            return super().scan(x, state, factor, arrive, leave, bits)
        (states, real, imaginary), _ = program(reads, self.threads)
        return states, (real, imaginary)

    def _run(self, primitive: str, x: NDArray, *parameters: Any) -> NDArray:
        """Run a primitive on one array as a program; accumulators leave as they are."""
        tracer = Tracer()
        try:
            value = tracer.input(x.shape[1:], int(x.min()), int(x.max()), x.dtype)
            made = getattr(tracer, primitive)(value, *parameters)
            if made.sums is not None:
                made = tracer.apply_epilogue(made, Epilogue(value_bits=ANY_BITS))
            return _compile(tracer, [value], [made])([x], self.threads)[0][0]
        except Untraceable:
            return getattr(Reference, primitive)(x, *parameters)


def _compile(tracer: Tracer, reads: Sequence[Value], made: Sequence[Value]) -> NativeProgram:
    return NativeProgram(tracer.program(*({str(i): v for i, v in enumerate(values)} for values in (reads, made))))


def _wide_range(x: NDArray) -> Range:
    """The range of its type, or of 32 bits, if ``x`` fits that: one program serves all values."""
    low, high = (-(1 << 31), (1 << 31) - 1) if x.dtype.itemsize >= 4 else _type_range(x.dtype)
    if x.dtype.itemsize > 4 or x.dtype == np.uint32:
        return min(low, int(x.min())), max(high, int(x.max()))
    return low, high


@cache
def _type_range(dtype: np.dtype) -> Range:
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def _content(value: Any) -> Hashable:
    return (value.dtype, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value
