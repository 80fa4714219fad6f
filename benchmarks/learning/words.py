"""Synthesised speech: features that heard 25 words by 120 voices; ten more words, and 30 voices to be tested with."""

from __future__ import annotations

from typing import Any

import numpy as np
from task import Task

import spica
from spica.data import mfcc, synthesise_keywords
from spica.util.keras_backend import load_keras

KNOWN = 25
TRAINING_VOICES, VOICES = 120, 150
EPOCHS, BATCH, RATE = 15, 64, 3e-3
FIRING = 0.2


def word_task() -> tuple[Task, float, float]:
    """Trains the features, quantises them to four bits, and their last layer to single bits by thresholds.

    Returns:
        The task, and how well the classifier of the old words does in float and in four bits.
    """
    spoken = synthesise_keywords(VOICES)
    x, y, heard = mfcc(spoken.waves), spoken.labels, spoken.speakers < TRAINING_VOICES
    old = heard & (y < KNOWN)
    net = spica.from_keras(train(x[old], y[old]))
    quantized = spica.quantize(net, x[old][::3], weights=4, activations=4)
    held = ~heard & (y < KNOWN)
    extractor = spica.learning.binarize(quantized, "features", x[old][::3], rate=FIRING)
    task = Task(extractor, x[heard], y[heard], x[~heard], y[~heard], KNOWN)
    return task, net.evaluate(x[held], y[held]), quantized.evaluate(x[held], y[held])


def train(x: np.ndarray, y: np.ndarray) -> Any:
    """A depthwise-separable classifier of spectra, whose last features are a fully connected layer's."""
    keras = load_keras()
    layers = keras.layers
    keras.utils.set_random_seed(0)

    def normalised(layer: Any) -> list[Any]:
        return [layer, layers.BatchNormalization(momentum=0.9), layers.ReLU()]

    model = keras.Sequential([keras.Input((49, 10, 1)), layers.Rescaling(1 / 64, offset=-2)])
    model_layers = normalised(layers.Conv2D(64, 5, strides=2, padding="same", use_bias=False))
    for filters, stride in ((64, 1), (128, 2), (128, 1)):
        model_layers += normalised(layers.SeparableConv2D(filters, 3, stride, padding="same", use_bias=False))
    model_layers += [layers.GlobalAveragePooling2D(), *normalised(layers.Dense(512, use_bias=False, name="features"))]
    for layer in [*model_layers, layers.Dropout(0.3), layers.Dense(KNOWN, name="classifier")]:
        model.add(layer)
    rate = keras.optimizers.schedules.CosineDecay(RATE, EPOCHS * -(-len(x) // BATCH))
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    random = np.random.default_rng(0)
    for _ in range(EPOCHS):
        model.fit(varied(x, random), y, batch_size=BATCH, verbose=0)
    return model


def varied(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Spectra up to 80 ms earlier or later, a little louder or softer, with noise."""
    rows = np.clip(np.arange(x.shape[1]) + random.integers(-4, 5, (len(x), 1)), 0, x.shape[1] - 1)
    noise = random.normal(0, 4, x.shape)
    noise[:, :, 0] += random.normal(0, 10, (len(x), 1, 1))
    return np.clip(np.rint(x[np.arange(len(x))[:, None], rows] + noise), 0, 255).astype(np.uint8)
