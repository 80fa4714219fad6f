"""Operations that shrink or enlarge images: pooling, means, up-sampling. 1-D data are images of one row."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from spica import layers
from spica.frontends.ops.base import NONE, refuse
from spica.frontends.ops.pointwise import Pointwise
from spica.frontends.ops.weighted import Weighted
from spica.frontends.view import BATCH, View
from spica.network.types import check_size
from spica.semantics.primitives import Padding, Pair, resolve_padding


class Pooling(Weighted, Pointwise):
    """Maxima and means over windows, and pixels repeated or interpolated; see ``GraphBuilder``."""

    def max_pool(
        self, x: View, size: Pair, strides: Pair | None = None, padding: str | Padding = "valid", ceil: bool = False,
        *, at: str,
    ) -> View:  # fmt: skip
        """Take the largest value of each window; ``strides`` are ``size`` where left out.

        ``ceil`` adds windows that reach beyond the padded image, where they begin within it.
        """
        x, strides = self.image(x, at), strides or size
        if ceil:
            amounts = self._resolved(padding, x, size, strides, at)
            padding = _added(amounts, _beyond(x.shape, size, strides, amounts))
        pool = layers.MaxPool(size=size, strides=strides, padding=self.spelled(padding, x, size, strides, at))
        return self.make(layers.MaxPool2D, at, x, pool=pool)

    def global_max_pool(self, x: View, *, at: str) -> View:
        """Take the largest value of each channel: ``(N, H, W, C)`` to ``(N, 1, 1, C)``."""
        x = self.image(x, at)
        return self.max_pool(x, (x.shape[0], x.shape[1]), at=at)

    def average_pool(
        self, x: View, size: Pair, strides: Pair | None = None, padding: str | Padding = "valid", ceil: bool = False,
        *, counts_padding: bool = False, at: str,
    ) -> View:  # fmt: skip
        """Take the mean of each window: over the whole image, or by depthwise convolutions of equal weights.

        Args:
            x: an image.
            size: rows and columns of a window.
            strides: from one window to the next; ``size`` where left out.
            padding: around the image, as for convolutions.
            ceil: as for ``max_pool``.
            counts_padding: whether zeros of the padding count; else means are over the pixels alone, so that windows
                at the border have weights of their own: one convolution for each, of which every place takes its own.
            at: name of the layer.
        """
        x, strides = self.image(x, at), strides or size
        check_size((*size, x.shape[2]), at)
        if size == x.shape[:2] and padding in ("valid", NONE):
            return self.mean(x, (1, 2), keep=True, at=at)
        amounts = self._resolved(padding, x, size, strides, at)
        beyond = _beyond(x.shape, size, strides, amounts) if ceil else NONE
        rows, columns = (
            _counted(x.shape[axis], size[axis], strides[axis], amounts[axis], beyond[axis][1], counts_padding)
            for axis in (0, 1)
        )
        counts = np.multiply.outer(rows, columns)
        padding, divisors = _added(amounts, beyond), np.unique(counts)
        means = []
        for divisor in divisors:
            kernel = np.full((*size, x.shape[2], 1), 1 / divisor, np.float32)
            name = at if len(divisors) == 1 else f"{at}/of_{divisor}"
            means.append(self.depthwise_conv2d(x, kernel, strides=strides, padding=padding, at=name))
        if len(means) == 1:
            return means[0]
        grid = np.arange(counts.size).reshape(counts.shape)
        return self._chosen(means, np.searchsorted(divisors, counts), grid, at)

    def _chosen(self, images: Sequence[View], which: NDArray, places: NDArray, at: str) -> View:
        """Return an image of whose pixels each is one of several images', at a place in it, counted row by row."""
        vectors = [self.vector(image, at) for image in images]
        every = self.make(layers.Concatenate, f"{at}/all", *vectors)
        starts = np.cumsum([0, *(v.size for v in vectors)])
        chosen = np.empty((*which.shape, images[0].shape[2]), np.int64)
        for i, image in enumerate(images):
            own = which == i
            first = image.positions[0].reshape(-1, image.shape[2])
            chosen[own] = starts[i] + first[places[own]]
        samples = np.arange(BATCH).reshape(-1, 1, 1, 1)
        return View(every.tensor, every.shape, chosen + every.size * samples, at)

    def adaptive_average_pool(self, x: View, size: Pair, *, at: str) -> View:
        """Take means over as many windows as ``size`` says: they are of one size where that divides the image's.

        Else window ``i`` of ``n`` over a length goes from ``floor(i * length / n)`` to ``ceil((i + 1) * length / n)``,
        as PyTorch has it; each size of windows is a convolution, of which every place takes its own.
        """
        x = self.image(x, at)
        if size == x.shape[:2]:
            return x
        if not any(have % want for have, want in zip(x.shape, size)):
            return self.average_pool(x, (x.shape[0] // size[0], x.shape[1] // size[1]), at=at)
        starts, lengths = [], []
        for have, want in zip(x.shape, size):
            i = np.arange(want)
            starts.append(i * have // want)
            lengths.append(-(-(i + 1) * have // want) - starts[-1])
        windows = sorted({(int(h), int(w)) for h in lengths[0] for w in lengths[1]})
        means, which = [], np.zeros(size, np.int64)
        places = np.zeros(size, np.int64)
        for number, (height, width) in enumerate(windows):
            kernel = np.full((height, width, x.shape[2], 1), 1 / (height * width), np.float32)
            means.append(self.depthwise_conv2d(x, kernel, at=f"{at}/of_{height}x{width}"))
            own = np.ix_(lengths[0] == height, lengths[1] == width)
            which[own] = number
            places[own] = np.add.outer(starts[0] * means[-1].shape[1], starts[1])[own]
        return self._chosen(means, which, places, at)

    def mean(self, x: View, axes: Sequence[int], keep: bool = False, *, at: str) -> View:
        """Take the mean over places of an image or over all tokens; ``keep`` leaves axes of one."""
        x, axes = self.narrowed(x, at), sorted(axis % x.numbers.ndim for axis in axes)
        last = np.moveaxis(x.numbers, axes, range(-len(axes), 0))
        values = np.sort(last.reshape(*last.shape[: last.ndim - len(axes)], -1), axis=-1)
        rows, channels = x.size // x.shape[-1], x.shape[-1]
        sample, first = np.divmod(values[..., :1], x.size)
        wanted = sample * x.size + first + channels * np.arange(rows)
        if not axes or len(x.shape) not in (2, 3) or not np.array_equal(values, wanted):
            return self._mean_of_part(x, axes, keep, at)
        if len(x.shape) == 2:
            x = self.move(layers.Reshape, f"{at}/row", x, shape=(1, *x.shape))
        made = self.make(layers.GlobalAveragePooling2D, at, x)
        numbers = (sample * channels + first)[..., 0]
        return View(made.tensor, made.shape, np.expand_dims(numbers, axes) if keep else numbers)

    def sum(self, x: View, axes: Sequence[int], keep: bool = False, *, at: str) -> View:
        """Sum over places: the mean, times how many there are."""
        count = int(np.prod([x.numbers.shape[axis] for axis in axes]))
        return self.affine(self.mean(x, axes, keep, at=f"{at}/mean"), count, 0, at=at)

    def _mean_of_part(self, x: View, axes: list[int], keep: bool, at: str) -> View:
        """Take the mean over any axes but the batch: a view of an image is made whose rows they are."""
        refuse(at, not axes or 0 in axes, f"a mean over axes {axes}", "average over axes of a sample")
        others = [axis for axis in range(1, x.numbers.ndim) if axis not in axes]
        sizes = [x.numbers.shape[axis] for axis in others]
        rows = x.permute([0, *axes, *others]).reshape((len(x.numbers), -1, 1, int(np.prod(sizes))))
        made = self.mean(self.image(rows, at), (1, 2), at=at).reshape((len(x.numbers), *sizes))
        return made.reshape([1 if axis in axes else n for axis, n in enumerate(x.numbers.shape)]) if keep else made

    # -- larger images ---------------------------------------------------------------------------------------------

    def upsample(self, x: View, factors: Pair, *, bilinear: bool = False, centres: bool = True, at: str) -> View:
        """Enlarge an image by whole factors: each pixel repeated, or interpolated.

        ``centres`` interpolates between centres of pixels; else the first of the pixels that one becomes is as it was.
        """
        x = self.image(x, at)
        check_size((x.shape[0] * factors[0], x.shape[1] * factors[1], x.shape[2]), at)
        if factors == (1, 1):
            return x
        if not bilinear:
            return self._spread(x, [np.ones(factor, np.float32) for factor in factors], factors, NONE, at)
        edges, leads = x, [int(centres and factor > 1) for factor in factors]
        for axis, (factor, lead) in enumerate(zip(factors, leads), 1):
            if factor > 1:  # interpolation at the border goes on as if the last pixel were repeated
                first, final = edges.slice(axis, 0, lead), edges.slice(axis, x.shape[axis - 1] - 1)
                edges = edges._of(np.concatenate([first.numbers, edges.numbers, final.numbers], axis))
        sizes = [2 * factor - (factor % 2 if centres else 1) for factor in factors]
        taps = [
            (1 - np.abs(np.arange(k) - (k - 1) / 2) / factor).astype(np.float32) for k, factor in zip(sizes, factors)
        ]
        crop = []
        for have, k, factor, lead in zip(x.shape, sizes, factors, leads):
            # Where the first output's centre lies in all that the kernel reaches.
            before = (factor + k) // 2 if lead else factor - 1
            crop.append((before, (have + lead - (factor == 1)) * factor + k - before - factor * have))
        return self._spread(self.gathered(edges, f"{at}/edges"), taps, factors, (crop[0], crop[1]), at)

    def _spread(self, x: View, taps: Sequence[NDArray], factors: Pair, crop: Padding, at: str) -> View:
        """Spread every pixel by the same separable kernel, and cut the borders off."""
        kernel = np.repeat(np.multiply.outer(*taps)[..., None, None], x.shape[2], axis=3)
        return self.conv_transpose2d(x, kernel, groups=x.shape[2], strides=factors, padding=crop, at=at)

    def _resolved(self, padding: str | Padding, x: View, size: Pair, strides: Pair, at: str) -> Padding:
        return resolve_padding(padding, (x.shape[0], x.shape[1]), size, strides, at)


def _beyond(shape: Sequence[int], size: Pair, strides: Pair, padding: Padding) -> Padding:
    """Return what must be added below and on the right for windows that begin within the padded image above."""
    added = []
    for length, k, stride, (before, after) in zip(shape, size, strides, padding):
        count = -(-(length + before + after - k) // stride) + 1
        if (count - 1) * stride >= length + before:
            count -= 1  # it would begin in the padding behind
        added.append((0, max(0, (count - 1) * stride + k - length - before - after)))
    return added[0], added[1]


def _added(a: Padding, b: Padding) -> Padding:
    (top, bottom), (left, right) = a
    return (top + b[0][0], bottom + b[0][1]), (left + b[1][0], right + b[1][1])


def _counted(length: int, size: int, stride: int, padding: Pair, beyond: int, counts_padding: bool) -> NDArray:
    """Return how many places along one axis each window's mean is over."""
    before, after = padding
    starts = np.arange(-before, length + after + beyond - size + 1, stride)
    low, high = (-before, length + after) if counts_padding else (0, length)
    return np.minimum(starts + size, high) - np.maximum(starts, low)
