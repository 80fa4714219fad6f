"""Compare Spica's integers with golden vectors of the public reference, layer by layer.

    python tests/conformance/check.py tests/conformance/golden
    python tests/conformance/check.py tests/conformance/golden_onnx
    python tests/conformance/check.py DIR --only akidanet --json

Each layer is given the reference's own integers as input, so that a difference stays where it arises, and its
output is compared in every value. A value that differs is shown to be float32 rounding or it is a mismatch:

    exact       equal integers
    rounded     equal to what this layer gives when its steps are rounded to float32 (``semantics.float32``)
    summed      the sum of products passed 2**24, where float32 rounds as it adds, in the library's own order;
                the difference is within the bound that holds for any order
    mismatch    anything else

The whole network is then run on both engines, in batches of 1 and 32 and on 1 and 2 threads. Its outputs must equal
the reference's float32 outputs wherever no layer was rounded. A softmax at the end, a float function, is compared to
a few units in the last place.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

import spica
from spica.engine.runner import Memory, compute
from spica.frontends.quantizeml import read
from spica.layers import Activation, Dequantize, GlobalAveragePooling2D, LookUp, Softmax, WeightedLayer
from spica.layers.weighted import input_shift
from spica.network import Layer, Network
from spica.semantics.float32 import UNIT, Float32, sum_error
from spica.semantics.reference import Reference
from spica.util.table import table

KINDS = ("exact", "rounded", "summed", "mismatch")


@dataclass
class Result:
    """What one network gave: layers compared, values of each kind, and what is wrong in words."""

    name: str
    layers: int = 0
    values: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.wrong and not self.values["mismatch"]


def check(path: Path) -> Result:
    """Compare one network, a ``.h5`` or ``.onnx`` file with its vectors beside it."""
    golden = dict(np.load(path.with_name(f"{path.stem}.npz")))
    net = read(path)
    result = Result(path.stem)
    known = {name: golden[f"{name}:values"] for name in net.types if f"{name}:values" in golden}
    known |= {layer.name: golden[f"input_{i}"] for i, layer in enumerate(net.inputs)}
    memory = {engine: Memory(net) for engine in ("exact", "float32")}
    for layer in net:
        if layer.inputs and all(i in known for i in layer.inputs):
            if layer.name in known:
                compare_layer(net, layer, known, memory, result)
            elif not isinstance(layer, Dequantize):  # one of several records for one of the file's layers
                types, given = net.input_types(layer), [known[i] for i in layer.inputs]
                known[layer.name] = compute(layer, given, types, Reference(), memory["exact"])
        check_format(net, layer, golden, result)
    check_outputs(net, path, golden, result)
    return result


def compare_layer(net: Network, layer: Layer, known: dict, memory: dict[str, Memory], result: Result) -> None:
    """Count how the values of one layer agree with the reference's, given the reference's inputs."""
    wanted = known[layer.name].astype(np.int64)
    read, types = [known[i][: len(wanted)] for i in layer.inputs], net.input_types(layer)
    got = compute(layer, read, types, Reference(), memory["exact"]).astype(np.int64)
    if got.shape != wanted.shape:
        result.wrong.append(f"{layer.name}: shape {got.shape}, not {wanted.shape}")
        return
    result.layers += 1
    differs = got != wanted
    result.values["exact"] += int((~differs).sum())
    if not differs.any():
        return
    emulated = compute(layer, read, types, Float32(), memory["float32"]).astype(np.int64)
    rounded = differs & (emulated == wanted)
    summed = differs & ~rounded & (np.abs(got - wanted) <= order_bound(net, layer, known))
    result.values["rounded"] += int(rounded.sum())
    result.values["summed"] += int(summed.sum())
    left = differs & ~rounded & ~summed
    result.values["mismatch"] += int(left.sum())
    if left.any():
        result.wrong.append(f"{layer.name}: {int(left.sum())} of {left.size} values differ")


def order_bound(net: Network, layer: Layer, known: dict) -> np.ndarray | float:
    """How far the order of float32 sums can move each value that leaves a layer.

    The reference may add in another order each time that it is compiled, so the sums of an unrounded accumulator in
    front of an average count as well: those that it averages need not be those that were recorded.
    """
    types, stage = net.input_types(layer), getattr(layer, "requantize", None)
    if isinstance(layer, Activation) and stage is None:
        return order_bound(net, net[layer.inputs[0]], known)
    sizes = [np.abs(known[i].astype(np.int64)) for i in layer.inputs]
    if isinstance(layer, GlobalAveragePooling2D):
        shift = int(input_shift(types[0]).max())
        magnitudes = sizes[0].sum(axis=(1, 2)) << shift
        before = np.broadcast_to(order_bound(net, net[layer.inputs[0]], known), sizes[0].shape)
        error = sum_error(magnitudes, types[0].shape[0] * types[0].shape[1]) + before.sum(axis=(1, 2)) * 2**shift
        if stage is None:
            return error
        moved = (error + UNIT * magnitudes) * stage.multiplier * np.exp2(-stage.shift.astype(float))
        return np.where(error > 0, np.ceil(moved), 0)  # a rounding shift may turn any error into a whole step
    if not isinstance(layer, WeightedLayer) or stage is not None:
        return 0.0
    kernels = {k: np.abs(getattr(layer, k).astype(int)) for k in ("kernel", "depthwise_kernel") if hasattr(layer, k)}
    terms = 1 + sum(kernel.size // kernel.shape[-1] for kernel in kernels.values())
    positive = {name: np.minimum(kernel, 127).astype(np.int8) for name, kernel in kernels.items()}
    plain = replace(layer, **positive, bias=None, accumulator_bits=46, weight_bits=8)
    bias = 0 if layer.bias is None else np.abs(layer.bias)
    return sum_error(compute(plain, sizes, types, Reference(), Memory(net)) + bias, terms)


def check_format(net: Network, layer: Layer, golden: dict, result: Result) -> None:
    """Exponents, scales and tables must be the reference's, to the last bit; tables of functions may round."""
    kind = net.types[layer.name]
    for name, mine in (("frac_bits", kind.frac_bits), ("scales", kind.scale)):
        theirs = golden.get(f"{layer.name}:{name}")
        if theirs is not None and not (np.asarray(theirs) == mine).all():
            result.wrong.append(f"{layer.name}: {name} differ")
    if isinstance(layer, LookUp) and f"{layer.name}:table" in golden:
        off = np.abs(golden[f"{layer.name}:table"] - layer.table)
        result.values["rounded"] += int((off == 1).sum())
        if off.max() > 1:
            result.wrong.append(f"{layer.name}: its table differs by {off.max()}")


def check_outputs(net: Network, path: Path, golden: dict, result: Result) -> None:
    """Run the whole network, fused and not, on both engines; compare with the reference's outputs."""
    inputs = [golden[f"input_{i}"] for i in range(len(net.inputs))]
    x = inputs if len(inputs) > 1 else inputs[0]
    wanted = [golden[f"output_{i}"] for i in range(len(net.outputs))]
    exact = not (result.values["rounded"] or result.values["summed"])
    fused = spica.from_quantizeml(path)
    first = as_list(net.forward(x, engine="reference"))
    runs = [
        (fused, {"engine": "reference"}),
        *((fused, {"batch_size": b, "threads": t}) for b in (1, 32) for t in (1, 2)),
    ]
    for network, options in runs:
        if not all(np.array_equal(a, b) for a, b in zip(as_list(network.forward(x, **options)), first)):
            result.wrong.append(f"outputs depend on {options}")
    for name, mine, theirs in zip(net.outputs, first, wanted):
        if mine.shape != theirs.shape:
            result.wrong.append(f"{name}: output has shape {mine.shape}, not {theirs.shape}")
        elif any(isinstance(layer, Softmax) for layer in net):
            if exact and not np.allclose(mine, theirs, rtol=3e-7, atol=1e-7):
                result.wrong.append(f"{name}: softmax differs by {np.abs(mine - theirs).max():.2g}")
        elif exact and not np.array_equal(mine, theirs):
            result.wrong.append(f"{name}: {int((mine != theirs).sum())} of {mine.size} outputs differ")


def as_list(y) -> list:
    return y if isinstance(y, list) else [y]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", default="", help="part of the names of the networks to compare")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    files = sorted(p for p in options.folder.iterdir() if p.suffix in (".h5", ".onnx"))
    paths = [p for p in files if options.only in p.name]
    results, refused = [], []
    for path in paths:
        try:
            results.append(check(path))
        except spica.SpicaError as error:
            refused.append((path.stem, str(error)))
    if options.json:
        print(
            json.dumps([{"name": r.name, "layers": r.layers, "wrong": r.wrong, **r.values} for r in results], indent=1)
        )
    else:
        rows = [("network", "result", "layers", *KINDS)]
        rows += [
            (r.name, "ok" if r.ok else "; ".join(r.wrong)[:60], f"{r.layers}", *(f"{r.values[k]:,}" for k in KINDS))
            for r in results
        ]
        total = sum((r.values for r in results), Counter())
        rows.append(
            (
                "total",
                f"{sum(r.ok for r in results)} of {len(results)} ok",
                f"{sum(r.layers for r in results):,}",
                *(f"{total[k]:,}" for k in KINDS),
            )
        )
        print(table(rows))
        for name, why in refused:
            print(f"refused  {name}: {why:.150}")
    sys.exit(not all(r.ok for r in results))


if __name__ == "__main__":
    main()
