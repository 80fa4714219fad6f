"""Keras, on whichever backend is installed."""

from __future__ import annotations

import importlib.util
import os
import sys
from typing import Any

from spica.errors import SpicaError

BACKENDS = ("jax", "tensorflow", "torch")


def load_keras() -> Any:
    """Import Keras on an installed backend: that of ``KERAS_BACKEND`` if it is set, else the first of ``BACKENDS``.

    Raises:
        SpicaError: where Keras or every backend is missing.
    """
    if "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ:
        found = [name for name in BACKENDS if importlib.util.find_spec(name)]
        if not found:
            raise SpicaError("training needs a Keras backend, and none is installed; run: pip install 'spica[demo]'")
        os.environ["KERAS_BACKEND"] = found[0]
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import keras
    except ImportError as error:
        raise SpicaError(f"training needs Keras 3 ({error}); run: pip install 'spica[demo]'") from None
    return keras
