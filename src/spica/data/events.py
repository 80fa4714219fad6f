"""Events of a camera, binned to frames as they come, and digits as such a camera would see them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.errors import SpicaError
from spica.util.arguments import check_integer

MOST_FRAMES = 1_000_000
"""Frames that one push may complete; more are a mistake in the times, and would fill memory."""

LATEST = 1 << 61
"""Latest time of an event, in microseconds: beyond it sums leave 64 bits."""


class EventBinner:
    """Binner of events, in order of time, into frames of a fixed duration; it holds one frame at a time.

    Pixels count their events, up to 255: channel 0 those that became darker, channel 1 those that became brighter.

    Args:
        height, width: of the sensor.
        microseconds: length of a frame.
        start: time at which the first frame begins, in microseconds; by default that of the first event, as clocks
            of cameras may count from anywhere.
    """

    def __init__(self, height: int, width: int, microseconds: int, start: int | None = None) -> None:
        height, width = check_integer("height", height, 1, 1 << 15), check_integer("width", width, 1, 1 << 15)
        self.shape, self.microseconds = (height, width, 2), check_integer("microseconds", microseconds, 1, 1 << 50)
        self._start = None if start is None else check_integer("start", start, -(1 << 61), 1 << 61)
        self._counts, self._empty = np.zeros(self.shape, np.int64), np.zeros(self.shape, np.uint8)
        self._empty.flags.writeable = False
        self._last = self._end = 0  # until it is known when the first frame begins
        if self._start is not None:
            self._begin(self._start)

    def push(self, t: ArrayLike, x: ArrayLike, y: ArrayLike, p: ArrayLike) -> list[NDArray[np.uint8]]:
        """Take more events and return every frame ``(H, W, 2)`` that they complete, empty ones between included.

        Empty frames are all one array, so that a long pause takes no memory; it cannot be written to.

        Args:
            t: times in microseconds ``(N,)``, none before those of the last push.
            x: column of each event.
            y: row of each event.
            p: polarity of each event, 0 or 1.

        Raises:
            SpicaError: for events out of order or off the sensor, or of another type than integers.
        """
        t, x, y, p = (self._column(name, values) for name, values in zip("txyp", (t, x, y, p)))
        if not len(t) == len(x) == len(y) == len(p):
            raise SpicaError(f"events need t, x, y and p alike, but there are {len(t)}, {len(x)}, {len(y)}, {len(p)}")
        if not len(t):
            return []
        if (np.diff(t) < 0).any() or (self._start is not None and t[0] < self._last):
            raise SpicaError("events are out of order; sort them by time, and unwrap counters that start again")
        for name, values, size in (("x", x, self.shape[1]), ("y", y, self.shape[0]), ("p", p, 2)):
            if values.min() < 0 or values.max() >= size:
                raise SpicaError(f"{name} reaches from {values.min()} to {values.max()}, but must be 0 to {size - 1}")
        begin = int(t[0]) if self._start is None else self._end
        if (span := (int(t[-1]) - begin) // self.microseconds) > MOST_FRAMES:
            raise SpicaError(
                f"events span {span:,} frames of {self.microseconds:,} us, but a push makes {MOST_FRAMES:,} at most; "
                "start anew after a long pause, or make frames longer"
            )
        if self._start is None:
            self._begin(begin)
        frames, done = [], 0
        while done < len(t):
            upto = int(np.searchsorted(t, self._end))
            np.add.at(self._counts, (y[done:upto], x[done:upto], p[done:upto]), 1)
            self._last, done = int(t[upto - 1]) if upto else self._last, upto
            if done < len(t):
                frames.append(self._take())
        return frames

    def _begin(self, start: int) -> None:
        self._start, self._last, self._end = start, start, start + self.microseconds

    @staticmethod
    def _column(name: str, values: ArrayLike) -> NDArray[np.int64]:
        array = np.atleast_1d(np.asarray(values))
        if array.ndim != 1 or (array.dtype.kind not in "iub" and array.size):
            raise SpicaError(f"{name} of events is {array.dtype} of shape {array.shape}, but must be integers (N,)")
        if array.size and array.dtype.kind == "u" and array.max() > LATEST:
            raise SpicaError(f"{name} of events reaches {array.max()}, but {LATEST} is the most")
        return array.astype(np.int64)

    def flush(self) -> NDArray[np.uint8]:
        """Return the frame that has begun, complete or not."""
        return self._take()

    def _take(self) -> NDArray[np.uint8]:
        frame = self._empty
        if self._counts.any():
            frame = np.minimum(self._counts, 255).astype(np.uint8)
            self._counts[:] = 0
        self._last, self._end = max(self._last, self._end), self._end + self.microseconds
        return frame


SACCADES = np.array([(0, 0), (1, 1), (2, 2), (3, 1), (4, 0), (3, 0), (2, 0), (1, 0), (0, 0), (0, 1), (1, 2), (1, 1)])
"""Places of a picture, moment by moment: to and fro, as the eye moves and as pictures were shown to make N-MNIST."""

THRESHOLD = 64
"""Change of a pixel of 0 to 255 that is an event."""


def seen_moving(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Turn pictures (N, H, W, 1) into clips (N, 11, H, W, 2) of 0 and 1, as a moving event camera would see them.

    No camera took them: an event is a pixel that changes by a quarter of its range from one place to the next.
    """
    reach = SACCADES.max()
    padded = np.pad(images[..., 0], ((0, 0), (reach, reach), (reach, reach))).astype(np.int16)
    height, width = images.shape[1:3]
    start = reach // 2
    shown = np.stack(
        [padded[:, start + dy : start + dy + height, start + dx : start + dx + width] for dy, dx in SACCADES], axis=1
    )
    change = np.diff(shown, axis=1)
    return np.stack([change <= -THRESHOLD, change >= THRESHOLD], axis=-1).astype(np.uint8)
