"""The training loop of every recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.util.keras_backend import load_keras
from spica.util.progress import progress

BATCH = 64


def train_classifier(
    build: Callable[[], Any],
    x: NDArray,
    y: NDArray,
    *,
    epochs: int,
    seed: int,
    rate: float,
    warm_up: bool = False,
    augment: Callable[[NDArray, np.random.Generator], NDArray] | None = None,
    show: bool | None = None,
) -> Any:
    """Train a Keras classifier with Adam, cross-entropy on logits and a cosine schedule.

    Args:
        build: makes the untrained ``keras.Model``.
        x: samples ``(N, ...)``.
        y: class indices, of each sample or of each frame.
        epochs: passes over the samples.
        seed: of the weights, the order of samples, and ``augment``.
        rate: the largest learning rate.
        warm_up: whether the rate first rises, from a fifth of it over a tenth of all steps.
        augment: gives the samples of each epoch.
        show: whether to show a progress bar; by default only in a terminal.

    Returns:
        The trained ``keras.Model``.

    Raises:
        SpicaError: for less than one epoch.
    """
    if epochs < 1:
        raise SpicaError(f"epochs is {epochs}, but must be at least 1")
    keras = load_keras()
    keras.utils.set_random_seed(seed)
    model = build()
    steps = epochs * -(-len(x) // BATCH)
    rise = {"warmup_target": rate, "warmup_steps": steps // 10} if warm_up else {}
    schedule = keras.optimizers.schedules.CosineDecay(rate / 5 if warm_up else rate, steps, **rise)
    model.compile(keras.optimizers.Adam(schedule), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    random = np.random.default_rng(seed)
    for _ in progress(range(epochs), f"training with Keras on {keras.backend.backend()}", show):
        model.fit(x if augment is None else augment(x, random), y, batch_size=BATCH, verbose=0)
    return model
