"""Accuracy of every width and method on real data, against other quantisers with the same samples.

``python study.py --networks digits --out results.json`` is quick; ``akidanet32`` and ``mobilenet32``
(``train.py`` makes them) and ``resnet8`` (of MLPerf Tiny, trained by others) need CIFAR-10. Rows are written as they
come, and rows that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rivals import onnxruntime_int8, quantizeml
from train import NETWORKS, augmented

import spica
from spica.data import load_cifar10, load_digits
from spica.network import Network
from spica.passes import prepare
from spica.util.keras_backend import load_keras
from spica.zoo.recipes.digits import shifted, train_digit_classifier

SCHEMES = {"8/8": (8, 8, 8), "8/4/4": (4, 4, 8), "4/4": (4, 4, 4), "2/2": (2, 2, 8), "1/1": (1, 1, 8)}
"""Bits of weights, activations and the first layer's weights. In "8/4/4", "2/2" and "1/1" the first layer has 8."""
SAMPLES = 1024
PLAIN = {"equalization": False, "reconstruction": False, "bias_correction": False}
BATCH = 128


@dataclass
class Case:
    """A trained network with its data: images as uint8, and how training moves them."""

    name: str
    model: Any
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    move: Callable[[np.ndarray, np.random.Generator], np.ndarray]
    epochs: int  # of fine-tuning, how often it is done, and its first learning rate
    seeds: int
    rate: float
    tuned: tuple[str, ...] = tuple(SCHEMES)

    def __post_init__(self) -> None:
        self.net = spica.from_keras(self.model)

    def samples(self, seed: int) -> np.ndarray:
        return self.train[0][np.random.default_rng(seed).choice(len(self.train[0]), SAMPLES, replace=False)]


def load(name: str, folder: Path | None, model: Path | None) -> Case:
    keras = load_keras()
    if name == "digits":
        data = load_digits()
        trained = train_digit_classifier(data)
        return Case(name, trained, (data.train_x, data.train_y), (data.test_x, data.test_y), shifted, 6, 3, 2e-3)
    assert folder and model, f"{name} needs --cifar and --{name}"
    data = load_cifar10(folder)
    trained = keras.models.load_model(model, compile=False)
    rate = 5e-4 if name == "resnet8" else 2e-3  # ResNet8 comes with its normalisation folded, and wants less
    train, test = (data.train_x, data.train_y), (data.test_x, data.test_y)
    return Case(name, trained, train, test, augmented, 3, 1, rate, ("4/4", "2/2", "1/1"))


def tuned(case: Case, quantized: Network, seed: int) -> float:
    """Accuracy after fine-tuning, with labels and the float network's probabilities in equal parts."""
    keras = load_keras()
    keras.utils.set_random_seed(seed)
    x, y = case.train
    taught = np.asarray(keras.ops.convert_to_numpy(case.model.predict(x, batch_size=256, verbose=0)))
    taught = taught if (taught >= 0).all() else np.exp(taught - taught.max(axis=1, keepdims=True))
    targets = (taught / taught.sum(axis=1, keepdims=True) + np.eye(taught.shape[1], dtype=np.float32)[y]) / 2
    model = spica.trainable(quantized, case.net)
    steps = case.epochs * -(-len(x) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(case.rate, steps)
    model.compile(keras.optimizers.Adam(rate), keras.losses.CategoricalCrossentropy(from_logits=True))
    random = np.random.default_rng(seed)
    for _ in range(case.epochs):
        model.fit(case.move(x, random), targets, batch_size=BATCH, verbose=0)
    return spica.convert(model).evaluate(*case.test)


def rows(
    case: Case, python: str | None, seeds: int, done: Callable[[dict], bool], add: Callable[[dict, float], None]
) -> None:
    """Every row of a network, cheap ones first; ``done`` tells which are known."""
    prepared = prepare(case.net)
    x, y = case.test

    def row(
        method: str, scheme: str, seed: int, measure: Callable[..., float | None], *of: Any, **options: Any
    ) -> None:
        key = {"network": case.name, "method": method, "bits": scheme, "seed": seed}
        if not done(key) and (found := measure(*of, **options)) is not None:
            add(key, found)

    def made(scheme: str, seed: int, **options: Any) -> Network:
        weights, activations, first = SCHEMES[scheme]
        bits = {"weights": weights, "activations": activations, "first_layer_weights": first}
        return spica.quantize(case.net, case.samples(seed), **bits, **options)

    def quantized(scheme: str, seed: int, **options: Any) -> float:
        return made(scheme, seed, **options).evaluate(x, y)

    def fine(scheme: str, seed: int) -> float:
        return tuned(case, made(scheme, seed), seed)

    row("float", "32", 0, lambda: float((predicted(case, x) == y).mean()))
    for seed in range(seeds):
        for scheme in SCHEMES:
            row("PTQ, rounding only", scheme, seed, quantized, scheme, seed, **PLAIN)
            row("PTQ", scheme, seed, quantized, scheme, seed)
            row("PTQ, a step a channel", scheme, seed, quantized, scheme, seed, per_channel_activations=True)
        row("onnxruntime", "8/8", seed, onnxruntime_int8, prepared, case.samples(seed), x, y)
    for seed in range(case.seeds):
        for scheme in case.tuned:
            row("QAT", scheme, seed, fine, scheme, seed)
    for seed in range(seeds if python else 0):
        for scheme, bits in SCHEMES.items():
            of = (python, prepared, case.samples(seed), x, y, bits)
            row("quantizeml", scheme, seed, quantizeml, *of, True)
            row("quantizeml, a step a channel", scheme, seed, quantizeml, *of, False)


def predicted(case: Case, x: np.ndarray) -> np.ndarray:
    return np.asarray(load_keras().ops.convert_to_numpy(case.model.predict(x, batch_size=256, verbose=0))).argmax(
        axis=1
    )


def table(found: list[dict], network: str) -> Table:
    """Mean accuracy in percent, and the spread over seeds."""
    of = [row for row in found if row["network"] == network]
    shown = Table("method", *SCHEMES, title=f"{network}: float {100 * of[0]['accuracy']:.2f} %")
    for method in dict.fromkeys(row["method"] for row in of[1:]):
        cells = []
        for scheme in SCHEMES:
            values = [100 * r["accuracy"] for r in of if (r["method"], r["bits"]) == (method, scheme)]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}" if values else "")
        shown.add_row(method, *cells)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["digits"], choices=["digits", *NETWORKS, "resnet8"])
    parser.add_argument("--cifar", type=Path, help="a folder with CIFAR-10")
    for name in NETWORKS:
        parser.add_argument(f"--{name}", type=Path, help="the model that train.py made")
    parser.add_argument("--resnet8", type=Path, help="pretrainedResnet.h5 of MLPerf Tiny")
    parser.add_argument("--quantizeml", metavar="PYTHON", help="an interpreter that has quantizeml")
    parser.add_argument("--seeds", type=int, default=3, help="sets of calibration samples")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "study.json")
    options = parser.parse_args()
    found = json.loads(options.out.read_text()) if options.out.exists() else []
    console = Console(width=140)

    def done(key: dict) -> bool:
        return any(key.items() <= row.items() for row in found)

    def add(key: dict, accuracy: float) -> None:
        found.append({**key, "accuracy": accuracy})
        options.out.parent.mkdir(exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")
        console.print(f"{key['network']} {key['method']} {key['bits']} seed {key['seed']}: {100 * accuracy:.2f} %")

    for name in options.networks:
        rows(load(name, options.cifar, getattr(options, name, None)), options.quantizeml, options.seeds, done, add)
        console.print(table(found, name))


if __name__ == "__main__":
    main()
