"""Keras on the first backend that is installed, for all tests that need it, and one cache of what JAX compiles."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

# Many tests train the same small models: each is compiled once, for all workers and the processes that they start.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"spica-tests-jax-{os.getuid()}"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


@pytest.fixture(scope="session")
def keras():
    """Keras, on a backend that is installed."""
    from spica.util.keras_backend import load_keras

    return load_keras()
