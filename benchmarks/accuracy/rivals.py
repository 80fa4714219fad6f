"""What other quantisers make of the same network with the same samples: their accuracy on the same test images."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from plain import operations, to_onnx

from spica.network import Network


def onnxruntime_int8(net: Network, samples: NDArray[np.uint8], x: NDArray[np.uint8], y: NDArray) -> float:
    """Accuracy of onnxruntime's static quantiser: 8-bit weights a channel, 8-bit activations, ranges by min and max."""
    import onnxruntime
    from onnxruntime import quantization

    (source,) = net.inputs

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(
                np.array_split(np.moveaxis(samples, -1, 1).astype(np.float32), max(len(samples) // 64, 1))
            )

        def get_next(self) -> dict | None:
            batch = next(self.batches, None)
            return None if batch is None else {source.name: batch}

    with tempfile.TemporaryDirectory() as folder:
        plain, quantized = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(to_onnx(net), plain)
        quantization.quantize_static(
            plain,
            quantized,
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            per_channel=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
        )
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(quantized, options, providers=["CPUExecutionProvider"])
        batches = np.array_split(np.moveaxis(x, -1, 1).astype(np.float32), max(len(x) // 256, 1))
        outputs = np.concatenate([session.run(None, {source.name: batch})[0] for batch in batches])
    return float((outputs.argmax(axis=1) == y).mean())


UNSUPPORTED = "not supported to quantize"
"""What quantizeml warns of where it would leave the rest of a network in floats; taken for a refusal here."""

QUANTIZE = """
import json, sys, warnings
import numpy as np, tf_keras as keras
from quantizeml.models import QuantizationParams, quantize
warnings.filterwarnings("error", message=".*not supported to quantize.*")
spec, arrays, w, a, first = sys.argv[1], np.load(sys.argv[2]), *map(int, sys.argv[3:6])
spec = json.load(open(spec))
L = keras.layers
source = keras.Input(spec["shape"], name=spec["source"])
t = {spec["source"]: source}
for op in spec["operations"]:
    kind, name, s = op["kind"], op["name"], op["settings"]
    get = {k: arrays[name + "/" + k] for k in op["arrays"]}
    x = [t[i] for i in op["inputs"]]
    window = {k: s[k] for k in ("strides", "padding") if k in s}
    if kind == "conv":
        layer = L.Conv2D(get["kernel"].shape[3], get["kernel"].shape[:2], use_bias="bias" in get, name=name, **window)
    elif kind == "depthwise":
        layer = L.DepthwiseConv2D(get["kernel"].shape[:2], use_bias="bias" in get, name=name, **window)
        get["kernel"] = get["kernel"][..., None]
    elif kind == "dense":
        layer = L.Dense(get["kernel"].shape[1], use_bias="bias" in get, name=name)
    elif kind == "max_pool":
        layer = L.MaxPool2D(s["size"], name=name, **window)
    elif kind == "relu":
        layer = L.ReLU(s.get("max_value"), name=name)
    else:
        layer = {"average": L.GlobalAveragePooling2D, "flatten": L.Flatten, "add": L.Add}[kind](name=name)
    t[name] = layer(x if kind == "add" else x[0])
    if get:
        layer.set_weights([get[k] for k in ("kernel", "bias") if k in get])
model = keras.Model(source, t[spec["output"]])
alike = spec["per_tensor"]
params = QuantizationParams(activation_bits=a, weight_bits=w, input_weight_bits=first, per_tensor_activations=alike)
samples = arrays["samples"]
quantized = quantize(model, qparams=params, samples=samples, num_samples=len(samples), batch_size=64)
got = quantized.predict(arrays["x"], batch_size=128, verbose=0).reshape(len(arrays["x"]), -1).argmax(axis=1)
print(json.dumps(float((got == arrays["y"]).mean())))
"""


def quantizeml(
    python: str,
    net: Network,
    samples: NDArray[np.uint8],
    x: NDArray[np.uint8],
    y: NDArray,
    bits: tuple[int, int, int],
    per_tensor: bool,
) -> float | None:
    """Accuracy of quantizeml's ``quantize``, which the interpreter ``python`` has; none where it refuses.

    Args:
        bits: of the weights, the activations, and the first layer's weights.
        per_tensor: whether activations have one step a tensor.
    """
    steps = operations(net)
    spec = {
        "shape": net.types[net.inputs[0].name].shape,
        "source": net.inputs[0].name,
        "output": net.outputs[0],
        "per_tensor": per_tensor,
        "operations": [
            {"kind": op.kind, "name": op.name, "inputs": op.inputs, "settings": op.settings, "arrays": list(op.arrays)}
            for op in steps
        ],
    }
    arrays = {f"{op.name}/{k}": v for op in steps for k, v in op.arrays.items()}
    with tempfile.TemporaryDirectory() as folder:
        described, values = Path(folder) / "spec.json", Path(folder) / "arrays.npz"
        described.write_text(json.dumps(spec))
        np.savez(values, samples=samples, x=x, y=y, **arrays)
        command = [python, "-c", QUANTIZE, str(described), str(values), *map(str, bits)]
        done = subprocess.run(command, capture_output=True, text=True)
    if UNSUPPORTED in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(f"quantizeml at {bits}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])
