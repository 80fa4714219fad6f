"""Synthesised speech and its cepstra."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from spica.data import mfcc, synthesise_keywords
from spica.data.keywords import RATE
from spica.errors import SpicaError


def tone(hertz, size=9000):
    return (size * np.sin(2 * np.pi * hertz * np.arange(RATE) / RATE)).astype(np.int16)


def test_cepstra_of_tones_differ_and_stay_over_time():
    images = mfcc(np.stack([tone(300), tone(300, 18000), tone(2500)]))
    assert images.shape == (3, 49, 10, 1) and images.dtype == np.uint8
    low, loud, high = images[..., 0].astype(int)
    assert np.ptp(low, axis=0).max() <= 12  # a tone is the same at every moment
    assert (loud[:, 0] > low[:, 0]).all() and np.abs(loud - low)[:, 1:].max() <= 10  # loudness is the first coefficient
    assert np.abs(high - low)[:, 1:].max() > 40


def test_silence_has_cepstra_too():
    assert (mfcc(np.zeros((1, RATE), np.int16))[..., 1:, 0] == 128).all()


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="needs espeak-ng")
def test_every_speaker_says_every_word_once():
    spoken = synthesise_keywords(3, ("yes", "no"), seed=1)
    assert spoken.waves.shape == (6, RATE) and spoken.waves.dtype == np.int16
    assert sorted(zip(spoken.speakers, spoken.labels)) == [(s, w) for s in range(3) for w in range(2)]
    assert (np.abs(spoken.waves.astype(int)).max(axis=1) > 5000).all()
    np.testing.assert_array_equal(spoken.waves, synthesise_keywords(3, ("yes", "no"), seed=1).waves)
    assert (spoken.waves != synthesise_keywords(3, ("yes", "no"), seed=2).waves).any()


def test_without_a_voice_it_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SpicaError, match="apt install espeak-ng"):
        synthesise_keywords(1)
