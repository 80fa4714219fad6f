"""Few-shot learning of digits that the features have never seen: ``python study.py``.

A classifier is trained on digits 0 to 6 and quantised, its last features to single bits. A learning layer learns these
seven from all samples, then 7, 8 and 9 from a few, again and again with other samples. Beside it, in float on the same
features: nearest class mean (by cosine), logistic regression, and the nearest of five neighbours.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

import spica
from spica.data import Digits, load_digits
from spica.learning import Learner, elbow, propose_weights
from spica.zoo.digits import train_digit_classifier

HELD = (7, 8, 9)
SHOTS = (1, 5, 20)
FEATURES = "separable"
LEARNERS: dict[str, dict[str, Any]] = {
    "swap": {"rule": "swap"},
    "swap, 4 neurons": {"rule": "swap", "neurons_per_class": 4, "competition": 0.1},
    "prototype": {"rule": "prototype", "plasticity_decay": 0.1, "min_plasticity": 0.02},
    "prototype, 1.1 x connections": {
        "rule": "prototype", "plasticity_decay": 0.1, "min_plasticity": 0.02, "connections": 1.1,
    },
    "prototype, 1.2 x connections": {
        "rule": "prototype", "plasticity_decay": 0.1, "min_plasticity": 0.02, "connections": 1.2,
    },
    "prototype, 4 neurons": {
        "rule": "prototype", "neurons_per_class": 4, "competition": 0.1, "plasticity_decay": 0.1,
        "min_plasticity": 0.02,
    },
}  # fmt: skip
CHOICES: dict[str, list[dict[str, Any]]] = {
    "connections, of the proposed": [{"connections": c} for c in (0.6, 0.8, 1.0, 1.2, 1.4)],
    "plasticity's decay": [{"plasticity_decay": d} for d in (0.0, 0.1, 0.25, 0.5)],
    "least plasticity": [{"min_plasticity": m} for m in (0.0, 0.02, 0.1, 0.3)],
    "competition, 4 neurons": [{"neurons_per_class": 4, "competition": c} for c in (0.0, 0.1, 0.3, 1.0)],
}
"""What is changed of "swap" with all else as it is, to see what it does."""


class Task:
    """The features of all digits, and who is old and new."""

    def __init__(self) -> None:
        self.digits = load_digits()
        self.extractor = extractor(self.digits)
        self.old = np.isin(self.digits.train_y, HELD, invert=True)
        self.old_test = np.isin(self.digits.test_y, HELD, invert=True)
        probe = spica.learn(self.extractor, 1, weights_per_neuron=1)
        self.train, self.test = probe.features(self.digits.train_x), probe.features(self.digits.test_x)
        last = spica.Network(self.extractor.layers[:-2], (self.extractor.layers[-3].name,))
        self.proposed = propose_weights(last, self.digits.train_x[self.old][:1000])

    def learner(self, connections: float = 1.0, **options: Any) -> Learner:
        """A learner that knows the old digits and has room for the new ones."""
        made = spica.learn(
            self.extractor,
            len(set(range(10)) - set(HELD)),
            weights_per_neuron=round(self.proposed * connections),
            **options,
        )
        return made.fit(self.digits.train_x[self.old], self.digits.train_y[self.old])

    def few(self, shots: int, seed: int) -> np.ndarray:
        """Indices of ``shots`` training samples of each new digit, in random order."""
        random = np.random.default_rng(seed)
        y = self.digits.train_y
        return random.permutation(
            np.concatenate([random.choice(np.flatnonzero(y == c), shots, replace=False) for c in HELD])
        )

    def scores(self, predicted: np.ndarray) -> dict[str, float]:
        right = predicted == self.digits.test_y
        return {"new": float(right[~self.old_test].mean()), "old": float(right[self.old_test].mean())}


def extractor(digits: Digits) -> spica.Network:
    """A classifier of the old digits, fine-tuned with single bits as its last features."""
    known = np.isin(digits.train_y, HELD, invert=True)
    some = replace(digits, train_x=digits.train_x[known], train_y=digits.train_y[known])
    net = spica.from_keras(train_digit_classifier(some))
    bits = {"input_convolution": 4, "convolution_1": 4, "convolution_2": 4, FEATURES: 1}
    quantized = spica.quantize(net, some.train_x[:1024], weights=4, activations=bits)
    return spica.finetune(quantized, some.train_x, some.train_y, net=net, epochs=5, learning_rate=2e-3)


def on_chip(task: Task, options: dict[str, Any], seeds: int) -> list[dict]:
    """Rows of one learner: before new digits, and after, by shots and seed."""
    made = task.learner(**options)
    before = task.scores(made.predict(task.digits.test_x))["old"]
    room = made.add_classes(len(HELD)).network
    rows = []
    for shots in SHOTS:
        for seed in range(seeds):
            one, some = spica.learn(room), task.few(shots, seed)
            one.partial_fit(task.digits.train_x[some], task.digits.train_y[some])
            rows.append(
                {"shots": shots, "seed": seed, "before": before, **task.scores(one.predict(task.digits.test_x))}
            )
    return rows


def in_float(task: Task, seeds: int) -> dict[str, list[dict]]:
    """Rows of what learns the same from the same features without a chip's limits."""
    y = task.digits.train_y
    x, test = task.train.astype(np.float32), task.test.astype(np.float32)
    rows: dict[str, list[dict]] = {"nearest class mean": [], "logistic regression": [], "5 nearest neighbours": []}
    for shots in SHOTS:
        for seed in range(seeds):
            known = np.concatenate([np.flatnonzero(task.old), task.few(shots, seed)])
            means = np.stack([x[known][y[known] == c].mean(axis=0) for c in range(10)])
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            found = {"nearest class mean": (test @ means.T).argmax(axis=1)}
            found["5 nearest neighbours"] = KNeighborsClassifier(5).fit(x[known], y[known]).predict(test)
            if seed < 3:  # slow
                found["logistic regression"] = LogisticRegression(max_iter=60).fit(x[known], y[known]).predict(test)
            for name, predicted in found.items():
                rows[name].append({"shots": shots, "seed": seed, **task.scores(predicted)})
    return rows


def arrivals(task: Task, options: dict[str, Any]) -> list[dict]:
    """Accuracy over all classes known so far while digits arrive one by one, 20 samples each."""
    y, test_y = task.digits.train_y, task.digits.test_y
    made, rows = None, []
    for digit in range(10):
        if made is None:
            made = spica.learn(task.extractor, 1, weights_per_neuron=task.proposed, **options)
        else:
            made.add_classes(1)
        some = np.flatnonzero(y == digit)[:20]
        made.partial_fit(task.digits.train_x[some], y[some])
        here = test_y <= digit
        rows.append({"classes": digit + 1, "accuracy": made.score(task.digits.test_x[here], test_y[here])})
    return rows


def noise(task: Task, options: dict[str, Any]) -> list[dict]:
    """New and old accuracy after 20 shots of which a share has a wrong label among the new digits."""
    rows = []
    room = task.learner(**options).add_classes(len(HELD)).network
    for share in (0.0, 0.1, 0.2, 0.4):
        for seed in range(5):
            random = np.random.default_rng(seed)
            some = task.few(20, seed)
            labels = task.digits.train_y[some].copy()
            wrong = random.random(len(some)) < share
            labels[wrong] = HELD[0] + (labels[wrong] - HELD[0] + random.integers(1, 3, wrong.sum())) % 3
            one = spica.learn(room).partial_fit(task.digits.train_x[some], labels)
            rows.append({"share": share, "seed": seed, **task.scores(one.predict(task.digits.test_x))})
    return rows


def times(task: Task) -> dict[str, float]:
    """Milliseconds of one inference of the network, and of learning one sample with its features inferred.

    One thread, medians of 200, by turns.
    """
    made = task.learner()
    network = made.network
    seconds: dict[str, list[float]] = {"inference": [], "learning": []}
    for i in range(200):
        x, y = task.digits.train_x[i : i + 1], task.digits.train_y[i : i + 1] % made.classes
        start = time.perf_counter()
        network.predict(x, threads=1)
        middle = time.perf_counter()
        made.partial_fit(x, y, threads=1)
        seconds["inference"].append(middle - start)
        seconds["learning"].append(time.perf_counter() - middle)
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def mean(rows: list[dict], shots: int, key: str) -> float:
    return statistics.mean(row[key] for row in rows if row["shots"] == shots)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "study.json")
    options = parser.parse_args()
    task, console = Task(), Console(width=120)
    found: dict[str, list[dict]] = {}
    for name, learner in track(LEARNERS.items(), "learners", console=Console(stderr=True)):
        found[name] = on_chip(task, learner, options.seeds)
    found |= in_float(task, options.seeds)
    table = Table("method", *[f"new, {s} shots" for s in SHOTS], *[f"old, {s} shots" for s in SHOTS])
    for name, rows in found.items():
        table.add_row(name, *[f"{100 * mean(rows, s, k):.1f}" for k in ("new", "old") for s in SHOTS])
    console.print(table)
    choices = {
        name: [{"change": change, "rows": on_chip(task, {"rule": "swap"} | change, 5)} for change in changes]
        for name, changes in track(CHOICES.items(), "choices", console=Console(stderr=True))
    }
    best, curve = elbow(
        task.train[task.old][:2000], task.digits.train_y[task.old][:2000], [1, 2, 3, 4, 6, 8, 12], task.proposed
    )
    facts = {
        "proposed_weights": task.proposed,
        "inputs": task.train.shape[1],
        "density": float(task.train.mean()),
        "methods": found,
        "choices": choices,
        "arrivals": {name: arrivals(task, LEARNERS[name]) for name in ("swap", "prototype")},
        "noise": {name: noise(task, LEARNERS[name]) for name in ("swap", "prototype")},
        "elbow": {"best": best, "curve": curve},
        "times_ms": times(task),
    }
    console.print(facts["times_ms"])
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
