"""Take the catalogue's networks and say what becomes of each: ``python benchmarks/networks/run.py``, half an hour.

For each: whether it is taken or why not, the largest difference to its own framework relative to the largest output,
whether its 8-bit and 4-bit integers are those of the reference, and which devices run it whole, as it is and after
``fix``. Results go to results/networks.json.

Needs: pip install torchvision timm '.[dev]'
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from catalogue import Case, cases

import spica
from spica.hardware import fix

RESULTS = Path(__file__).parent / "results" / "networks.json"
DEVICES = ("AKD1000", "Akida2-6")
ENGINES = ("native", "reference")
LARGEST = 30_000_000
"""Multiply-accumulates of a sample up to which networks are quantised at both widths and run on both engines."""
LARGEST_ON_DEVICE = 350_000_000
"""Those up to which networks are quantised at 8 bits and checked against the second generation, so that it ends."""


def study(case: Case, integers: bool) -> dict[str, Any]:
    """Return what becomes of a network."""
    start = time.perf_counter()
    try:
        net, x, wanted = case.take()
    except spica.SpicaError as error:
        return {"group": case.group, "taken": False, "why": str(error)}
    except Exception as error:  # whatever a framework's exporter raises
        return {"group": case.group, "exporter": f"{type(error).__name__}: {str(error).strip().splitlines()[0]:.200}"}
    facts: dict[str, Any] = {"group": case.group, "taken": True, "seconds": round(time.perf_counter() - start, 2)}
    facts |= {"layers": len(net), "macs": sum(net.macs(layer) for layer in net)}
    if wanted:
        made = net.forward(x)
        pairs = zip(made if isinstance(made, list) else [made], wanted)
        facts["error"] = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)
    if integers and facts["macs"] <= LARGEST:
        facts |= quantised(net, (8, 4), DEVICES)
    elif integers and facts["macs"] <= LARGEST_ON_DEVICE:
        facts |= quantised(net, (8,), DEVICES[1:], engines=())
    return facts


def quantised(
    net: spica.Network, widths: tuple[int, ...], devices: tuple[str, ...], engines: tuple[str, ...] = ENGINES
) -> dict[str, Any]:
    """Return what becomes of a network in integers: agreement of engines, and the devices that run it."""
    kind = net.inputs[0].shape
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (32, *kind)).astype(np.uint8)
    samples = pixels if len(kind) == 3 else random.normal(size=(32, *kind)).astype(np.float32)
    facts: dict[str, Any] = {}
    for bits in widths:
        try:
            qnet = spica.quantize(net, samples, weights=bits, activations=bits, reconstruction=False)
            given = spica.to_input_integers(qnet, samples[:2]) if samples.dtype != np.uint8 else samples[:2]
            if engines:
                pair = [qnet.forward(given, engine=engine) for engine in engines]
                both = zip(*(made if isinstance(made, list) else [made] for made in pair))
                facts[f"engines agree at {bits}"] = all(np.array_equal(a, b) for a, b in both)
            facts[f"devices at {bits}"] = {device: runs(qnet, device, given) for device in devices}
        except spica.SpicaError as error:
            facts[f"why not at {bits}"] = str(error)
    return facts


def runs(qnet: spica.Network, device: str, x: np.ndarray) -> str:
    """Return whether a device runs a network: whole, once fixed, or with how much of it split from the host's."""
    if spica.check(qnet, device).ok:
        return "whole"
    fixed = fix(qnet, device, x)
    if fixed.report.ok:
        return "whole once fixed"
    broken = fixed.report.findings[0]
    try:
        share = spica.split(fixed.network, device).share
    except spica.SpicaError:
        share = 0.0
    return f"{share:.0%} on the chip ({broken.layer}: {broken.reason})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of those to take; all by default")
    parser.add_argument("--no-integers", action="store_true", help="only take them, and compare real numbers")
    parser.add_argument("--mlperf", type=Path, help="folder with the trained models of MLPerf Tiny")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name, case in cases(options.mlperf).items():
        if options.names and not any(part in name for part in options.names):
            continue
        found[name] = study(case, not options.no_integers)
        shown = {key: value for key, value in found[name].items() if key != "group"}
        print(f"{name:44} {shown}"[:300], flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
