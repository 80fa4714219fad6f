"""The digits that ship with Spica: features that never saw 7, 8 and 9."""

from __future__ import annotations

from dataclasses import replace

from task import Task

import spica
from spica.data import load_digits
from spica.zoo.recipes.digits import train_digit_classifier

KNOWN = 7
FEATURES = "separable"
BITS = {"input_convolution": 4, "convolution_1": 4, "convolution_2": 4, FEATURES: 1}


class Digits:
    """The data, and a classifier of the old digits in float."""

    def __init__(self) -> None:
        self.data = load_digits()
        known = self.data.train_y < KNOWN
        self.some = replace(self.data, train_x=self.data.train_x[known], train_y=self.data.train_y[known])
        self.net = spica.from_keras(train_digit_classifier(self.some))

    def task(self, extractor: spica.Network) -> Task:
        return Task(extractor, self.data.train_x, self.data.train_y, self.data.test_x, self.data.test_y, KNOWN)

    def rounded(self) -> spica.Network:
        """Single bits by quantising alone."""
        return spica.quantize(self.net, self.some.train_x[:1024], weights=4, activations=BITS)

    def tuned(self) -> spica.Network:
        """Single bits, then fine-tuning with them."""
        x, y = self.some.train_x, self.some.train_y
        return spica.finetune(self.rounded(), x, y, net=self.net, epochs=5, learning_rate=2e-3)

    def thresholded(self, rate: float) -> spica.Network:
        """A network of four bits whose last features get thresholds instead."""
        samples = self.some.train_x[:1024]
        quantized = spica.quantize(self.net, samples, weights=4, activations=4)
        return spica.learning.binarize(quantized, FEATURES, samples, rate=rate)
