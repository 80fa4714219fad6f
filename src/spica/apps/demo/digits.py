"""The demo: from a Keras network to a virtual chip, on real digits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import spica
from spica.data import Digits, load_digits
from spica.hardware import MappedNetwork, two_digits
from spica.report import overview, write_figure, write_page
from spica.util.keras_backend import load_keras
from spica.util.table import table

CALIBRATION_SAMPLES = 1024
DEVICE = "AKD1000"
ACCURACIES = {
    "float": "float_accuracy", "8-bit": "accuracy_8bit", "4-bit": "accuracy_4bit", "on the chip": "accuracy_chip"
}  # fmt: skip
"""Names of what is compared, and of its accuracy among the facts."""


def show(out: Path, epochs: int, seed: int) -> tuple[dict[str, Any], str]:
    """Train a digit classifier, quantise it, map it to a chip, and measure what runs there."""
    start = time.perf_counter()
    digits = load_digits()
    chip, accuracies, predicted = run_demo(digits, epochs, seed)
    files = {"network": out / "digits.spica", "page": out / "index.html", "picture": out / "overview.png"}
    chip.network.save(files["network"])
    figure = overview(chip, accuracies, digits.test_x, digits.test_y, predicted)
    write_figure(figure, files["picture"])
    statistics, samples = chip.statistics, len(digits.test_x)
    known = statistics.to_dict()
    facts = {
        **{ACCURACIES[name]: value for name, value in accuracies.items()},
        "test_samples": samples,
        **{name: getattr(statistics, name) for name in ("sparsity", "nps", "fps", "power_mw", "energy_uj")},
        "seconds": time.perf_counter() - start,
        "device": chip.device.name,
        "modelled": known["modelled"],
        "tier": known["tier"],
        "backend": load_keras().backend.backend(),
        "files": {name: str(path) for name, path in files.items()},
    }
    shown = {name: f"{value:.2%}" for name, value in accuracies.items()}
    write_page(
        files["page"],
        f"Handwritten digits on a virtual {DEVICE}",
        {**shown, "zeros": f"{statistics.sparsity:.1%}", "NPs": str(statistics.nps)},
        figure,
        {"What it costs": str(statistics), "The 4-bit network": chip.network.summary()},
        f"Accuracies are of {samples} digits that training never saw. Events are counted; cycles, time, "
        "power and energy are modelled from them, not measured. Device names say what a virtual device models.",
    )
    return facts, as_text(facts, shown, statistics.band)


def run_demo(digits: Digits, epochs: int, seed: int) -> tuple[MappedNetwork, dict[str, float], NDArray[np.int64]]:
    """Train, quantise, map and run.

    Returns:
        The 4-bit network on the device, after a run over the test split; accuracies on that, 0 to 1; the chip's
        classes (N,).
    """
    from spica.zoo.recipes.digits import train_digit_classifier

    net, samples = spica.from_keras(train_digit_classifier(digits, epochs, seed)), digits.train_x[:CALIBRATION_SAMPLES]
    eight, four = (spica.quantize(net, samples, weights=bits, activations=bits) for bits in (8, 4))
    chip = spica.map(four, DEVICE)
    predicted = np.asarray(chip.forward(digits.test_x)).argmax(axis=1)
    found = [network.evaluate(digits.test_x, digits.test_y) for network in (net, eight, four)]
    return chip, dict(zip(ACCURACIES, [*found, float(np.mean(predicted == digits.test_y))])), predicted


def as_text(facts: dict[str, Any], accuracies: dict[str, str], band: Any) -> str:
    """Return the facts as a table; modelled figures with their bands."""

    def modelled(name: str, unit: str) -> str:
        low, high = map(two_digits, band(name))
        return f"{two_digits(facts[name])} {unit} (90 %: {low} to {high}; modelled)"

    return table([
        ("handwritten digits", f"{facts['test_samples']} held out, on a virtual {facts['device']}"),
        *((f"accuracy, {name}", value) for name, value in accuracies.items()),
        ("zeros between layers", f"{facts['sparsity']:.1%}"),
        ("NPs", f"{facts['nps']}"),
        ("rate of a stream", modelled("fps", "a second")),
        ("power", modelled("power_mw", "mW")),
        ("energy an inference", modelled("energy_uj", "uJ")),
        ("time taken", f"{facts['seconds']:.0f} s (training on {facts['backend']} included)"),
        *facts["files"].items(),
    ])  # fmt: skip
