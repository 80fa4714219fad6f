"""What bounds each layer: its rate against what it computes for each byte that it moves, on one thread, batch 1.

``python benchmarks/engine/roofline.py --out roofline.json``. Bytes are those of the layer's activations and weights,
each moved once; the roof is the instruction set's peak on registers and the rate at which this machine copies memory,
both measured in the run.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from pathlib import Path

import numpy as np
from run import machine
from studied import integer, samples

from spica.engine.bench import bench

NETWORKS = ("akidanet_0.5_160", "resnet8", "ds_cnn", "autoencoder")
COPIED = 1 << 28
"""Bytes of an array that no cache holds."""


def bandwidth() -> float:
    """Bytes a second that one thread reads and writes when it copies memory."""
    source, target, seconds = np.ones(COPIED, np.uint8), np.empty(COPIED, np.uint8), []
    for _ in range(7):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    return 2 * COPIED / statistics.median(seconds)


def rows(name: str) -> list[dict]:
    """Layers of a network: multiply-accumulates, bytes and rate."""
    net = integer(name)
    found = bench(net, samples(net, 1, seed=1), threads=1, repeats=200)
    made = []
    for layer in found.layers:
        if not layer.macs:
            continue
        record = net[layer.name]
        tensors = [math.prod(net.types[n].shape) for n in (*record.inputs, record.name)]
        weights = sum(getattr(record, f).size for f in ("kernel", "depthwise_kernel") if hasattr(record, f))
        made.append(
            {
                "network": name,
                "layer": layer.name,
                "kind": layer.kind,
                "macs": layer.macs,
                "bytes": sum(tensors) + weights,
                "microseconds": layer.microseconds,
                "gmacs": layer.gmacs,
            }
        )
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    options = parser.parse_args()
    facts = {
        "machine": machine(),
        "bytes_per_second": bandwidth(),
        "layers": [row for name in NETWORKS for row in rows(name)],
    }
    for row in facts["layers"]:
        print(
            f"{row['network']:20} {row['layer']:16} {row['macs'] / row['bytes']:8.1f} MAC/B {row['gmacs']:7.1f} GMAC/s"
        )
    if options.out:
        options.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
