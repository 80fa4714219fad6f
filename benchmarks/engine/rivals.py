"""What runs the networks: Spica, onnxruntime on the exported model, quantizeml's predict in a Python of its own."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from qdq import to_qdq

import spica
from spica.deploy import to_quantizeml
from spica.network import Network

BLOCK = 5
"""Runs in a row before the other one's turn, after one that does not count and a pause."""
PAUSE = 0.1
"""Seconds in which the other's threads, which wait actively for a while, go to sleep."""

Run = Callable[[], NDArray]


def spica_run(net: Network, x: NDArray, threads: int) -> Run:
    return lambda: net.forward(x, threads=threads)  # type: ignore[return-value]


def onnxruntime_run(net: Network, x: NDArray, threads: int) -> Run:
    """A session with all optimisations; the samples are already in its order of axes.

    Raises:
        AssertionError: where it would not run in integers.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        model = to_qdq(net, x[:4]).SerializeToString()
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        optimized = Path(options.optimized_model_filepath).read_bytes()
    assert b"QLinearConv" in optimized or b"QGemm" in optimized, "onnxruntime would run this network in floats"
    name, samples = session.get_inputs()[0].name, np.ascontiguousarray(np.moveaxis(x, -1, 1))
    return lambda: session.run(None, {name: samples})[0]


def race(runs: dict[str, Run], repeats: int) -> dict[str, list[float]]:
    """Seconds of at least ``repeats`` runs of each, in blocks by turns."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    while any(len(s) < repeats for s in seconds.values()):
        for name, run in runs.items():
            time.sleep(PAUSE)
            run()
            for _ in range(BLOCK):
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
    return seconds


PREDICT = """
import json, sys, time
import numpy as np, tensorflow as tf
path, samples, repeats, threads = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
tf.config.threading.set_intra_op_parallelism_threads(threads)
tf.config.threading.set_inter_op_parallelism_threads(1)
import quantizeml
model, x = quantizeml.load_model(path), np.load(samples)
model.predict(x, batch_size=len(x), verbose=0)
seconds = []
for _ in range(repeats):
    start = time.perf_counter()
    model.predict(x, batch_size=len(x), verbose=0)
    seconds.append(time.perf_counter() - start)
print(json.dumps(seconds))
"""


def quantizeml_seconds(python: str, net: Network, x: NDArray, threads: int, repeats: int) -> list[float] | None:
    """Seconds of ``repeats`` predictions by quantizeml, which the interpreter ``python`` has; none where it cannot.

    The model gives the same integers: ``spica.deploy.to_quantizeml`` refuses what it cannot write exactly.
    """
    with tempfile.TemporaryDirectory() as folder:
        path, samples = Path(folder) / "model.h5", Path(folder) / "x.npy"
        try:
            to_quantizeml(net, path)
        except spica.SpicaError:
            return None
        np.save(samples, x)
        command = [python, "-c", PREDICT, str(path), str(samples), str(repeats), str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def figures(seconds: list[float], samples: int) -> dict[str, float]:
    """Milliseconds of a run at the median and the 99th percentile, and samples a second."""
    middle = statistics.median(seconds)
    return {
        "p50_ms": middle * 1e3,
        "p99_ms": float(np.percentile(seconds, 99)) * 1e3,
        "samples_per_second": samples / middle,
    }
