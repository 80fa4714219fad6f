"""A long stream: its memory and its latency, from beginning to end. ``python soak.py --frames 10_000_000``."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

import spica
from spica.layers import BufferTempConv, Conv2D, DepthwiseBufferTempConv, Input, ReLU, Requantize

POINTS = 100
"""How often memory is looked at."""


def network() -> spica.Network:
    """Three layers, two of which look back; random integers for weights."""
    random = np.random.default_rng(0)

    def fields(filters: int) -> dict:
        stage = Requantize(
            multiplier=np.full(filters, 1), shift=np.full(filters, 8), bits=8, signed=False, frac_bits=np.array(0)
        )
        scale = np.ones(filters, np.float32)
        return {"weight_bits": 8, "weight_scale": scale, "activation": ReLU(), "requantize": stage}

    def kernel(*shape: int) -> np.ndarray:
        return random.integers(-20, 21, shape).astype(np.int8)

    layers = (
        Input(name="frame", shape=(1, 1, 12), bits=8),
        BufferTempConv(name="temporal", inputs=("frame",), kernel=kernel(8, 12, 32), **fields(32)),
        DepthwiseBufferTempConv(name="depthwise", inputs=("temporal",), kernel=kernel(8, 32), **fields(32)),
        Conv2D(name="point", inputs=("depthwise",), kernel=kernel(1, 1, 32, 8), **fields(8)),
    )
    return spica.Network(layers, ("point",), "soak")


def resident_bytes() -> int:
    """Memory of this process (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "soak.json")
    options = parser.parse_args()
    frames = np.random.default_rng(1).integers(0, 256, (4096, 1, 1, 1, 12)).astype(np.uint8)
    curve, checksum, start = [], 0.0, time.perf_counter()
    with network().stream(threads=1) as stream:
        for i in track(range(options.frames), "streaming", console=Console(stderr=True)):
            outputs = stream.push(frames[i % len(frames)])
            checksum += float(outputs[0].sum())
            if i % (options.frames // POINTS) == 0:
                curve.append({"frame": i, "bytes": resident_bytes(), "latency_us": 1e3 * stream.latency_ms})
    found = {"frames": options.frames, "seconds": time.perf_counter() - start, "checksum": checksum, "curve": curve}
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    grown = curve[-1]["bytes"] - curve[len(curve) // 10]["bytes"]
    print(
        f"{options.frames:,} frames in {found['seconds']:.0f} s; memory grew by {grown / 1024:.0f} KiB in the last 90 %"
    )


if __name__ == "__main__":
    main()
