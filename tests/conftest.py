"""Keras on the first backend that is installed, for all tests that need it."""

from __future__ import annotations

import pytest

from spica.util.keras_backend import load_keras


@pytest.fixture(scope="session")
def keras():
    return load_keras()
