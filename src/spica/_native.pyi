"""Programs of the native engine, and native learning: what C++ (native/module.cpp) offers to Python."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

_Channels: TypeAlias = NDArray[np.int64] | None  # one value a channel
# bias, ceiling, multiplier, shift, value_bits, buffer_bits, relu, low, high
_Epilogue: TypeAlias = tuple[_Channels, _Channels, _Channels, _Channels, int, int, bool, int, int]
_Range: TypeAlias = tuple[int, int]  # the smallest and the largest accumulator
_Kernel: TypeAlias = NDArray[np.int8] | NDArray[np.int16]

near_zero: int

def instruction_set() -> str:
    """Return the name of the instruction set in use."""

def peak(threads: int, rounds: int = 10_000_000) -> float:
    """Measure the peak rate: 8-bit multiply-accumulates a second, on registers alone."""

class Learner:
    """A learning layer over arrays that it keeps and changes in place."""

    def __init__(
        self,
        kernel: NDArray[np.int8],
        memory: NDArray[np.int16],
        plasticity: NDArray[np.int64],
        threshold: NDArray[np.int64],
        learned: NDArray[np.int64],
        rule: Sequence[int],
        seed: int,
    ) -> None:
        """Take a layer's arrays.

        Args:
            kernel: Connections (neurons, inputs), 0 or 1.
            memory: Memories of the same shape, or no rows for the rule that swaps.
            plasticity: One value a neuron, as ``threshold`` and ``learned``.
            threshold: What a neuron's potential is compared with.
            learned: Samples that each neuron has learned.
            rule: Neurons a class, weights a neuron, least plasticity, its decay, competition, unit, memory limit.
            seed: Seed of all lots.
        """

    def learn(self, spikes: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        """Learn binary spikes (samples, inputs), one sample after the other. A label below zero means none."""

class Program:
    """Operations over tensors, built once and then run without Python.

    Tensors go by number. An epilogue is a tuple of bias, ceiling, multiplier and shift (int64 arrays of one value a
    channel, or None), value_bits, buffer_bits, relu, low, high. Whatever does not fit together raises a ValueError.
    """

    def __init__(self) -> None:
        """Make an empty program."""

    def tensor(
        self,
        shape: Sequence[int],
        border: Sequence[int],
        planes: int,
        zero: int,
        fill: Sequence[int],
        counter: int,
        shares: int,
    ) -> int:
        """Add a tensor and return its number.

        Args:
            shape: Rows, columns, channels.
            border: Pixels that windows may reach into: top, bottom, left, right.
            planes: Bytes of a value less ``zero``, 1 to 4, or 0 for 32-bit words.
            zero: What the bytes are counted from.
            fill: The border's values, one a channel, or none for zeros.
            counter: Where its non-zero values are counted, or -1.
            shares: The tensor whose memory it uses in another shape, or -1.
        """

    def convolve(
        self,
        x: int,
        y: int,
        events: int,
        kernel: _Kernel,
        strides: Sequence[int],
        before: Sequence[int],
        epilogue: _Epilogue,
        range: _Range,
    ) -> None:
        """Add a convolution.

        Args:
            x: Tensor to read.
            y: Tensor to write.
            events: Tensor for the lists of events, or -1.
            kernel: Weights (height, width, channels, filters), int8 or int16.
            strides: Strides of rows and columns.
            before: Padding above and on the left.
            epilogue: What takes accumulators to the values of ``y``.
            range: The smallest and the largest accumulator.
        """

    def depthwise(
        self,
        x: int,
        y: int,
        kernel: _Kernel,
        strides: Sequence[int],
        before: Sequence[int],
        epilogue: _Epilogue,
        range: _Range,
    ) -> None:
        """Add a depthwise convolution. kernel (height, width, channels) is int8 or int16."""

    def add(
        self, a: int, b: int, y: int, shift_a: Sequence[int], shift_b: Sequence[int], epilogue: _Epilogue, range: _Range
    ) -> None:
        """Add the sum of a * 2^shift_a and b * 2^shift_b, with one shift a channel."""

    def multiply(self, a: int, b: int, y: int, epilogue: _Epilogue, range: _Range) -> None:
        """Add the products of two tensors; rows, columns or channels of b are one where all of them are."""

    def gather(self, x: int, y: int, positions: NDArray[np.int64]) -> None:
        """Add a copy of the value of x at each position, or of zero where it is -1, to y."""

    def map(self, x: int, y: int, table: Sequence[int], first: int, epilogue: _Epilogue, range: _Range) -> None:
        """Add a look-up of table[x - first], or an epilogue alone where the table is empty."""

    def attend(
        self,
        q: int,
        k: int,
        v: int,
        y: int,
        heads: int,
        multiplier: int,
        shift: int,
        epilogue: _Epilogue,
        range: _Range,
    ) -> None:
        """Add attention. A score is (query . key) * multiplier >> shift."""

    def normalise(self, x: int, y: int, epilogue: _Epilogue, range: _Range) -> None:
        """Add the normalisation of every token by its mean absolute deviation."""

    def recur(
        self,
        x: int,
        before: Sequence[int],
        y: int,
        after: Sequence[int],
        factor_real: NDArray[np.int64],
        factor_imaginary: NDArray[np.int64],
        arrive: _Epilogue,
        leave: _Epilogue,
        bits: int,
    ) -> None:
        """Add a scan: state = factor * state + x, saturated to ``bits``.

        Args:
            x: Tensor to read: steps and channels, in one row.
            before: Tensors of the state's real and imaginary part, before the first step.
            y: Tensor of the state after every step: steps, channels, real and imaginary part.
            after: Tensors of the state's real and imaginary part, after the last step.
            factor_real: Real part of the factor, one value a channel.
            factor_imaginary: Its imaginary part.
            arrive: Epilogue of ``x``.
            leave: Epilogue of the new state.
            bits: Width of the buffers, without sign.
        """

    def sum_of_pixels(self, x: int, y: int, epilogue: _Epilogue, range: _Range) -> None:
        """Add the sum over all pixels."""

    def max_pool(self, x: int, y: int, size: Sequence[int], strides: Sequence[int], before: Sequence[int]) -> None:
        """Add a maximum over windows of pixels."""

    def copy(
        self,
        x: int,
        y: int,
        shape: Sequence[int],
        strides: Sequence[int],
        offset: int,
        to_start: Sequence[int],
        to_step: Sequence[int],
        clear: bool,
        last: bool,
    ) -> None:
        """Add a copy of values of one tensor into another.

        Args:
            x: Tensor to read.
            y: Tensor to write.
            shape: Rows, columns, channels to copy.
            strides: Values of ``x`` between two rows, columns, channels.
            offset: The first value of ``x``.
            to_start: The first row, column, channel of ``y``.
            to_step: Rows and columns of ``y`` from one to the next.
            clear: Set the rest of ``y`` to zero.
            last: No later copy fills ``y``.
        """

    def name(self, layer: str) -> None:
        """Name the operations that are added from here on."""

    def finalize(
        self,
        inputs: Sequence[int],
        outputs: Sequence[int],
        reals: Sequence[tuple[NDArray[np.float32], NDArray[np.float32]]],
    ) -> None:
        """Place all tensors in memory; no operation can be added afterwards.

        Args:
            inputs: Tensors that every run loads.
            outputs: Tensors that every run stores.
            reals: For each output two arrays that its values are multiplied by, one factor a channel, or empty arrays
                where integers leave.
        """

    def run(
        self, inputs: Sequence[NDArray[Any]], outputs: Sequence[NDArray[Any]], samples: int, threads: int, count: bool
    ) -> list[int]:
        """Run samples through the program, into the arrays of ``outputs``.

        Returns:
            The non-zero values of each counter, or zeros unless ``count``.
        """

    def seconds(self) -> list[tuple[str, float]]:
        """Return the name of each operation and the seconds that all threads have spent in it."""

    def paths(self) -> list[tuple[int, int]]:
        """Return how many groups of samples took the dense and the event path, by convolution."""

    @property
    def sample_bytes(self) -> int:
        """Bytes of memory that one sample needs."""
