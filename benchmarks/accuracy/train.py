"""Trains the float networks of the accuracy study on CIFAR-10: ``python train.py CIFAR_FOLDER --network akidanet32``.

``akidanet32`` is an AkidaNet for images of 32 x 32: a stem, full convolutions, then separable blocks; ``mobilenet32``
is a MobileNetV2 (Sandler et al., 2018): inverted residual blocks, narrow ends without an activation, ReLU6 inside.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from spica.data import load_cifar10
from spica.util.keras_backend import load_keras

CONVOLUTIONS = ((32, 1), (64, 2), (64, 1))
SEPARABLE = ((128, 2), (128, 1), (128, 1), (256, 2), (256, 1))
INVERTED = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 2, 2), (6, 64, 3, 2), (6, 96, 2, 1), (6, 128, 1, 2))
"""Expansion, filters, blocks and stride of the first of them, stage by stage."""
BATCH, PEAK_RATE = 128, 3e-3


def akidanet32() -> Any:
    """An untrained model that reads raw pixels, 0 to 255, of shape (32, 32, 3) and gives 10 logits."""
    keras = load_keras()
    layers = keras.layers

    def normalised(x: Any) -> Any:
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))

    source = keras.Input((32, 32, 3))
    x = layers.Rescaling(1 / 255)(source)
    for i, (filters, stride) in enumerate(CONVOLUTIONS):
        x = normalised(layers.Conv2D(filters, 3, stride, "same", use_bias=False, name=f"conv_{i}")(x))
    for i, (filters, stride) in enumerate(SEPARABLE, len(CONVOLUTIONS)):
        x = normalised(layers.SeparableConv2D(filters, 3, stride, "same", use_bias=False, name=f"separable_{i}")(x))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(source, layers.Dense(10, name="classifier")(layers.Dropout(0.1)(x)), name="akidanet32")


def mobilenet32() -> Any:
    """An untrained model that reads raw pixels, 0 to 255, of shape (32, 32, 3) and gives 10 logits."""
    keras = load_keras()
    layers = keras.layers

    def convolution(x: Any, filters: int, kernel: int, stride: int = 1) -> Any:
        x = layers.Conv2D(filters, kernel, stride, "same", use_bias=False)(x)
        return layers.BatchNormalization(momentum=0.9)(x)

    def block(x: Any, expansion: int, filters: int, stride: int) -> Any:
        wide = x if expansion == 1 else layers.ReLU(6.0)(convolution(x, expansion * x.shape[-1], 1))
        wide = layers.DepthwiseConv2D(3, stride, "same", use_bias=False)(wide)
        wide = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(wide))
        narrow = convolution(wide, filters, 1)
        return layers.Add()([x, narrow]) if stride == 1 and x.shape[-1] == filters else narrow

    source = keras.Input((32, 32, 3))
    x = layers.ReLU(6.0)(convolution(layers.Rescaling(1 / 127.5, -1)(source), 32, 3, 2))
    for expansion, filters, blocks, stride in INVERTED:
        for i in range(blocks):
            x = block(x, expansion, filters, 1 if i else stride)
    x = layers.GlobalAveragePooling2D()(layers.ReLU(6.0)(convolution(x, 512, 1)))
    return keras.Model(source, layers.Dense(10, name="classifier")(layers.Dropout(0.1)(x)), name="mobilenet32")


NETWORKS = {"akidanet32": akidanet32, "mobilenet32": mobilenet32}


def augmented(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each image moved by up to four pixels, and mirrored half of the time."""
    padded = np.pad(x, ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")
    down, right = random.integers(0, 9, (2, len(x), 1, 1))
    rows, columns = np.arange(x.shape[1])[:, None], np.arange(x.shape[2])
    moved = padded[np.arange(len(x))[:, None, None], down + rows, right + columns]
    mirrored = random.random(len(x)) < 0.5
    moved[mirrored] = moved[mirrored, :, ::-1]
    return moved


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", choices=NETWORKS, required=True)
    parser.add_argument("--out", type=Path, help="by default NETWORK.keras")
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args()
    keras = load_keras()
    keras.utils.set_random_seed(0)
    data, random = load_cifar10(options.folder), np.random.default_rng(0)
    model = NETWORKS[options.network]()
    steps = options.epochs * -(-len(data.train_x) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(
        PEAK_RATE / 10, steps, warmup_target=PEAK_RATE, warmup_steps=steps // 10
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-2), loss, metrics=["accuracy"])
    for epoch in range(options.epochs):
        model.fit(augmented(data.train_x, random), data.train_y, batch_size=BATCH, verbose=2)
        print(f"epoch {epoch + 1}: test {model.evaluate(data.test_x, data.test_y, verbose=0)[1]:.4f}", flush=True)
    model.save(options.out or f"{options.network}.keras")


if __name__ == "__main__":
    main()
