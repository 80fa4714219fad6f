"""The demo of learning: a chip that knows nine digits is taught the tenth by five pictures."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import spica
from spica.data import Digits, load_digits
from spica.hardware import LearningStep, learning_step, two_digits
from spica.layers import LearningDense
from spica.learning import Learner, binarize
from spica.report import figures, write_figure, write_page
from spica.util.table import table

NEW, PICTURES = 9, 5
"""The digit that training never meets, and how many pictures of it the chip is shown."""

CALIBRATION_SAMPLES = 1024
DEVICE = "AKD1000"
FEATURES, SHAPE = "separable", (7, 7, 64)
RULE: dict[str, Any] = {"rule": "prototype", "plasticity_decay": 0.15, "min_plasticity": 0.02}
ROUNDS = 50


@dataclass(frozen=True, eq=False)
class Taught:
    """The result of the demo.

    Attributes:
        learner: the learner after the last picture.
        before: its layer when it had a class for the new digit, but had seen none.
        pictures: the pictures that it was shown, ``(PICTURES, 28, 28, 1)``.
        accuracies: shares of new and old test digits that are right, before the first picture and after each.
        step: the modelled cost of learning a picture.
        inference_ms, learning_ms: measured time of the engine for a picture; learning includes an inference.
    """

    learner: Learner
    before: LearningDense
    pictures: np.ndarray
    accuracies: list[tuple[float, float]]
    step: LearningStep
    inference_ms: float
    learning_ms: float


def show(out: Path, epochs: int, seed: int) -> tuple[dict[str, Any], str]:
    """Train features on nine digits, teach the tenth, and measure what it took."""
    start = time.perf_counter()
    digits = load_digits()
    taught = teach(digits, features(digits, epochs, seed))
    files = {"network": out / "learned.spica", "page": out / "learning.html", "picture": out / "learning.png"}
    taught.learner.network.save(files["network"])
    names = [str(digit) for digit in range(10)]
    figure = figures.learned(taught.before, taught.learner.layer, SHAPE, taught.pictures, taught.accuracies, names)
    write_figure(figure, files["picture"])
    facts = to_facts(taught, time.perf_counter() - start)
    facts["files"] = {name: str(path) for name, path in files.items()}
    write_page(
        files["page"],
        f"A virtual {DEVICE} learns the digit {NEW} from {PICTURES} pictures",
        {
            **{f"{NEW}, {when}": f"{facts[f'new_{when}']:.1%}" for when in ("before", "after")},
            **{f"others, {when}": f"{facts[f'old_{when}']:.1%}" for when in ("before", "after")},
            "energy of a picture": f"{two_digits(facts['learning_uj'])} uJ",
        },
        figure,
        {"What learning costs": str(taught.step), "The network": taught.learner.network.summary()},
        f"The features and the other digits were trained without a single {NEW}. Accuracies are of held-out digits. "
        "Energy and cycles are modelled, not measured; that of the learning step from an assumption.",
    )
    return facts, as_text(facts, taught)


def features(digits: Digits, epochs: int, seed: int) -> spica.Network:
    """Return an integer network that ends in binary features, trained without the new digit."""
    from spica.zoo.recipes.digits import train_digit_classifier

    known = digits.train_y != NEW
    some = replace(digits, train_x=digits.train_x[known], train_y=digits.train_y[known])
    net = spica.from_keras(train_digit_classifier(some, epochs, seed))
    samples = some.train_x[:CALIBRATION_SAMPLES]
    return binarize(spica.quantize(net, samples, weights=4, activations=4), FEATURES, samples)


def teach(digits: Digits, extractor: spica.Network) -> Taught:
    """Teach nine digits with all samples, then the new one, picture by picture."""
    x, y = digits.train_x, digits.train_y
    learner = spica.learn(extractor, NEW, samples=x[:CALIBRATION_SAMPLES], **RULE)
    learner.fit(x[y != NEW], y[y != NEW]).add_classes(1)
    before, new = learner.layer, digits.test_y == NEW
    pictures = x[y == NEW][:PICTURES]

    def accuracies() -> tuple[float, float]:
        right = learner.predict(digits.test_x) == digits.test_y
        return float(right[new].mean()), float(right[~new].mean())

    found = [accuracies()]
    for picture in pictures:
        learner.partial_fit(picture[None], [NEW])
        found.append(accuracies())
    chip = spica.map(learner.network, DEVICE)
    chip.forward(digits.test_x)
    return Taught(learner, before, pictures, found, learning_step(chip), *speed(learner, pictures[:1]))


def speed(learner: Learner, picture: np.ndarray) -> tuple[float, float]:
    """Return milliseconds of an inference and of learning: one thread, medians; the learner stays as it is."""
    network, seconds = learner.network, np.zeros((2, ROUNDS))
    copy = Learner(network)
    for i in range(ROUNDS):
        start = time.perf_counter()
        network.predict(picture, threads=1)
        middle = time.perf_counter()
        copy.partial_fit(picture, [NEW], threads=1)
        seconds[:, i] = middle - start, time.perf_counter() - middle
    return 1e3 * median(seconds[0]), 1e3 * median(seconds[1])


def to_facts(taught: Taught, seconds: float) -> dict[str, Any]:
    """Return the demo's result as plain data."""
    (new_before, old_before), (new_after, old_after) = taught.accuracies[0], taught.accuracies[-1]
    inference = taught.step.statistics
    return {
        "new_class": NEW,
        "pictures": PICTURES,
        "new_before": new_before,
        "new_after": new_after,
        "old_before": old_before,
        "old_after": old_after,
        "by_picture": [{"new": new, "old": old} for new, old in taught.accuracies],
        "connections": taught.learner.layer.weights_per_neuron,
        "nps": inference.nps,
        "learning_layer_bytes": taught.step.memory_bytes,
        "inference_uj": inference.dynamic_energy_uj,
        "learning_uj": inference.dynamic_energy_uj + taught.step.energy_uj,
        "inference_latency_ms": inference.latency_ms,
        "learning_latency_ms": taught.step.latency_ms,
        "engine_inference_ms": taught.inference_ms,
        "engine_learning_ms": taught.learning_ms,
        "device": inference.device.name,
        "tier": inference.confidence.tier,
        "seconds": seconds,
    }


def as_text(facts: dict[str, Any], taught: Taught) -> str:
    """Return the facts as tables."""
    curve = [(str(i), f"{new:.1%}", f"{old:.1%}") for i, (new, old) in enumerate(taught.accuracies)]

    def both(what: str, name: str) -> tuple[str, ...]:
        costs = (two_digits(facts[f"{phase}_{name}"]) for phase in ("inference", "learning"))
        return (f"{facts['device']}, {what} (modelled)", *costs)

    measured = (f"{facts[f'engine_{phase}_ms']:.3f}" for phase in ("inference", "learning"))
    costs: list[tuple[str, ...]] = [
        ("what learning a picture costs", "inference", "learning, its inference included"),
        both("dynamic energy, uJ", "uj"),
        both("latency, ms", "latency_ms"),
        ("this machine, ms (measured)", *measured),
    ]
    lines = [
        f"A chip that knows 0 to {NEW - 1} is taught {NEW}; held-out digits, {facts['seconds']:.0f} s in all",
        table([("pictures shown", f"{NEW} right", "others right"), *curve]),
        "",
        table(costs),
        "",
        *str(taught.step).splitlines()[:2],
        *(f"{name}: {path}" for name, path in facts["files"].items()),
        f"teach it more by hand: spica teach {facts['files']['network']}",
    ]
    return "\n".join(lines)
