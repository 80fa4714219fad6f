"""The demo: from a Keras network to a virtual chip, on real digits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import spica
from spica.data import load_digits
from spica.hardware import MappedNetwork, two_digits
from spica.network import Network
from spica.report import overview, write_page
from spica.report.figures import to_png
from spica.util.files import write_atomically
from spica.util.table import table

CALIBRATION_SAMPLES = 1024
DEVICE = "AKD1000"


@dataclass(frozen=True, eq=False)
class Demo:
    """The result of the demo.

    Attributes:
        chip: the 4-bit network on the device, after a run over the test split.
        accuracies: of the float, 8-bit and 4-bit networks and the chip, 0 to 1, on the held-out test split.
        predicted: the chip's classes (N,).
        backend: the Keras backend that trained.
    """

    chip: MappedNetwork
    accuracies: dict[str, float]
    predicted: np.ndarray
    backend: str


def show(out: Path, epochs: int, seed: int) -> tuple[dict[str, Any], str]:
    """Train a digit classifier, quantise it, map it to a chip, and measure what runs there.

    Args:
        out: folder for the network, the page and the picture.
        epochs: passes over the training digits.
        seed: of the training.

    Returns:
        The facts as plain data, and as a table.
    """
    start = time.perf_counter()
    digits = load_digits()
    result = run_demo(digits, epochs, seed)
    chip = result.chip
    chip.network.save(out / "digits.spica")
    figure = overview(chip, result.accuracies, digits.test_x, digits.test_y, result.predicted)
    write_atomically(out / "overview.png", to_png(figure))
    statistics = chip.statistics
    facts = to_facts(result, len(digits.test_x), time.perf_counter() - start, out)
    write_page(
        out / "index.html",
        f"Handwritten digits on a virtual {DEVICE}",
        {
            "float": f"{facts['float_accuracy']:.2%}",
            "8-bit": f"{facts['accuracy_8bit']:.2%}",
            "4-bit": f"{facts['accuracy_4bit']:.2%}",
            "on the chip": f"{facts['accuracy_chip']:.2%}",
            "zeros": f"{facts['sparsity']:.1%}",
            "NPs": str(facts["nps"]),
        },
        figure,
        {"What it costs": str(statistics), "The 4-bit network": chip.network.summary()},
        f"Accuracies are of {facts['test_samples']} digits that training never saw. Events are counted; cycles, time, "
        "power and energy are modelled from them, not measured. Device names say what a virtual device models.",
    )
    return facts, as_text(facts, statistics.band)


def run_demo(digits: Any, epochs: int, seed: int) -> Demo:
    """Run the demo: train, quantise, check, map and run; every accuracy is of the test split."""
    from spica.util.keras_backend import load_keras
    from spica.zoo.recipes.digits import train_digit_classifier

    model = train_digit_classifier(digits, epochs, seed)
    net = spica.from_keras(model)
    samples = digits.train_x[:CALIBRATION_SAMPLES]
    eight = spica.quantize(net, samples, weights=8, activations=8)
    four = spica.quantize(net, samples, weights=4, activations=4)
    chip = spica.map(four, DEVICE)
    outputs = chip.forward(digits.test_x)
    assert isinstance(outputs, np.ndarray)
    predicted = outputs.argmax(axis=1)

    def accuracy(network: Network) -> float:
        return network.evaluate(digits.test_x, digits.test_y)

    accuracies = {
        "float": accuracy(net),
        "8-bit": accuracy(eight),
        "4-bit": accuracy(four),
        "on the chip": float(np.mean(predicted == digits.test_y)),
    }
    return Demo(chip, accuracies, predicted, load_keras().backend.backend())


def to_facts(result: Demo, samples: int, seconds: float, out: Path) -> dict[str, Any]:
    """Return the demo's result as plain data."""
    statistics = result.chip.statistics
    return {
        "float_accuracy": result.accuracies["float"],
        "accuracy_8bit": result.accuracies["8-bit"],
        "accuracy_4bit": result.accuracies["4-bit"],
        "accuracy_chip": result.accuracies["on the chip"],
        "test_samples": samples,
        "sparsity": statistics.sparsity,
        "nps": statistics.nps,
        "fps": statistics.fps,
        "power_mw": statistics.power_mw,
        "energy_uj": statistics.energy_uj,
        "seconds": seconds,
        "device": result.chip.device.name,
        "modelled": statistics.to_dict()["modelled"],
        "tier": statistics.to_dict()["tier"],
        "backend": result.backend,
        "files": {
            "network": str(out / "digits.spica"),
            "page": str(out / "index.html"),
            "picture": str(out / "overview.png"),
        },
    }


def as_text(facts: dict[str, Any], band: Any) -> str:
    """Return the facts as a table; modelled figures with their bands."""

    def modelled(name: str, unit: str) -> str:
        low, high = map(two_digits, band(name))
        return f"{two_digits(facts[name])} {unit} (90 %: {low} to {high}; modelled)"

    rows: list[tuple[str, ...]] = [
        ("handwritten digits", f"{facts['test_samples']} held out, on a virtual {facts['device']}"),
        ("accuracy, float", f"{facts['float_accuracy']:.2%}"),
        ("accuracy, 8-bit", f"{facts['accuracy_8bit']:.2%}"),
        ("accuracy, 4-bit", f"{facts['accuracy_4bit']:.2%}"),
        ("accuracy, on the chip", f"{facts['accuracy_chip']:.2%}"),
        ("zeros between layers", f"{facts['sparsity']:.1%}"),
        ("NPs", f"{facts['nps']}"),
        ("rate of a stream", modelled("fps", "a second")),
        ("power", modelled("power_mw", "mW")),
        ("energy an inference", modelled("energy_uj", "uJ")),
        ("time taken", f"{facts['seconds']:.0f} s (training on {facts['backend']} included)"),
        *((name, path) for name, path in facts["files"].items()),
    ]
    return table(rows)
