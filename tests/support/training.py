"""Models whose variables are off their start."""

from __future__ import annotations

import numpy as np


def shaken(model, random, size):
    """The model with every variable off its start."""
    for variable in model.trainable_variables:
        noise = random.normal(0, size, variable.shape)
        variable.assign((variable.numpy() * (1 + noise) + noise / 8).astype(np.float32))
    return model
