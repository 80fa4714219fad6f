"""Events of a camera as frames: every event in the frame of its time, and nothing kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica.data import EventBinner, load_digits, seen_moving
from spica.errors import SpicaError
from support.networks import SEEDS
from support.profiles import examples


def events(seed, count, last):
    random = np.random.default_rng(seed)
    t = np.sort(random.integers(0, last, count))
    return t, random.integers(0, 6, count), random.integers(0, 4, count), random.integers(0, 2, count)


@examples(50)
@given(SEEDS, st.integers(0, 300), st.integers(1, 40), st.integers(1, 8))
def test_frames_hold_the_events_of_their_time(seed, count, microseconds, pushes):
    t, x, y, p = events(seed, count, 400)
    binner, frames = EventBinner(4, 6, microseconds, start=0), []
    cuts = np.sort(np.random.default_rng(seed).integers(0, count + 1, pushes - 1))
    for part in np.split(np.arange(count), cuts):
        frames += binner.push(t[part], x[part], y[part], p[part])
    frames.append(binner.flush())
    wanted = np.zeros((400 // microseconds + 1, 4, 6, 2), int)
    np.add.at(wanted, (t // microseconds, y, x, p), 1)
    assert len(frames) == (t[-1] // microseconds + 1 if count else 1)
    np.testing.assert_array_equal(frames, np.minimum(wanted[: len(frames)], 255))


def test_pixels_count_up_to_255_and_pauses_give_empty_frames():
    binner = EventBinner(2, 2, 10, start=0)
    zeros = np.zeros(300, int)
    binner.push([], [], [], [])
    (first, *pause) = [*binner.push(zeros, zeros, zeros, zeros), *binner.push([95], [1], [1], [1])]
    assert first[0, 0, 0] == 255 and len(pause) == 8 and not np.any(pause)
    assert binner.flush()[1, 1, 1] == 1


@pytest.mark.parametrize(
    ("pushed", "message"),
    [
        (([3, 1], [0, 0], [0, 0], [0, 0]), "out of order"),
        (([3], [6], [0], [0]), "x reaches from 6 to 6, but must be 0 to 5"),
        (([3], [0], [-1], [0]), "y reaches"),
        (([3], [0], [0], [2]), "p reaches"),
        (([3], [0, 1], [0], [0]), "alike"),
        (([0.5], [0], [0], [0]), "t of events is float64"),
        (([3], [[0]], [0], [0]), "x of events is int64 of shape"),
        (([3], None, [0], [0]), "x of events is object"),
    ],
)
def test_events_that_cannot_be_are_refused(pushed, message):
    with pytest.raises(SpicaError, match=message):
        EventBinner(4, 6, 10).push(*pushed)
    with pytest.raises(SpicaError, match="microseconds is 0, but must be an integer from 1"):
        EventBinner(4, 6, 0)


def test_events_of_the_past_are_refused():
    binner = EventBinner(4, 6, 10)
    binner.push([25], [0], [0], [0])
    with pytest.raises(SpicaError, match="out of order"):
        binner.push([24], [0], [0], [0])


def test_the_first_frame_begins_with_the_first_event_whatever_the_clock():
    binner, now = EventBinner(4, 6, 10), 1_700_000_000_000_000
    (first,) = binner.push([now, now + 9, now + 10], [0, 1, 2], [0, 0, 0], [0, 0, 0])
    assert first.sum() == 2 and binner.flush().sum() == 1


def test_times_that_would_fill_memory_are_refused_and_change_nothing():
    binner = EventBinner(4, 6, 1)
    for times in ([0, 1 << 40], [5, 3], [0, 1 << 62]):
        with pytest.raises(SpicaError, match=r"events span|out of order"):
            binner.push(times, [0, 0], [0, 0], [0, 0])
    with pytest.raises(SpicaError, match="t of events reaches"):
        binner.push(np.array([1 << 63], np.uint64), [0], [0], [0])
    assert len(binner.push([7, 8], [0, 0], [0, 0], [0, 0])) == 1


def test_a_still_picture_has_no_events_and_a_moving_one_its_edges():
    digits = load_digits().test_x[:8]
    clips = seen_moving(digits)
    assert clips.shape == (8, 11, 28, 28, 2) and set(np.unique(clips)) == {0, 1}
    assert (
        not seen_moving(np.zeros_like(digits)).any()
        and not seen_moving(np.full_like(digits, 200))[:, :, 8:20, 8:20].any()
    )
    assert 0.01 < clips.mean() < 0.2
    assert not (clips[..., 0] & clips[..., 1]).any()
