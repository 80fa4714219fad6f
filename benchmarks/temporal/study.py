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
from spica.util.files import write_atomically
from spica.util.keras_backend import load_keras
from spica.zoo.builders.keras_blocks import MOMENTUM
from spica.zoo.builders.tenn import build_recurrent_tenn, build_tenn

DEVICES, RECURRENT_DEVICE = {1: "Akida2-1", 3: "Akida2-6"}, "pico"
"""By the rank of a frame."""

BATCH, RATE = 32, 4e-3
STREAMED = 1000
NARROW, TUNED = ("words",), 5
"""Series that are also learned with weights of four bits, and for how many epochs."""

SERIES: dict[str, tuple[Callable[[], Series], int, int]] = {
    "vowels": (vowels, 60, 5), "motions": (motions, 120, 5), "heart": (heart, 60, 5), "words": (words, 20, 3),
    "sound": (sound, 30, 2), "camera": (camera, 6, 3),
}  # fmt: skip
"""Each with epochs of training and seeds."""


def tenn(width: int, series: Series, polynomials: int | None = None) -> Any:
    from spica.keras import Jacobi

    basis = None if polynomials is None else Jacobi(polynomials)
    return build_tenn(series.train_x.shape[1:], series.classes, width, basis=basis, scale=scale(series))


def recurrent_tenn(width: int, series: Series) -> Any:
    return build_recurrent_tenn(series.train_x.shape[1:], series.classes, width, scale(series))


def scale(series: Series) -> float:
    """What brings inputs to about one: raw sound needs it."""
    return 1 / 2048 if series.train_x.dtype == np.int16 else 1.0


def gru(width: int, series: Series) -> Any:
    keras = load_keras()
    layers = keras.layers
    first = [keras.Input(series.train_x.shape[1:]), layers.Rescaling(scale(series))]
    recurrent = layers.GRU(width, return_sequences=True)
    return keras.Sequential([*first, recurrent, layers.Dropout(0.2), layers.Dense(series.classes)])


def cnn(width: int, series: Series) -> Any:
    """Convolutions that see five frames, later ones as well: it has to wait for the clip."""
    keras = load_keras()
    layers = keras.layers
    model = keras.Sequential([keras.Input(series.train_x.shape[1:])])
    for _ in range(3):
        convolution = layers.Conv1D(width, 5, padding="same", use_bias=False)
        for each in (convolution, layers.BatchNormalization(momentum=MOMENTUM), layers.ReLU()):
            model.add(each)
    model.add(layers.Dropout(0.2))
    model.add(layers.Dense(series.classes))
    return model


def camera_network(series: Series, filters: int, over_time: str) -> Any:
    """Convolutions on every frame; what looks over time is between them, or, a GRU or a ``Conv1D``, behind them."""
    from spica.keras import DepthwiseTemporalConv, TemporalConv

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
    "TENN, 32, polynomials": lambda series: tenn(32, series, polynomials=4),
    "recurrent TENN, 32": lambda series: recurrent_tenn(32, series),
}

SOUND_MODELS = {
    "GRU, 48": MODELS["GRU, 48"],
    "TENN, 56": MODELS["TENN, 56"],
    "recurrent TENN, 64": lambda series: recurrent_tenn(64, series),
}


def models_of(series: Series) -> dict[str, Callable[[Series], Any]]:
    if series.train_x.ndim == 5:
        return CAMERA_MODELS
    return SOUND_MODELS if series.train_x.dtype == np.int16 else MODELS


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


def is_recurrent(model: Any) -> bool:
    return any(type(layer).__name__ == "DiagonalSSM" for layer in model.layers)


def readable(model: Any, series: Series) -> np.ndarray:
    """Samples to quantise with: recurrent devices read 16 bits as they are, others eight."""
    return series.train_x if is_recurrent(model) else series.train_x.astype(np.float32)


def on_chip(model: Any, series: Series) -> dict[str, float]:
    """The eight-bit network: its accuracy on clips, frame by frame, and what a frame costs on a device."""
    qnet = spica.quantize(spica.from_keras(model), readable(model, series))
    x = spica.to_input_integers(qnet, series.test_x)
    frames = x.reshape(-1, *x.shape[2:])[:STREAMED]
    np.testing.assert_array_equal(streamed(qnet, frames)[0], qnet.forward(frames, engine="reference"))
    chip = spica.map(qnet, RECURRENT_DEVICE if is_recurrent(model) else DEVICES[series.train_x.ndim - 2])
    chip.forward(x[:20])
    found = chip.statistics
    return {
        "accuracy_8bit": accuracy(qnet.forward(x), series.test_y),
        "nps": found.nps,
        "latency_us": 1e3 * found.latency_ms,
        "energy_nj": 1e3 * found.dynamic_energy_uj,
    }


def narrow(model: Any, series: Series) -> dict[str, float]:
    """Weights of four bits, quantised and then fine-tuned."""
    net = spica.from_keras(model)
    qnet = spica.quantize(net, series.train_x, weights=4)
    x, test_x = (spica.to_input_integers(qnet, part) for part in (series.train_x, series.test_x))
    tuned = spica.finetune(qnet, x, series.train_y, net=net, epochs=TUNED, batch_size=BATCH)
    both = {"accuracy_4bit": qnet, "accuracy_4bit_tuned": tuned}
    return {name: accuracy(network.forward(test_x), series.test_y) for name, network in both.items()}


def streamed(qnet: spica.Network, frames: np.ndarray) -> tuple[np.ndarray, float]:
    """Outputs of frames that come one by one, and the milliseconds that each takes, one thread."""
    with qnet.stream(threads=1) as stream:
        return np.concatenate([stream.push(frame[None]) for frame in frames]), stream.latency_ms


def engine_us(series: Series) -> dict[str, float]:
    """Microseconds of a frame on this machine, of networks that need no training for it."""
    found = {}
    for name, build in models_of(series).items():
        if "TENN" in name:
            model = build(series)
            qnet = spica.quantize(spica.from_keras(model), readable(model, series)[:64])
            x = spica.to_input_integers(qnet, series.test_x)
            found[name] = 1e3 * streamed(qnet, x.reshape(-1, *x.shape[2:])[:STREAMED])[1]
    return found


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
        if "TENN" in name:
            row |= on_chip(model, series) | (narrow(model, series) if series.name in NARROW else {})
        yield row


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
    parser.add_argument("--times", action="store_true", help="only how long the engine takes; on a quiet machine")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "study.json")
    options = parser.parse_args()
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    console = Console(width=120)

    def keep() -> None:
        options.out.parent.mkdir(exist_ok=True)
        write_atomically(options.out, (json.dumps(known, indent=1) + "\n").encode())

    for name in options.series:
        load, epochs, seeds = SERIES[name]
        series = load()
        here = known.setdefault(name, {"rows": []})
        here["about"] = series.about
        if options.times:
            here["engine_us"] = engine_us(series)
            keep()
            continue
        for row in rows(series, epochs, seeds, list(here["rows"])):
            here["rows"].append(row)
            keep()
        console.print(table(name, here["rows"], models_of(series)))


if __name__ == "__main__":
    main()
