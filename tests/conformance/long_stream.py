"""A thousand frames through every committed network with memory, streamed, against the reference's own outputs.

``python long_stream.py make FOLDER`` in the reference's environment, then ``python long_stream.py check FOLDER`` in
ours. Where integers differ, float32's rounding in the reference must be why: the same network, rounding every step as
the reference does (engine/float32.py), has to give its outputs to the last one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
FRAMES = 1000


def networks() -> list[Path]:
    golden = HERE / "golden"
    return sorted([*golden.glob("temporal*.h5"), *golden.glob("recurrent*.h5")])


def make(folder: Path) -> None:
    import generate  # sets the reference up
    import tf_keras as keras

    folder.mkdir(exist_ok=True)
    for path in networks():
        model, known = keras.models.load_model(path, compile=False), np.load(path.with_suffix(".npz"))["input_0"]
        random = np.random.default_rng(0)
        low, high = int(known.min()), int(known.max())
        frames = random.integers(low, high + 1, (FRAMES, *known.shape[1:])).astype(known.dtype)
        if known.dtype.kind == "f":
            frames = random.uniform(known.min(), known.max(), frames.shape).astype(known.dtype)
        generate.reset(model)
        outputs = model.predict(frames, batch_size=1, verbose=0)
        np.savez(folder / f"{path.stem}.npz", frames=frames, outputs=outputs)


def check(folder: Path) -> None:
    import spica

    wrong = 0
    for path in networks():
        saved = np.load(folder / f"{path.stem}.npz")
        try:
            net = spica.from_quantizeml(path)
        except spica.SpicaError as error:
            print(f"{path.stem}: not taken ({error!s:.60}...)")
            continue
        with net.stream() as stream:
            outputs = np.concatenate([np.asarray(stream.push(frame[None])) for frame in saved["frames"]])
        wanted = saved["outputs"].reshape(outputs.shape)
        rounded = int((outputs != wanted).sum())
        mismatches = int((as_float32(net, saved["frames"]) != wanted).sum()) if rounded else 0
        wrong += mismatches
        values = f"{outputs.size:,} values, {rounded} of them rounded by the reference, {mismatches} mismatches"
        print(f"{path.stem}: {len(outputs)} frames, {values}")
    sys.exit(wrong > 0)


def as_float32(net: Any, frames: np.ndarray) -> np.ndarray:
    """Outputs of a stream in which every step is rounded to float32."""
    from spica.semantics.float32 import Float32

    with net.stream(engine="reference") as stream:
        stream._ops = Float32()
        return np.concatenate([np.asarray(stream.push(frame[None])) for frame in frames])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["make", "check"])
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    {"make": make, "check": check}[options.what](options.folder)
