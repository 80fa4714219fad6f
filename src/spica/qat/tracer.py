"""Trace the integer semantics of layers on Keras tensors.

A layer's ``forward_integer`` is written with primitives on arrays. Here they are given stand-ins that hold tensors, so
that every layer with integer semantics can be trained without a word about Keras in its file. There are two sets of
primitives: ``differentiable.Differentiable`` for training, ``exact.Exact`` for the very integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras import ops
from spica.errors import SpicaError
from spica.network import TensorType
from spica.semantics.primitives import EXPONENT_BITS, PROBABILITY_BITS, Complex, Epilogue, Padding, Pair

Range = tuple[int, int]
Convolution = Callable[[Any, Any], Any]
"""A float32 convolution of images and a kernel."""


@dataclass(eq=False)
class Value:
    """A stand-in for an array while a layer runs: its shape with a batch axis of one, its tensor, its range."""

    shape: tuple[int, ...]
    tensor: Any
    range: Range
    dtype: Any = np.int64

    @property
    def ndim(self) -> int:
        """Return the number of axes, the batch included."""
        return len(self.shape)

    def __len__(self) -> int:
        return 1

    def reshape(self, *shape: Any) -> Value:
        """Return it in another shape."""
        wanted = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        sizes = np.empty(self.shape, np.bool_).reshape(wanted).shape

        def move(tensor: Any) -> Any:
            return ops.reshape(tensor, (-1, *sizes[1:]))

        tensor = tuple(map(move, self.tensor)) if isinstance(self.tensor, tuple) else move(self.tensor)
        return replace(self, shape=sizes, tensor=tensor)

    def astype(self, dtype: Any) -> Value:
        """Return it in another type; the tensor stays as it is."""
        return replace(self, dtype=dtype)


class Learned(np.ndarray):
    """Integers of a layer that stand for a tensor: numpy sees what training starts from, primitives the tensor.

    Moving and shifting it (as a layer does before it convolves) is followed: ``tensor`` gives the tensor as moved.
    """

    source: Any
    positions: NDArray[np.int64] | None
    shift: NDArray[np.int64]
    range: Range

    @classmethod
    def of(cls, start: NDArray, tensor: Any, limits: Range) -> Learned:
        """Return integers that start as ``start`` and stand for a tensor within ``limits``."""
        made = np.asarray(start).view(cls)
        made.source, made.positions = tensor, np.arange(made.size).reshape(made.shape)
        made.shift, made.range = np.zeros(made.shape, np.int64), limits
        return made

    def __array_finalize__(self, other: Any) -> None:
        self.positions = None  # whatever numpy computes from it is an ordinary array

    def _follow(self, move: Callable[[NDArray], NDArray]) -> Learned:
        assert self.positions is not None
        made = move(np.asarray(self)).view(Learned)
        made.source, made.range = self.source, self.range
        made.positions, made.shift = move(self.positions), move(self.shift)
        return made

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self)[key] if self.positions is None else self._follow(lambda a: a[key])

    def reshape(self, *shape: Any) -> Any:  # type: ignore[override]
        """Return it in another shape."""
        return np.asarray(self).reshape(*shape) if self.positions is None else self._follow(lambda a: a.reshape(*shape))

    def astype(self, dtype: Any, *rest: Any, **options: Any) -> Any:
        """Return it in another type; the tensor stays as it is."""
        return np.asarray(self).astype(dtype, *rest, **options) if self.positions is None else self

    def __lshift__(self, shift: Any) -> Any:
        if self.positions is None:
            return np.asarray(self) << shift
        made = self._follow(lambda a: a)
        made.shift = self.shift + shift
        return made


def tensor_of(values: NDArray, dtype: str) -> Any:
    """Return the tensor that an array of integers stands for, or the array itself as one."""
    if not isinstance(values, Learned) or values.positions is None:
        return ops.convert_to_tensor(np.asarray(values).astype(dtype))
    tensor = ops.cast(values.source, dtype)
    if not np.array_equal(values.positions.ravel(), np.arange(prod(tensor.shape))):  # moved, or a part of it
        tensor = ops.take(ops.reshape(tensor, (-1,)), values.positions.ravel())
    tensor = ops.reshape(tensor, values.shape)
    return tensor * ops.convert_to_tensor((1 << values.shift).astype(dtype)) if values.shift.any() else tensor


def range_of(values: NDArray) -> Range:
    """Return the smallest and largest integer that an array can hold, whatever is learned."""
    if not isinstance(values, Learned) or values.positions is None:
        return int(values.min()), int(values.max())
    most = int(values.shift.max(initial=0))
    return values.range[0] << most, values.range[1] << most


class Primitives:
    """Base of both sets: moving values, and the shapes of sums. ``length`` is that of the clips, in frames."""

    dtype: str
    lowest: float
    """A number below all that is pooled."""

    def __init__(self, length: int) -> None:
        self.activities: list[tuple[str, Any]] = []
        self.layer, self.length = "", length

    def input(self, tensor: Any, kind: TensorType) -> Value:
        """Return the stand-in for a batch of the network's inputs."""
        return Value((1, *kind.shape), ops.cast(tensor, self.dtype), kind.range, kind.dtype)

    def convolve(self, x: Value, kernel: NDArray, strides: Pair, padding: Padding, fill: NDArray, bound: int) -> Value:
        """Convolve, see ``primitives.convolve``."""
        run = partial(ops.conv, strides=strides, padding="valid", data_format="channels_last")
        return self._slide(x, kernel, prod(kernel.shape[:3]), strides, padding, fill, run)

    def convolve_depthwise(self, x: Value, kernel: NDArray, strides: Pair, padding: Padding, bound: int) -> Value:
        """Convolve each channel, see ``primitives.convolve_depthwise``."""
        fill, run = np.zeros(kernel.shape[2], np.int64), partial(_depthwise, strides=strides)
        made = self._slide(x, kernel[..., None], prod(kernel.shape[:2]), strides, padding, fill, run)
        return replace(made, shape=(*made.shape[:3], kernel.shape[2]))

    def _slide(
        self, x: Value, kernel: NDArray, count: int, strides: Pair, padding: Padding, fill: NDArray, run: Convolution
    ) -> Value:
        """Return sums of ``count`` products each, by a float32 convolution of planes of image and kernel."""
        limits = min(x.range[0], int(np.min(fill))), max(x.range[1], int(np.max(fill)))
        padded = self._pad(x.tensor, padding, np.broadcast_to(fill, kernel.shape[2]))
        shape = _slid(x.shape, kernel.shape, strides, padding, kernel.shape[3])
        return Value(shape, self._products(padded, limits, kernel, count, run), (0, 0))

    def add(self, a: Value, b: Value, shifts: tuple[NDArray, NDArray], value_bits: int) -> Value:
        """Add tensors shifted to one exponent."""
        ends = [end << int(s.max()) for v, s in zip((a, b), shifts) for end in v.range]
        if max(map(abs, ends)) >= 1 << 30:
            raise SpicaError(
                f"{self.layer}: adds integers too wide to train; give the layers before it an output stage"
            )
        left, right = (v.tensor * ops.convert_to_tensor((1 << s).astype(self.dtype)) for v, s in zip((a, b), shifts))
        return Value(a.shape, left + right, (min(ends[:2]) + min(ends[2:]), max(ends[:2]) + max(ends[2:])))

    def multiply(self, a: Value, b: Value) -> Value:
        """Multiply tensors, see ``primitives.multiply``."""
        ends = [x * y for x in a.range for y in b.range]
        if max(map(abs, ends)) >= 1 << 30:
            raise SpicaError(f"{self.layer}: multiplies integers too wide to train; use fewer bits")
        return Value(a.shape, a.tensor * b.tensor, (min(ends), max(ends)))

    def concatenate(self, arrays: Sequence[Value], dtype: Any) -> Value:
        """Join tensors by their channels."""
        shape = (*arrays[0].shape[:-1], sum(a.shape[-1] for a in arrays))
        limits = min(a.range[0] for a in arrays), max(a.range[1] for a in arrays)
        return Value(shape, ops.concatenate([a.tensor for a in arrays], axis=-1), limits, dtype)

    def permute(self, x: Value, axes: tuple[int, ...]) -> Value:
        """Exchange axes."""
        order = (0, *(a + 1 for a in axes))
        return replace(x, shape=tuple(x.shape[a] for a in order), tensor=ops.transpose(x.tensor, order))

    def take(self, x: Value, axis: int, positions: range) -> Value:
        """Take positions along an axis."""
        shape = (*x.shape[: axis + 1], len(positions), *x.shape[axis + 2 :])
        return replace(x, shape=shape, tensor=ops.take(x.tensor, np.array(positions), axis=axis + 1))

    def gather(self, x: Value, positions: NDArray[np.int64], shape: tuple[int, ...]) -> Value:
        """Put values, or zeros, in another order, see ``primitives.gather``."""
        flat = ops.pad(ops.reshape(x.tensor, (-1, prod(x.shape[1:]))), ((0, 0), (1, 0)))
        tensor = ops.reshape(ops.take(flat, (positions + 1).astype(np.int32), axis=1), (-1, *shape))
        return replace(x, shape=(1, *shape), tensor=tensor, range=(min(x.range[0], 0), max(x.range[1], 0)))

    def dilate(self, x: Value, strides: Pair, padding: Padding) -> Value:
        """Put zeros between pixels, see ``primitives.dilate``."""
        _, h, w, c = x.shape
        (sh, sw), ((top, bottom), (left, right)) = strides, padding
        tensor = ops.reshape(x.tensor, (-1, h, 1, w, 1, c))
        tensor = ops.pad(tensor, ((0, 0), (0, 0), (0, sh - 1), (0, 0), (0, sw - 1), (0, 0)))
        tensor = ops.reshape(tensor, (-1, h * sh, w * sw, c))[:, : (h - 1) * sh + 1, : (w - 1) * sw + 1]
        tensor = ops.pad(tensor, ((0, 0), (top, bottom), (left, right), (0, 0)))
        shape = (1, top + (h - 1) * sh + 1 + bottom, left + (w - 1) * sw + 1 + right, c)
        return replace(x, shape=shape, tensor=tensor, range=(min(x.range[0], 0), max(x.range[1], 0)))

    def to_float(self, x: Value, kind: TensorType) -> Value:
        """Return the real numbers that integers of a type stand for."""
        step = ops.convert_to_tensor(np.ldexp(np.float32(1), -kind.frac_bits.astype(np.int32)).astype(np.float32))
        tensor = ops.cast(x.tensor, "float32") * step * ops.convert_to_tensor(kind.scale)
        return Value(x.shape, tensor, (0, 0), np.float32)

    def sliding_window(self, x: Value, past: Any, frames: int) -> tuple[Value, Any]:
        """Return windows of the last ``frames`` of clips that start from rest, whatever ``past`` says."""
        (_, height, width, channels), length = x.shape, self.length
        clips = ops.reshape(x.tensor, (-1, length, height * width, channels))
        clips = ops.pad(clips, ((0, 0), (frames - 1, 0), (0, 0), (0, 0)))
        windows = ops.stack([clips[:, i : i + length] for i in range(frames)], axis=2)
        shape = (1, frames, height * width, channels)
        limits = min(x.range[0], 0), max(x.range[1], 0)
        return replace(x, shape=shape, tensor=ops.reshape(windows, (-1, *shape[1:])), range=limits), past

    def attend(self, q: Value, k: Value, v: Value, heads: int, multiplier: int, shift: int) -> Value:
        """Mix values by the softmax of scores, see ``primitives.attend``."""
        _, tokens, channels = q.shape
        queries, keys, values = (
            ops.transpose(ops.reshape(a.tensor, (-1, tokens, heads, channels // heads)), (0, 2, 1, 3))
            for a in (q, k, v)
        )
        reach = max(map(abs, q.range)) * max(map(abs, k.range)) * channels // heads * multiplier
        if max(reach, tokens << EXPONENT_BITS + 7) >= 1 << 30:
            raise SpicaError(f"{self.layer}: its scores are too wide to train; use fewer channels in a head, or tokens")
        scores = ops.matmul(queries, ops.swapaxes(keys, -1, -2))
        mixed = ops.matmul(self._softmax(scores, multiplier, shift), values)
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, tokens, channels))
        limit = max(map(abs, v.range)) * (tokens + (1 << PROBABILITY_BITS))
        return Value(q.shape, mixed, (-limit, limit))

    def _softmax(self, scores: Any, multiplier: int, shift: int) -> Any:
        raise NotImplementedError

    def scan(
        self, x: Value, state: Any, factor: Complex, arrive: Epilogue, leave: Epilogue, bits: int
    ) -> tuple[Value, Any]:
        """Return states of clips that start from rest, whatever ``state`` says; factors are not learned."""
        _, steps, channels = x.shape
        reach = max(-leave.low, leave.high) * int((abs(factor[0]) + abs(factor[1])).max())
        if reach >= 1 << bits or bits > 31:
            raise SpicaError(f"{self.layer}: its states and factors are too wide to train; use at most 16 bits")
        arrived = ops.reshape(self.apply_epilogue(x, arrive).tensor, (-1, self.length * steps, channels))
        real, imaginary = (ops.convert_to_tensor(part.astype(self.dtype)) for part in factor)

        def step(before: tuple[Any, Any], arriving: Any) -> tuple[tuple[Any, Any], Any]:
            parts = self._turn(before, (real, imaginary), arriving, bits)
            after = tuple(self.apply_epilogue(Value((1, channels), part, (0, 0)), leave).tensor for part in parts)
            return after, ops.stack(after, axis=-1)

        rest = ops.zeros_like(arrived[:, 0])
        _, states = ops.scan(step, (rest, rest), ops.swapaxes(arrived, 0, 1))
        tensor = ops.reshape(ops.swapaxes(states, 0, 1), (-1, steps, channels, 2))
        return Value((1, steps, channels, 2), tensor, (leave.low, leave.high), leave.dtype), state

    def _turn(self, state: tuple[Any, Any], factor: tuple[Any, Any], x: Any, bits: int) -> tuple[Any, Any]:
        raise NotImplementedError

    def apply_epilogue(self, acc: Value, epilogue: Epilogue) -> Value:
        """Take accumulators through the steps that follow them."""
        v, shape = self._biased(acc, epilogue), acc.shape
        if epilogue.pool is not None:
            v, shape = self._pool(v, epilogue.pool, shape)
        if epilogue.relu:
            v = ops.maximum(v, 0)
        if epilogue.ceiling is not None:
            v = ops.minimum(v, tensor_of(epilogue.ceiling, self.dtype))
        if epilogue.average:
            v, shape = self._summed(v), (1, shape[-1])
        return self._requantized(replace(acc, shape=shape, tensor=v), epilogue)

    def _biased(self, acc: Value, epilogue: Epilogue) -> Any:
        """Return the tensor of saturated accumulators, with the bias."""
        raise NotImplementedError

    def _summed(self, v: Any) -> Any:
        """Return the sum over height and width."""
        raise NotImplementedError

    def _requantized(self, acc: Value, epilogue: Epilogue) -> Value:
        raise NotImplementedError

    def _pad(self, tensor: Any, padding: Padding, fill: NDArray) -> Any:
        if not any(map(any, padding)):
            return tensor
        offset = ops.convert_to_tensor(fill.astype(self.dtype)) if fill.any() else None
        tensor = tensor if offset is None else tensor - offset
        tensor = ops.pad(tensor, ((0, 0), *padding, (0, 0)))
        return tensor if offset is None else tensor + offset

    def _products(self, x: Any, limits: Range, kernel: NDArray, count: int, convolve: Convolution) -> Any:
        raise NotImplementedError

    def _pool(self, tensor: Any, pool: tuple[Pair, Pair, Padding], shape: tuple[int, ...]) -> tuple[Any, tuple]:
        """Return the largest value of every window, as the largest of its shifted images: any dtype, any backend."""
        size, strides, padding = pool
        tensor = ops.pad(tensor, ((0, 0), *padding, (0, 0)), constant_values=self.lowest)
        slid = _slid(shape, size, strides, padding, shape[-1])
        rows, columns = ((n - 1) * s + 1 for n, s in zip(slid[1:3], strides))
        windows = [
            tensor[:, i : i + rows : strides[0], j : j + columns : strides[1]]
            for i in range(size[0])
            for j in range(size[1])
        ]
        return reduce(ops.maximum, windows), slid


def _depthwise(x: Any, kernel: Any, strides: Pair) -> Any:
    """Convolve depthwise; backends want equal strides, so others take every n-th row or column of a full one."""
    if strides[0] == strides[1]:
        return ops.depthwise_conv(x, kernel, strides=strides, padding="valid", data_format="channels_last")
    full = ops.depthwise_conv(x, kernel, strides=1, padding="valid", data_format="channels_last")
    return full[:, :: strides[0], :: strides[1]]


def _slid(shape: Sequence[int], window: Sequence[int], strides: Pair, padding: Padding, filters: int) -> tuple:
    """Return the shape that a window gives when it slides over ``(1, H, W, C)``."""
    sizes = [(n + sum(p) - k) // s + 1 for n, k, s, p in zip(shape[1:3], window, strides, padding)]
    return (1, *sizes, filters)
