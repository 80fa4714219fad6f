"""Few-shot learning of classes that the features have never met: ``python study.py``.

A classifier is trained on digits 0 to 6 (in the second study, 25 of 35 spoken words) and quantised, its last features
to single bits. A learning layer learns these classes from all samples, then the others from a few, again and again with
other samples. Beside it, in float on the same features: nearest class mean (by cosine), logistic regression, and the
nearest of five neighbours.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from digits import Digits
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from task import SHOTS, Task
from words import word_task

import spica
from spica.learning import elbow

LEARNERS: dict[str, dict[str, Any]] = {
    "swap": {"rule": "swap"},
    "swap, 4 neurons": {"rule": "swap", "neurons_per_class": 4, "competition": 0.1},
    "prototype": {"rule": "prototype", "plasticity_decay": 0.15, "min_plasticity": 0.02},
    "prototype, 1.1 x connections": {
        "rule": "prototype", "plasticity_decay": 0.15, "min_plasticity": 0.02, "connections": 1.1,
    },
    "prototype, 1.2 x connections": {
        "rule": "prototype", "plasticity_decay": 0.15, "min_plasticity": 0.02, "connections": 1.2,
    },
    "prototype, 4 neurons": {
        "rule": "prototype", "neurons_per_class": 4, "competition": 0.1, "plasticity_decay": 0.15,
        "min_plasticity": 0.02,
    },
}  # fmt: skip
NEURONS = (1, 10, 50)
RATES = (0.03, 0.1, 0.3)
CHOICES: dict[str, list[dict[str, Any]]] = {
    "connections, of the proposed": [{"connections": c} for c in (0.6, 0.8, 1.0, 1.2, 1.4)],
    "plasticity's decay": [{"plasticity_decay": d} for d in (0.0, 0.1, 0.25, 0.5)],
    "least plasticity": [{"min_plasticity": m} for m in (0.0, 0.02, 0.1, 0.3)],
    "competition, 4 neurons": [{"neurons_per_class": 4, "competition": c} for c in (0.0, 0.1, 0.3, 1.0)],
}
"""What is changed of "swap" with all else as it is, to see what it does."""


def on_chip(task: Task, options: dict[str, Any], seeds: int) -> list[dict]:
    """Rows of one learner: before new digits, and after, by shots and seed."""
    made = task.learner(**options)
    before = task.scores(made.predict(task.test_x))["old"]
    room = made.add_classes(task.classes - task.known).network
    rows = []
    for shots in SHOTS:
        for seed in range(seeds):
            one, some = spica.learn(room), task.few(shots, seed)
            one.partial_fit(task.train_x[some], task.train_y[some])
            rows.append({"shots": shots, "seed": seed, "before": before, **task.scores(one.predict(task.test_x))})
    return rows


def in_float(task: Task, seeds: int) -> dict[str, list[dict]]:
    """Rows of what learns the same from the same features without a chip's limits."""
    y = task.train_y
    x, test = task.train.astype(np.float32), task.test.astype(np.float32)
    rows: dict[str, list[dict]] = {"nearest class mean": [], "logistic regression": [], "5 nearest neighbours": []}
    for shots in SHOTS:
        for seed in range(seeds):
            known = np.concatenate([np.flatnonzero(task.old), task.few(shots, seed)])
            means = np.stack([x[known][y[known] == c].mean(axis=0) for c in range(task.classes)])
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            found = {"nearest class mean": (test @ means.T).argmax(axis=1)}
            found["5 nearest neighbours"] = KNeighborsClassifier(5).fit(x[known], y[known]).predict(test)
            if seed < 3:  # slow
                found["logistic regression"] = LogisticRegression(max_iter=60).fit(x[known], y[known]).predict(test)
            for name, predicted in found.items():
                rows[name].append({"shots": shots, "seed": seed, **task.scores(predicted)})
    return rows


def arrivals(task: Task, options: dict[str, Any]) -> list[dict]:
    """Accuracy over all classes known so far while they arrive one by one, 20 samples each."""
    y, test_y = task.train_y, task.test_y
    made, rows = None, []
    for label in range(task.classes):
        if made is None:
            made = spica.learn(task.extractor, 1, weights_per_neuron=task.proposed, **options)
        else:
            made.add_classes(1)
        some = np.flatnonzero(y == label)[:20]
        made.partial_fit(task.train_x[some], y[some])
        here = test_y <= label
        rows.append({"classes": label + 1, "accuracy": made.score(task.test_x[here], test_y[here])})
    return rows


def noise(task: Task, options: dict[str, Any]) -> list[dict]:
    """New and old accuracy after 20 shots of which a share has the label of another new class."""
    rows = []
    room = task.learner(**options).add_classes(task.classes - task.known).network
    for share in (0.0, 0.1, 0.2, 0.4):
        for seed in range(5):
            random = np.random.default_rng(seed)
            some = task.few(20, seed)
            labels = task.train_y[some].copy()
            wrong = random.random(len(some)) < share
            new = task.classes - task.known
            labels[wrong] = task.known + (labels[wrong] - task.known + random.integers(1, new, wrong.sum())) % new
            one = spica.learn(room).partial_fit(task.train_x[some], labels)
            rows.append({"share": share, "seed": seed, **task.scores(one.predict(task.test_x))})
    return rows


def times(task: Task, options: dict[str, Any]) -> dict[str, float]:
    """Milliseconds of one inference of the network, and of learning one sample with its features inferred.

    One thread, medians of 200, by turns.
    """
    made = task.learner(**options)
    network = made.network
    seconds: dict[str, list[float]] = {"inference": [], "learning": []}
    for i in range(200):
        x, y = task.train_x[i : i + 1], task.train_y[i : i + 1] % made.classes
        start = time.perf_counter()
        network.predict(x, threads=1)
        middle = time.perf_counter()
        made.partial_fit(x, y, threads=1)
        seconds["inference"].append(middle - start)
        seconds["learning"].append(time.perf_counter() - middle)
    return {name: 1e3 * statistics.median(values) for name, values in seconds.items()}


def extractors(digits: Digits, seeds: int) -> dict[str, list[dict]]:
    """Rows of "prototype" on features that were made binary in different ways."""
    made = {"fine-tuned": digits.tuned(), "rounded": digits.rounded()}
    made |= {f"thresholds, {rate:.0%} firing": digits.thresholded(rate) for rate in RATES}
    return {name: on_chip(digits.task(network), LEARNERS["prototype"], seeds) for name, network in made.items()}


def whole_vocabulary(task: Task) -> dict[str, list[dict]]:
    """Accuracy over all classes with all training samples of all, by rule and neurons a class."""
    found: dict[str, list[dict]] = {}
    for rule in ("swap", "prototype"):
        for neurons in NEURONS:
            options = {**LEARNERS[rule], "neurons_per_class": neurons, "competition": 0.1 if neurons > 1 else 0.0}
            made = spica.learn(task.extractor, task.classes, weights_per_neuron=task.proposed, **options)
            accuracy = made.fit(task.train_x, task.train_y).score(task.test_x, task.test_y)
            found.setdefault(rule, []).append({"neurons": neurons, "accuracy": accuracy})
    return found


def methods(task: Task, seeds: int, console: Console) -> dict[str, list[dict]]:
    """Rows of everything that learns from a few samples."""
    shown = track(LEARNERS.items(), "learners", console=Console(stderr=True))
    found = {name: on_chip(task, learner, seeds) for name, learner in shown} | in_float(task, seeds)
    table = Table("method", *[f"new, {s} shots" for s in SHOTS], *[f"old, {s} shots" for s in SHOTS])
    for name, rows in found.items():
        table.add_row(name, *[f"{100 * mean(rows, s, k):.1f}" for k in ("new", "old") for s in SHOTS])
    console.print(table)
    return found


def mean(rows: list[dict], shots: int, key: str) -> float:
    return statistics.mean(row[key] for row in rows if row["shots"] == shots)


def digit_study(seeds: int, console: Console) -> dict[str, Any]:
    digits = Digits()
    task = digits.task(digits.tuned())
    few, labels = task.train[task.old][:2000], task.train_y[task.old][:2000]
    best, curve = elbow(few, labels, [1, 2, 3, 4, 6, 8, 12], task.proposed)
    return {
        "proposed_weights": task.proposed,
        "inputs": task.train.shape[1],
        "density": float(task.train.mean()),
        "methods": methods(task, seeds, console),
        "choices": {
            name: [{"change": change, "rows": on_chip(task, {"rule": "swap"} | change, 5)} for change in changes]
            for name, changes in track(CHOICES.items(), "choices", console=Console(stderr=True))
        },
        "extractors": extractors(digits, 5),
        "arrivals": {name: arrivals(task, LEARNERS[name]) for name in ("swap", "prototype")},
        "noise": {name: noise(task, LEARNERS[name]) for name in ("swap", "prototype")},
        "elbow": {"best": best, "curve": curve},
        "times_ms": {name: times(task, LEARNERS[name]) for name in ("swap", "prototype")},
    }


def word_study(seeds: int, console: Console) -> dict[str, Any]:
    task, float_accuracy, integer_accuracy = word_task()
    return {
        "float_accuracy": float_accuracy,
        "integer_accuracy": integer_accuracy,
        "proposed_weights": task.proposed,
        "inputs": task.train.shape[1],
        "density": float(task.train.mean()),
        "methods": methods(task, seeds, console),
        "vocabulary": whole_vocabulary(task),
    }


STUDIES = {"digits": digit_study, "words": word_study}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(STUDIES), choices=STUDIES)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "study.json")
    options = parser.parse_args()
    console, found = Console(width=120), json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.data:
        found[name] = STUDIES[name](options.seeds, console)
        options.out.parent.mkdir(exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
