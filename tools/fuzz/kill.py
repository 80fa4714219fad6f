"""Kill commands that write files, at random moments, and look at what they leave.

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

import spica
from spica.cli import main

NETWORKS = Path(__file__).resolve().parents[2] / "tests" / "network" / "version_0_1"
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
}


def commands(folder: Path) -> dict[str, list[str]]:
    """Return the commands to kill, by the file that each writes; what they read is made in ``folder``."""
    model, network, x, q = (str(folder / name) for name in ("float.spica", "net.spica", "x.npy", "q.npy"))
    net = spica.load(NETWORKS / "float_conv.spica")
    samples = np.random.default_rng(0).random((16, *net.types[net.inputs[0].name].shape), np.float32)
    integer = spica.quantize(net, samples)
    net.save(model)
    integer.save(network)
    np.save(x, samples)
    np.save(q, spica.to_input_integers(integer, samples))
    return {
        "quantized.spica": ["quantize", model, "--samples", x, "-o", "quantized.spica"],
        "outputs.npy": ["run", network, "--samples", q, "-o", "outputs.npy"],
        "exported.h5": ["export", str(NETWORKS / "quantizeml_gap_before_relu_w8a8.spica"), "-o", "exported.h5"],
        "fixed.spica": ["check", network, "--device", "AKD1000", "--fix", "fixed.spica"],
        "layers.svg": ["compare", model, network, "--samples", x, "--picture", "layers.svg"],
        "layers.html": ["analyze", model, network, "--samples", x, "--page", "layers.html"],
    }


def start(arguments: list[str]) -> int:
    """Run a command in a child and return its process id."""
    child = os.fork()
    if child:
        return child
    with contextlib.suppress(BaseException):
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.argv = ["spica", *arguments]
        main.run()
    os._exit(0)


def kill_often(target: Path, arguments: list[str], kills: int) -> list[str]:
    """Kill a command at random moments and return what was wrong afterwards."""
    read, wrong = READERS[target.suffix], []
    began = time.monotonic()
    os.waitpid(start(arguments), 0)
    took = time.monotonic() - began
    if not target.exists():
        return [f"{arguments}: writes nothing"]
    target.chmod(MODE)
    for i in range(kills):
        child = start(arguments)
        time.sleep(random.uniform(0, 1.1 * took))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        try:
            read(target)
            if stat.S_IMODE(target.stat().st_mode) != MODE:
                wrong.append(f"{target.name}: kill {i} left mode {target.stat().st_mode:o}")
        except Exception as error:
            wrong.append(f"{target.name}: kill {i} left a file that cannot be read ({error})")
    os.waitpid(start(arguments), 0)
    return wrong + [f"{target.name}: left {path.name}" for path in target.parent.iterdir() if path != target]


def run() -> int:
    """Kill all commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000, help="of each command")
    kills, wrong = parser.parse_args().kills, []
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in commands(Path(folder)).items():
            work = Path(folder) / f"{name}.d"
            work.mkdir()
            os.chdir(work)
            found = kill_often(work / name, arguments, kills)
            print(f"{arguments[0]}: {kills} kills, {len(found)} wrong", flush=True)
            wrong += found
    print("\n".join(wrong) or "every file was whole, and nothing was left behind")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(run())
