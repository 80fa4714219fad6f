"""Mutants of every file that Spica reads, and of command lines, are refused with one error or give right numbers."""

from __future__ import annotations

import random
import sys
import warnings
from pathlib import Path

import pytest

from spica.errors import SpicaError
from support.profiles import FACTOR, THOROUGH

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools/fuzz"))
from targets import TARGETS, mutated

MUTANTS = 40 * FACTOR


@pytest.mark.parametrize("name", TARGETS)
def test_mutants_are_refused_or_right(name, tmp_path, monkeypatch, keras):
    monkeypatch.chdir(tmp_path)
    target, r = TARGETS[name], random.Random(None if THOROUGH else name)
    seeds = [seed.read_bytes() for seed in target.seeds()]
    for i in range(MUTANTS):
        path = Path(f"mutant{i}{target.suffix}")
        path.write_bytes(mutated(target, r.choice(seeds), r))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                target.check(path)
            except SpicaError as error:
                assert str(error).strip()
        path.unlink()  # what a failure leaves is the mutant that failed
