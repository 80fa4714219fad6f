"""Kill what writes files (commands, learners, streams), at random moments, and look at what they leave.

    python tools/fuzz/kill.py --kills 1000

After each ``kill -9`` the file must be the old or the new one, whole, with the permissions that it had; after the next
write nothing else may lie beside it. Commands run in children of a process that has everything loaded, so that moments
fall into the work and not into imports. What does not hold is printed, and the command ends with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
from safetensors.numpy import load_file

import spica
from spica.cli import main
from spica.program import load_programs
from spica.util.keras_backend import load_keras

TESTS = Path(__file__).resolve().parents[2] / "tests"
sys.path.insert(0, str(TESTS))
from support.chip_networks import conv, flatten, network  # noqa: E402

NETWORKS = TESTS / "network" / "version_0_1"
MODE = 0o640


def _closed(end: bytes) -> Callable[[Path], object]:
    def check(path: Path) -> None:
        if not path.read_bytes().rstrip().endswith(end):
            raise ValueError(f"does not end with {end.decode()}")

    return check


READERS: dict[str, Callable[[Path], object]] = {
    ".spica": spica.load,
    ".npy": np.load,
    ".h5": lambda path: h5py.File(path, "r").close(),
    ".svg": _closed(b"</svg>"),
    ".html": _closed(b"</html>"),
    ".safetensors": load_file,
    ".txt": load_programs,
}

Writer = Callable[[], object]


def command(*arguments: str) -> Writer:
    """Return what runs a command line."""

    def run() -> None:
        sys.argv = ["spica", *arguments]
        main.run()

    return run


def learn_and_save() -> None:
    """Learn on top of a binary network, and save what was learned."""
    net = network((6, 6, 3), conv(8, activations=1, weights=2), flatten())
    learner = spica.learn(net, 3, neurons_per_class=4, weights_per_neuron=40)
    learner.partial_fit(np.ones((20, 6, 6, 3), np.uint8), np.arange(20) % 3)
    learner.network.save("learned.spica")


def push_and_save() -> None:
    """Push a frame, and save the state."""
    net = spica.load(NETWORKS / "quantized_temporal_88.spica")
    with net.stream() as stream:
        stream.push(np.ones((1, *net.types[net.inputs[0].name].shape), net.types[net.inputs[0].name].dtype))
        stream.save("state.safetensors")


def writers(folder: Path) -> dict[str, Writer]:
    """Return what to kill, by the file that each writes; what they read is made in ``folder``."""
    model, quantized, x, q, y = (str(folder / name) for name in ("float.spica", "net.spica", "x.npy", "q.npy", "y.npy"))
    net = spica.load(NETWORKS / "float_conv.spica")
    samples = np.random.default_rng(0).random((16, *net.types[net.inputs[0].name].shape), np.float32)
    integer = spica.quantize(net, samples)
    net.save(model)
    integer.save(quantized)
    np.save(x, samples)
    np.save(q, spica.to_input_integers(integer, samples))
    np.save(y, np.arange(16) % integer.forward(spica.to_input_integers(integer, samples)).shape[-1])
    old = str(NETWORKS / "quantizeml_gap_before_relu_w8a8.spica")
    return {
        "quantized.spica": command("quantize", model, "--samples", x, "-o", "quantized.spica"),
        "tuned.spica": command(
            "finetune", quantized, "--samples", q, "--labels", y, "--epochs", "1", "-o", "tuned.spica"
        ),
        "programs.txt": command("program", quantized, "--save", "programs.txt"),
        "outputs.npy": command("run", quantized, "--samples", q, "-o", "outputs.npy"),
        "exported.h5": command("export", old, "-o", "exported.h5"),
        "fixed.spica": command("check", quantized, "--device", "AKD1000", "--fix", "fixed.spica"),
        "layers.svg": command("compare", model, quantized, "--samples", x, "--picture", "layers.svg"),
        "layers.html": command("analyze", model, quantized, "--samples", x, "--page", "layers.html"),
        "learned.spica": learn_and_save,
        "state.safetensors": push_and_save,
    }


def start(write: Writer) -> int:
    """Run what writes in a child and return its process id."""
    child = os.fork()
    if child:
        return child
    with contextlib.suppress(BaseException):
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        write()
    os._exit(0)


def kill_often(target: Path, write: Writer, kills: int) -> list[str]:
    """Kill what writes a file at random moments and return what was wrong afterwards."""
    read, wrong = READERS[target.suffix], []
    began = time.monotonic()
    os.waitpid(start(write), 0)
    took = time.monotonic() - began
    if not target.exists():
        return [f"{target.name}: is not written"]
    target.chmod(MODE)
    for i in range(kills):
        child = start(write)
        time.sleep(random.uniform(0, 1.1 * took))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        try:
            read(target)
            if stat.S_IMODE(target.stat().st_mode) != MODE:
                wrong.append(f"{target.name}: kill {i} left mode {target.stat().st_mode:o}")
        except Exception as error:
            wrong.append(f"{target.name}: kill {i} left a file that cannot be read ({error})")
    os.waitpid(start(write), 0)
    return wrong + [f"{target.name}: left {path.name}" for path in target.parent.iterdir() if path != target]


def run() -> int:
    """Kill all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, help="of each")
    kills, wrong = parser.parse_args().kills, []
    load_keras()  # before any fork, as importing it takes seconds
    with tempfile.TemporaryDirectory() as folder:
        for name, write in writers(Path(folder)).items():
            work = Path(folder) / f"{name}.d"
            work.mkdir()
            os.chdir(work)
            found = kill_often(work / name, write, kills)
            print(f"{name}: {kills} kills, {len(found)} wrong", flush=True)
            wrong += found
    print("\n".join(wrong) or "every file was whole, and nothing was left behind")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(run())
