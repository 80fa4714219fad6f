"""Synthetic spoken keywords: the words of Speech Commands in many voices of espeak-ng, none of them human."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError

RATE = 16_000
"""Samples a second, and of each clip."""

WORDS = (
    "backward", "bed", "bird", "cat", "dog", "down", "eight", "five", "follow", "forward", "four", "go", "happy",
    "house", "learn", "left", "marvin", "nine", "no", "off", "on", "one", "right", "seven", "sheila", "six", "stop",
    "three", "tree", "two", "up", "visual", "wow", "yes", "zero",
)  # fmt: skip
"""The words of Speech Commands 0.02 (Warden, 2018)."""

ACCENTS = (
    "en-us", "en-us-nyc", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029"
)  # fmt: skip
TIMBRES = (
    "Alex", "Alicia", "Andrea", "Andy", "Annie", "Denis", "Diogo", "Gene", "Gene2", "Henrique", "Hugo", "Jacky",
    "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "Storm", "Tweaky", "adam", "anika", "antonio", "aunty",
    "belinda", "benjamin", "boris", "caleb", "david", "ed", "edward", "f1", "f2", "f3", "f4", "f5", "grandma",
    "grandpa", "gustave", "iven", "iven2", "john", "kaukovalta", "klatt", "klatt2", "klatt3", "linda", "m1", "m2",
    "m3", "m4", "m5", "m6", "m7", "m8", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro",
    "quincy", "rob", "robert", "sandro", "shelby", "steph", "steph2", "travis", "victor", "zac",
)  # fmt: skip
"""Voice variants of espeak-ng that sound like people."""


@dataclass(frozen=True, eq=False)
class Keywords:
    """Clips of one second.

    Attributes:
        waves: int16 ``(N, 16000)``.
        labels: index into ``words`` ``(N,)``.
        speakers: number of the voice ``(N,)``.
        words: what can be said.
    """

    waves: NDArray[np.int16]
    labels: NDArray[np.int64]
    speakers: NDArray[np.int64]
    words: tuple[str, ...]


def synthesise_keywords(speakers: int = 120, words: Sequence[str] = WORDS, seed: int = 0) -> Keywords:
    """Synthesise every word by every speaker once, at a random place in a second of faint noise.

    A speaker is an accent, a timbre, a pitch and a speed, drawn by lot. Needs the command ``espeak-ng``.

    Raises:
        SpicaError: where it is not there, or fails.
    """
    if shutil.which("espeak-ng") is None:
        raise SpicaError("synthesised speech needs espeak-ng; on Debian: apt install espeak-ng")
    random = np.random.default_rng(seed)
    voices = [
        (f"{random.choice(ACCENTS)}+{random.choice(TIMBRES)}", random.integers(25, 76), random.integers(130, 211))
        for _ in range(speakers)
    ]
    said = [(speaker, word) for speaker in range(speakers) for word in range(len(words))]
    with ThreadPoolExecutor() as pool:
        spoken = list(pool.map(lambda s: _speak(words[s[1]], *voices[s[0]]), said))
    waves = np.stack([_placed(wave, random) for wave in spoken])
    speaker, label = np.array(said).T
    return Keywords(waves, label, speaker, tuple(words))


def _speak(word: str, voice: str, pitch: int, speed: int) -> NDArray[np.int16]:
    """Return a word as espeak-ng says it at 22,050 Hz, without the silence at its ends."""
    command = ["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(speed), "--stdout", word]
    done = subprocess.run(command, capture_output=True)
    if done.returncode or not done.stdout:
        raise SpicaError(f"espeak-ng could not say {word!r} as {voice}: {done.stderr.decode(errors='replace').strip()}")
    wave = np.frombuffer(done.stdout, "<i2", offset=44)
    loud = np.flatnonzero(np.abs(wave) > 200)
    return wave[loud[0] : loud[-1] + 1] if len(loud) else wave


def _placed(wave: NDArray[np.int16], random: np.random.Generator, source_rate: int = 22_050) -> NDArray[np.int16]:
    """Return a second at 16 kHz with the word somewhere in it, and noise 20 to 50 dB below its peak."""
    wave = wave[:source_rate].astype(np.float64)
    room = source_rate - len(wave)
    start = int(random.integers(room // 4, room - room // 4 + 1))
    clip = np.zeros(source_rate)
    clip[start : start + len(wave)] = wave / max(np.abs(wave).max(), 1) * random.uniform(0.3, 0.9)
    # Cutting off the upper part of the spectrum resamples a clip of exactly one second.
    clip = np.fft.irfft(np.fft.rfft(clip)[: RATE // 2 + 1], RATE) * RATE / source_rate
    clip += random.standard_normal(RATE) * 10 ** random.uniform(-2.5, -1)
    return (np.clip(clip, -1, 1) * 32767).astype(np.int16)


def mfcc(waves: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Compute mel-frequency cepstra of clips (N, 16000) as images, uint8 ``(N, 49, 10, 1)``.

    Windows of 40 ms every 20 ms, 40 mel bands from 20 Hz to 4 kHz, the first 10 coefficients, as MLPerf Tiny's keyword
    benchmark has them; 128 is zero, a step half of the first coefficient, which is loudness, an eighth of the others.
    """
    frame, hop, bands, coefficients = 640, 320, 40, 10
    frames = np.lib.stride_tricks.sliding_window_view(waves, frame, axis=1)[:, ::hop][:, :49]
    bank, cosines = _mel_bank(bands, 1024), _cosines(coefficients, bands)
    steps = np.where(np.arange(coefficients) == 0, 2, 8)
    images = np.empty((len(waves), 49, coefficients), np.uint8)
    for i, clip in enumerate(frames):
        power = np.abs(np.fft.rfft(clip / 32768.0 * np.hanning(frame), 1024)) ** 2
        cepstra = np.log(power @ bank + 1e-6) @ cosines
        images[i] = np.clip(np.rint(cepstra * steps + 128), 0, 255)
    return images[..., None]


def _mel_bank(bands: int, size: int, low: float = 20.0, high: float = 4000.0) -> NDArray[np.float64]:
    """Return triangles of equal width on the mel scale over the bins of a spectrum: ``(size // 2 + 1, bands)``."""
    edges = np.linspace(2595 * np.log10(1 + low / 700), 2595 * np.log10(1 + high / 700), bands + 2)
    hertz = 700 * (10 ** (edges / 2595) - 1)
    bins = np.arange(size // 2 + 1)[:, None] * RATE / size
    rising = (bins - hertz[:-2]) / (hertz[1:-1] - hertz[:-2])
    falling = (hertz[2:] - bins) / (hertz[2:] - hertz[1:-1])
    return np.maximum(np.minimum(rising, falling), 0)


def _cosines(coefficients: int, bands: int) -> NDArray[np.float64]:
    """Return the orthonormal discrete cosine transform: ``(bands, coefficients)``."""
    angle = np.pi / bands * (np.arange(bands)[:, None] + 0.5) * np.arange(coefficients)
    scale = np.sqrt(np.where(np.arange(coefficients) == 0, 1, 2) / bands)
    return np.cos(angle) * scale
