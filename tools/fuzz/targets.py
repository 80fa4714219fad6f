"""What is fuzzed: for each kind of input its seeds, its mutator, and what must hold of a mutant.

A mutant may be refused with ``SpicaError``. What is taken must give the same finite numbers on every engine, and
survive being saved.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mutators
import numpy as np

import spica
from spica.cli import main
from spica.hardware import load_device
from spica.network import Network
from spica.program import Program, save_programs, trace_network
from spica.program.file import load_programs

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path.insert(0, str(TESTS))  # whose small models are seeds
MOST_VALUES, MOST_MACS = 1 << 16, 1 << 22
"""Larger networks are loaded but not run: they may be right and merely slow."""


@dataclass(frozen=True)
class Target:
    """A kind of input: seeds by name, a mutator, and a check of one mutant in a file."""

    suffix: str
    seeds: Callable[[], list[Path]]
    mutate: mutators.Mutator
    check: Callable[[Path], None]


def check_network(net: Network) -> None:
    """Run a network on both engines and save it again."""
    text = net.summary()
    assert text
    again = Path("again.spica")
    net.save(again)
    loaded = spica.load(again)
    sizes = [np.prod(kind.shape, dtype=object) for kind in net.types.values()]
    if max(sizes) > MOST_VALUES or sum(map(net.macs, net)) > MOST_MACS:
        return
    r = np.random.default_rng(0)
    inputs = [numbers(net.types[layer.name], r) for layer in net if not layer.inputs]
    x: Any = inputs[0] if len(inputs) == 1 else inputs
    wanted = listed(net.forward(x, engine="reference"))
    for got in (net.forward(x), net.forward(x, threads=1), loaded.forward(x)):
        for a, b in zip(wanted, listed(got), strict=True):
            assert np.isfinite(a).all(), "outputs that are not finite"
            if net.is_integer:
                np.testing.assert_array_equal(a, b)
            else:
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * max(1.0, float(abs(a).max(initial=0))))


def numbers(kind: Any, r: np.random.Generator) -> np.ndarray:
    """Return three samples of an input's type that reach its ends."""
    if kind.is_float:
        return r.normal(size=(3, *kind.shape)).astype(np.float32)
    low, high = kind.range
    x = r.integers(low, high, (3, *kind.shape), endpoint=True)
    x[0], x[1] = low, high
    return x.astype(kind.dtype)


def listed(outputs: Any) -> list[np.ndarray]:
    """Return one output or several as a list."""
    return outputs if isinstance(outputs, list) else [outputs]


def assert_text(programs: list[Program]) -> None:
    """Print programs."""
    assert all(map(str, programs))


def check_state(path: Path) -> None:
    """Restore a stream from its state and push a frame."""
    net = spica.load(TESTS / "network/version_0_1/quantized_temporal_44.spica")
    with net.stream() as stream:
        stream.load(path)
        outputs = stream.push(frames(net, 1))
        assert all(np.isfinite(a).all() for a in listed(outputs))


def check_file(path: Path) -> None:
    """Import a model file of any kind."""
    check_network(spica.from_file(path))


def check_device(path: Path) -> None:
    """Check and map a network on a device."""
    device = load_device(path)
    net = spica.load(TESTS / "network/version_0_1/quantized_conv_44.spica")
    text = str(spica.check(net, device))
    assert text
    statistics = spica.map(net, device).statistics
    assert "nan" not in str(statistics).lower()


def check_command(path: Path) -> None:
    """Run a command line: any exit code, never a traceback, and JSON that every reader takes."""
    try:
        line = list(map(str, json.loads(path.read_bytes())))
    except (ValueError, TypeError):
        return  # no list of words any more
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["spica", *line]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main.run()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.argv = before
    assert code in (0, 1, 2), f"exit code {code}"
    assert code == 0 or err.getvalue() or out.getvalue(), "an exit code without a word"
    if "--json" in line and code == 0 and "--help" not in line:
        json.loads(out.getvalue(), parse_constant=not_json)


def not_json(name: str) -> None:
    """Refuse what JSON does not have."""
    raise AssertionError(f"{name} in JSON")


def files(*patterns: str) -> Callable[[], list[Path]]:
    """Return a function that lists files of the tests."""
    return lambda: sorted(path for pattern in patterns for path in TESTS.glob(pattern))


def frames(net: Network, count: int) -> np.ndarray:
    """Return samples for a network of one input."""
    kind = net.types[net.layers[0].name]
    return np.random.default_rng(0).integers(0, 100, (count, *kind.shape)).astype(kind.dtype)


# -- seeds that are made ---------------------------------------------------------------------------------------------


def programs() -> list[Path]:
    """Write the programs of a few networks."""
    found = []
    for name in ("random_01", "random_05", "quantized_recurrent_44"):
        net = spica.load(TESTS / f"network/version_0_1/{name}.spica")
        found.append(Path(f"{name}.program"))
        save_programs([s.program for s in trace_network(net) if s.program is not None], found[-1])
    return found


def states() -> list[Path]:
    """Write the state of a stream."""
    net = spica.load(TESTS / "network/version_0_1/quantized_temporal_44.spica")
    with net.stream() as stream:
        stream.push(frames(net, 1))
        stream.save("state.safetensors")
    return [Path("state.safetensors")]


def keras_models() -> list[Path]:
    """Write small Keras models."""
    import keras
    from keras import layers as k

    bodies: dict[str, list[Any]] = {
        "conv": [k.Rescaling(1 / 255), k.Conv2D(3, 3, padding="same"), k.BatchNormalization(), k.ReLU(6.0),
                 k.MaxPooling2D(), k.Flatten(), k.Dense(4), k.Softmax()],
        "separable": [k.SeparableConv2D(3, 3, activation="relu"), k.DepthwiseConv2D(3, strides=2),
                      k.GlobalAveragePooling2D(), k.Dense(2, activation="softmax")],
        "transposed": [k.Conv2DTranspose(2, 3, strides=2), k.Activation("gelu"), k.ZeroPadding2D(1)],
    }  # fmt: skip
    found = []
    for name, body in bodies.items():
        found.append(Path(f"{name}.keras"))
        keras.Sequential([k.Input((8, 8, 2)), *body]).save(found[-1])
    return found


def keras_h5_models() -> list[Path]:
    """Write the small Keras models in the format of Keras 2."""
    import keras

    found = []
    for path in keras_models():
        found.append(path.with_suffix(".h5"))
        keras.models.load_model(path).save(found[-1])
    return found


def onnx_models() -> list[Path]:
    """Write small float ONNX models: those of the tests of the front end."""
    from frontends.test_onnx import MODELS, model

    found = []
    for number, name in enumerate(("activations", "nearest", "slices", "a shape worked out", "signal", "arithmetic")):
        shape, nodes, constants = MODELS[name]
        found.append(Path(f"float{number}.onnx"))
        found[-1].write_bytes(model(nodes, shape, constants).SerializeToString())
    return found


def tflite_models() -> list[Path]:
    """Write small TensorFlow Lite models: those of the tests of the front end."""
    from frontends.test_tflite import MODELS, model

    found = []
    for number, name in enumerate(("convolution", "activations", "parts", "a shape worked out", "arithmetic")):
        shape, operations, constants = MODELS[name]
        found.append(Path(f"model{number}.tflite"))
        found[-1].write_bytes(model(operations, shape, constants))
    return found


def tfjs_models() -> list[Path]:
    """Write small TensorFlow.js models, of graphs and of layers, each with its files in a bundle of JSON."""
    from frontends.test_tfjs_graph import MODELS, written
    from support.tfjs import layers_of_h5

    made = {f"layers{i}": layers_of_h5(path, f"layers{i}", shards=2) for i, path in enumerate(keras_h5_models())}
    names = ("fused with slopes", "dilation in parts", "activations", "parts", "a shape worked out", "bilinear",
             "dense, turned", "an ellipsis and a new axis", "batch normalisation")  # fmt: skip
    for number, name in enumerate(names):
        shape, nodes, constants = MODELS[name]
        how = {key: "uint8" for key, values in constants.items() if np.size(values) > 20}
        made[f"graph{number}"] = written(f"graph{number}", nodes, shape, constants, quantization=how)
    found = []
    for name, path in made.items():
        beside = {file.name: base64.b64encode(file.read_bytes()).decode() for file in sorted(path.parent.glob("*.bin"))}
        found.append(Path(f"{name}.json"))
        found[-1].write_text(json.dumps({"model": path.read_text(), "files": beside}))
    return found


def check_bundle(path: Path) -> None:
    """Import a ``model.json`` with the files beside it; what is no bundle any more is one itself."""
    model = Path("bundle/model.json")
    model.parent.mkdir(exist_ok=True)
    try:
        bundle = json.loads(path.read_bytes())
        model.write_text(bundle["model"], errors="replace")
        for name, content in bundle["files"].items():
            (model.parent / Path(name).name).write_bytes(base64.b64decode(content))
    except (ValueError, TypeError, LookupError, AttributeError, OSError, RecursionError):
        model.write_bytes(path.read_bytes())
    check_file(model)


def commands() -> list[Path]:
    """Write command lines that work, as JSON lists."""
    net = str(TESTS / "network/version_0_1/quantized_conv_44.spica")
    floats = str(TESTS / "network/version_0_1/float_conv.spica")
    np.save("x.npy", frames(spica.load(net), 8))
    np.save("labels.npy", np.arange(8) % 3)
    lines = [
        ["summary", net, "--json"], ["check", net, "-d", "AKD1000", "--json"], ["map", net, "-d", "AKD1500", "--json"],
        ["run", net, "--samples", "x.npy", "-o", "y.npy"], ["program", net], ["devices", "--json"],
        ["evaluate", net, "--samples", "x.npy", "--labels", "labels.npy", "--json"],
        ["quantize", floats, "--samples", "x.npy", "-o", "q.spica", "--weights", "4", "--ranges", "max", "--json"],
        ["export", net, "-o", "y.h5"], ["compare", net, net, "--samples", "x.npy", "--json"],
        ["analyze", floats, net, "--samples", "x.npy", "--json"],
        ["explore", net, "--json", "--help"], ["bench", net, "--json"],
    ]  # fmt: skip
    found = []
    for line in lines:
        found.append(Path(f"{line[0]}.json"))
        found[-1].write_text(json.dumps(line))
    return found


WORDS = ["--json", "--help", "-d", "-o", "--samples", "--labels", "--weights", "--engine", "--threads", "--ranges", "",
         "-1", "0", "3", "1e9", "nan", "inf", "NaN=1", "nps=10", "AKD1000", "no.such", "/dev/null", ".", "x.npy",
         "labels.npy", "\x1b[31m", "\ud800", "reference", "--", "-", "%s", "$x$", "\n", "a" * 300]  # fmt: skip


def mutate_command(data: bytes, r: random.Random) -> bytes:
    """Change the words of a command line."""
    line = json.loads(data)
    for _ in range(r.choice([1, 1, 2])):
        at, way = r.randrange(len(line)), r.random()
        if way < 0.5:
            line[at] = r.choice(WORDS)
        elif way < 0.7:
            del line[at]
        else:
            line.insert(at, r.choice([r.choice(WORDS), r.choice(line)]))
        if not line:
            break
    harmless = [word for word in line if word not in ("teach", "demo", "finetune")] or ["summary"]
    return json.dumps(harmless).encode()


TARGETS: dict[str, Target] = {
    "spica": Target(
        ".spica", files("network/version_0_1/*.spica"), mutators.mutate_spica, lambda p: check_network(spica.load(p))
    ),
    "program": Target(".program", programs, mutators.mutate_spica, lambda p: assert_text(load_programs(p))),
    "state": Target(".safetensors", states, mutators.mutate_bytes, check_state),
    "h5": Target(
        ".h5",
        files("conformance/golden/*.h5"),
        mutators.mutate_h5,
        lambda p: check_network(spica.from_quantizeml(p)),
    ),
    "quantizeml": Target(
        ".keras",
        files("conformance/golden_keras/*.keras"),
        mutators.mutate_keras,
        lambda p: check_network(spica.from_quantizeml(p)),
    ),
    "onnx": Target(
        ".onnx",
        files("conformance/golden_onnx/*.onnx"),
        mutators.mutate_onnx,
        lambda p: check_network(spica.from_quantizeml(p)),
    ),
    "keras": Target(".keras", keras_models, mutators.mutate_keras, check_file),
    "keras_h5": Target(".h5", keras_h5_models, mutators.mutate_h5, check_file),
    "float_onnx": Target(".onnx", onnx_models, mutators.mutate_onnx, check_file),
    "tflite": Target(".tflite", tflite_models, mutators.mutate_bytes, check_file),
    "tfjs": Target(".json", tfjs_models, mutators.mutate_bundle, check_bundle),
    "device": Target(".toml", files("../src/spica/hardware/device/catalog/*.toml"), mutators.mutate_toml, check_device),
    "command": Target(".json", commands, mutate_command, check_command),
}


def mutated(target: Target, data: bytes, r: random.Random) -> bytes:
    """Mutate a file by its structure; every fifth, and what has none any more, by its bytes."""
    if r.random() < 0.8:
        with contextlib.suppress(Exception):  # a mutant of a mutant may have no structure left
            return target.mutate(data, r)
    return mutators.mutate_bytes(data, r)
