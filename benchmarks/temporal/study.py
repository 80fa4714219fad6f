"""Temporal networks against a GRU and a plain CNN on series: ``python study.py``.

All are trained alike, labels for every frame, and answer for a clip by the mean of their frames, or find beats. The
temporal network is also quantised to eight bits, streamed frame by frame, and placed on a second-generation device.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from series import Series, camera, heart, motions, sound, vowels, words

import spica
from spica.network.file import write_atomically
from spica.training import load_keras

DEVICES, RECURRENT_DEVICE = {1: "Akida2-1", 3: "Akida2-6"}, "pico"
"""By the rank of a frame."""

FRAMES, POLYNOMIALS = 8, 4
BATCH, RATE = 32, 4e-3
STREAMED = 1000
SERIES: dict[str, tuple[Callable[[], Series], int, int]] = {
    "vowels": (vowels, 60, 5), "motions": (motions, 120, 5), "heart": (heart, 60, 5), "words": (words, 20, 3),
    "sound": (sound, 10, 2), "camera": (camera, 6, 3),
}  # fmt: skip
"""Each with epochs of training and seeds."""


def tenn(width: int, series: Series, basis: bool = False) -> Any:
    """Dense layers on every frame, and between them each channel looks back at eight frames."""
    from spica.temporal import DepthwiseTemporalConv, Jacobi

    keras = load_keras()
    layers = keras.layers
    model = keras.Sequential([*start(series), layers.Dense(width, use_bias=False)])
    for _ in range(2):
        kernels = Jacobi(POLYNOMIALS) if basis else None
        for layer in (DepthwiseTemporalConv(FRAMES, kernels, use_bias=False), layers.Dense(width, use_bias=False)):
            for each in (layers.BatchNormalization(), layers.ReLU(), layer):
                model.add(each)
    for each in (layers.BatchNormalization(), layers.ReLU(), layers.Dropout(0.2), layers.Dense(series.classes)):
        model.add(each)
    return model


def ssm(width: int, series: Series) -> Any:
    """Recurrent: two diagonal state-space layers, a dense layer before and after each."""
    from spica.temporal import DiagonalSSM

    keras = load_keras()
    layers = keras.layers
    model = keras.Sequential(start(series))
    for _ in range(2):
        for each in (layers.Dense(width), DiagonalSSM(), layers.Dense(width, use_bias=False)):
            model.add(each)
        for each in (layers.BatchNormalization(), layers.ReLU()):
            model.add(each)
    model.add(layers.Dropout(0.2))
    model.add(layers.Dense(series.classes))
    return model


def gru(width: int, series: Series) -> Any:
    keras = load_keras()
    layers = keras.layers
    recurrent = layers.GRU(width, return_sequences=True)
    return keras.Sequential([*start(series), recurrent, layers.Dropout(0.2), layers.Dense(series.classes)])


def cnn(width: int, series: Series) -> Any:
    """Convolutions that see five frames, later ones as well: it has to wait for the clip."""
    keras = load_keras()
    layers = keras.layers
    model = keras.Sequential([keras.Input(series.train_x.shape[1:])])
    for _ in range(3):
        convolution = layers.Conv1D(width, 5, padding="same", use_bias=False)
        for each in (convolution, layers.BatchNormalization(), layers.ReLU()):
            model.add(each)
    model.add(layers.Dropout(0.2))
    model.add(layers.Dense(series.classes))
    return model


def camera_network(series: Series, filters: int, over_time: str) -> Any:
    """Convolutions on every frame; what looks over time is between them, or, a GRU or a ``Conv1D``, behind them."""
    from spica.temporal import DepthwiseTemporalConv, TemporalConv

    keras = load_keras()
    layers = keras.layers

    def each(kernels: int) -> list[Any]:
        return [layers.TimeDistributed(layers.Conv2D(kernels, 3, 2, "same", use_bias=False)), layers.ReLU()]

    between = {
        "full": [TemporalConv(32, 5, use_bias=False), layers.ReLU()],
        "depthwise": [DepthwiseTemporalConv(5, use_bias=False), layers.ReLU()],
    }
    behind = {
        "GRU": [layers.GRU(24, return_sequences=True)],
        "CNN": [layers.Conv1D(16, 5, padding="same"), layers.ReLU()],
    }
    parts = [
        *each(16),
        *each(32),
        *between.get(over_time, []),
        *each(filters),
        layers.TimeDistributed(layers.Flatten()),
    ]
    last = [*behind.get(over_time, []), layers.Dropout(0.2), layers.Dense(series.classes)]
    return keras.Sequential([keras.Input(series.train_x.shape[1:]), *parts, *last])


CAMERA_MODELS: dict[str, Callable[[Series], Any]] = {
    "GRU, 24": lambda series: camera_network(series, 32, "GRU"),
    "CNN, 16": lambda series: camera_network(series, 32, "CNN"),
    "TENN, full": lambda series: camera_network(series, 64, "full"),
    "TENN, depthwise": lambda series: camera_network(series, 32, "depthwise"),
}
MODELS: dict[str, Callable[[Series], Any]] = {
    "GRU, 48": lambda series: gru(48, series),
    "CNN, 24": lambda series: cnn(24, series),
    "TENN, 56": lambda series: tenn(56, series),
    "TENN, 32": lambda series: tenn(32, series),
    "TENN, 32, polynomials": lambda series: tenn(32, series, basis=True),
    "recurrent TENN, 32": lambda series: ssm(32, series),
}


SOUND_MODELS = {
    "GRU, 48": MODELS["GRU, 48"],
    "TENN, 56": MODELS["TENN, 56"],
    "recurrent TENN, 64": lambda series: ssm(64, series),
}


def models_of(series: Series) -> dict[str, Callable[[Series], Any]]:
    if series.train_x.ndim == 5:
        return CAMERA_MODELS
    return SOUND_MODELS if series.train_x.dtype == np.int16 else MODELS


def start(series: Series) -> list[Any]:
    """Where a network begins; raw sound is brought to about one."""
    keras = load_keras()
    source = keras.Input(series.train_x.shape[1:])
    return [source, keras.layers.Rescaling(1 / 2048)] if series.train_x.dtype == np.int16 else [source]


def work(model: Any) -> int:
    """Multiply-accumulates for one frame."""
    total = 0
    for layer in model.layers:
        pixels = int(np.prod(layer.output.shape[2:-1]))
        layer = getattr(layer, "layer", layer)  # what is done to every frame
        kind = type(layer).__name__
        if kind == "GRU":
            kernel, recurrent, *_ = layer.get_weights()
            total += kernel.size + recurrent.size
        elif kind == "DiagonalSSM":
            total += 4 * layer.output.shape[-1]
        elif kind == "DepthwiseTemporalConv":
            total += layer.frames * layer.output.shape[-1] * pixels
        elif kind in ("Dense", "Conv1D", "Conv2D", "TemporalConv"):
            total += layer.get_weights()[0].size * pixels
    return total


def trained(model: Any, series: Series, epochs: int, seed: int) -> Any:
    keras = load_keras()
    x, random = series.train_x, np.random.default_rng(seed)
    y = series.train_y if series.train_y.ndim == 2 else np.repeat(series.train_y[:, None], x.shape[1], axis=1)
    rate = keras.optimizers.schedules.CosineDecay(RATE, epochs * -(-len(x) // BATCH))
    model.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for _ in range(epochs):
        moved = x if x.ndim == 5 else x + random.normal(0, 0.1, x.shape).astype(np.float32)
        model.fit(moved, y, batch_size=BATCH, verbose=0)
    return model


def accuracy(outputs: np.ndarray, labels: np.ndarray) -> float:
    """Share of clips whose class the mean of their frames says; where frames have labels, F1 of the beats found."""
    scores = outputs.reshape(*outputs.shape[:2], -1)
    if labels.ndim == 1:
        return float((scores.mean(axis=1).argmax(axis=1) == labels).mean())
    given, wanted = scores.argmax(axis=2) == 1, labels == 1
    both = beats(given & wanted, given), beats(given & wanted, wanted)  # each is found once, or missed
    return 2 * min(both) / (beats(given, given) + beats(wanted, wanted))


def beats(where: np.ndarray, runs: np.ndarray) -> int:
    """Runs of frames in which any frame is in ``where``."""
    number = np.cumsum(np.diff(runs, axis=1, prepend=False) & runs) * runs.ravel()
    return len(np.unique(number[where.ravel() & runs.ravel()]))


def on_chip(model: Any, series: Series) -> dict[str, float]:
    """The eight-bit network: its accuracy on clips, frame by frame, and what a frame costs on a device."""
    qnet = spica.quantize(spica.from_keras(model), series.train_x)
    x = spica.to_input_integers(qnet, series.test_x)
    whole = qnet.forward(x)
    frames = x.reshape(-1, *x.shape[2:])[:STREAMED]
    with qnet.stream(threads=1) as stream:
        streamed = np.concatenate([stream.push(frame[None]) for frame in frames])
        latency = stream.latency_ms
    np.testing.assert_array_equal(streamed, qnet.forward(frames, engine="reference"))
    recurrent = any(type(r).__name__ == "StatefulRecurrent" for r in qnet)
    chip = spica.map(qnet, RECURRENT_DEVICE if recurrent else DEVICES[series.train_x.ndim - 2])
    chip.forward(x[:20])
    found = chip.statistics
    return {
        "accuracy_8bit": accuracy(whole, series.test_y),
        "nps": found.nps,
        "latency_us": 1e3 * found.latency_ms,
        "energy_nj": 1e3 * found.dynamic_energy_uj,
        "engine_us": 1e3 * latency,
    }


def rows(series: Series, epochs: int, seeds: int, known: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of every model and seed; those that are known are not made again."""
    keras = load_keras()
    for (name, build), seed in product(models_of(series).items(), range(seeds)):
        if any((row["model"], row["seed"]) == (name, seed) for row in known):
            continue
        keras.utils.set_random_seed(seed)
        model = trained(build(series), series, epochs, seed)
        outputs = np.asarray(keras.ops.convert_to_numpy(model.predict(series.test_x, verbose=0)))
        row = {
            "model": name,
            "seed": seed,
            "accuracy": accuracy(outputs, series.test_y),
            "parameters": model.count_params(),
            "macs": work(model),
        }
        yield row | (on_chip(model, series) if "TENN" in name else {})


def table(name: str, found: list[dict[str, Any]], models: Iterable[str]) -> Table:
    shown = Table("model", "accuracy", "8 bits", "parameters", "MACs a frame", title=name)
    for model in models:
        of = [row for row in found if row["model"] == model]
        mean = [statistics.mean(row.get(key, float("nan")) for row in of) for key in ("accuracy", "accuracy_8bit")]
        shown.add_row(model, *(f"{100 * m:.1f}" for m in mean), f"{of[0]['parameters']:,}", f"{of[0]['macs']:,}")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", nargs="+", default=list(SERIES), choices=SERIES)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "study.json")
    options = parser.parse_args()
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    console = Console(width=120)
    for name in options.series:
        load, epochs, seeds = SERIES[name]
        series = load()
        found = known.get(name, {}).get("rows", [])
        known[name] = {"about": series.about, "rows": found}
        for row in rows(series, epochs, seeds, list(found)):
            found.append(row)
            write_atomically(options.out, (json.dumps(known, indent=1) + "\n").encode())
        console.print(table(name, found, models_of(series)))


if __name__ == "__main__":
    main()
