"""A vision transformer on CIFAR-10: float, eight bits, and fine-tuned. ``python vit.py CIFAR_FOLDER``.

``--model`` takes one that was trained before; without it, one is trained and kept there. Rows are written as they come.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from train import augmented

import spica
from spica.data import Cifar10, load_cifar10
from spica.engine.bench import bench
from spica.util.keras_backend import load_keras
from spica.zoo.builders.vit import build_vit

BATCH, PEAK_RATE = 128, 2e-3
TUNING_RATE = 2e-4
SAMPLES, SEEDS = 512, 3
DEVICE, MAPPED = "AKIDA2-8-VIT", 20


def trained(data: Cifar10, epochs: int) -> Any:
    keras = load_keras()
    keras.utils.set_random_seed(0)
    model, random = build_vit(), np.random.default_rng(0)
    steps = epochs * -(-len(data.train_x) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(
        PEAK_RATE / 20, steps, warmup_target=PEAK_RATE, warmup_steps=steps // 10
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=1e-2), loss)
    for epoch in range(epochs):
        model.fit(augmented(data.train_x, random), data.train_y, batch_size=BATCH, verbose=0)
        print(f"epoch {epoch + 1} of {epochs}", flush=True)
    return model


def tuned(quantized: spica.Network, net: spica.Network, data: Cifar10) -> spica.Network:
    """One pass over the training images."""
    keras = load_keras()
    keras.utils.set_random_seed(0)
    model = spica.trainable(quantized, net)
    rate = keras.optimizers.schedules.CosineDecay(TUNING_RATE, -(-len(data.train_x) // BATCH))
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(augmented(data.train_x, np.random.default_rng(0)), data.train_y, batch_size=BATCH, verbose=0)
    return spica.convert(model)


def cost(network: spica.Network, data: Cifar10) -> dict[str, Any]:
    """What an image costs: modelled on the virtual device with transformers, and measured on the engine, one thread."""
    chip = spica.map(network, DEVICE, mode="all")
    chip.forward(data.test_x[:MAPPED])
    found = chip.statistics
    return {
        "device": chip.device.name,
        "nps": found.nps,
        "passes": found.passes,
        "latency_ms": found.latency_ms,
        "energy_uj": found.dynamic_energy_uj,
        "engine_ms": bench(network, data.test_x[:1], threads=1).p50_ms,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", type=Path, default=Path("vit.keras"))
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "vit.json")
    options = parser.parse_args()
    data, keras = load_cifar10(options.folder), load_keras()
    from spica import vision  # noqa: F401  (Keras must know its layer before it reads the file)

    if not options.model.exists():
        trained(data, options.epochs).save(options.model)
    net = spica.from_keras(keras.models.load_model(options.model, compile=False))
    rows: list[dict[str, Any]] = []

    def row(method: str, bits: str, seed: int, network: spica.Network) -> None:
        accuracy = network.evaluate(data.test_x, data.test_y)
        rows.append({"method": method, "bits": bits, "seed": seed, "accuracy": accuracy})
        print(rows[-1], flush=True)
        options.out.write_text(json.dumps(rows, indent=1) + "\n")

    row("float", "32", 0, net)
    made = []
    for seed in range(SEEDS):
        chosen = np.random.default_rng(seed).choice(len(data.train_x), SAMPLES, replace=False)
        made.append(spica.quantize(net, data.train_x[chosen]))
        row("PTQ", "8/8", seed, made[-1])
    rows[1] |= cost(made[0], data)
    row("QAT", "8/8", 0, tuned(made[0], net, data))
    row("QAT", "4/8", 0, tuned(spica.quantize(net, data.train_x[:SAMPLES], weights=4), net, data))


if __name__ == "__main__":
    main()
