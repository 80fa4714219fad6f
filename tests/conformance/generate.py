"""Generate conformance vectors from the public reference, quantizeml.

Runs in an environment of its own, never in Spica's:

    python3.11 -m venv reference && . reference/bin/activate
    pip install quantizeml==1.2.5
    pip install --no-deps cnn2snn akida_models
    OMP_NUM_THREADS=1 python generate.py units --out golden
    OMP_NUM_THREADS=1 python generate.py full --out DIR [--seed N] [--only SUBSTRING]

Each case leaves NAME.h5, the quantised Keras model, and NAME.npz:

    input_I           the I-th input: raw integers, or floats where the model quantises its own input
    output_I          the I-th output of ``predict``, float32
    LAYER:values      the integers that a quantised layer puts out
    LAYER:value_bits  the bits of those integers, sign apart
    LAYER:frac_bits   their fractional bits, one or one per channel
    LAYER:scales      the float scales beside them, where the layer keeps some
    LAYER:table       the entries of an activation's lookup table, from the lowest input code to the highest

Temporal models see their inputs one at a time, as batches of one from a cleared state, and the arrays are
stacked in that order. manifest.json lists the cases; ``refused`` gives the reference's words where it takes a
case to be out of its reach. ``peaks`` holds the layers whose integers reach 2^23 before they are saturated,
where the float32 that the reference computes in starts to round, ``saturated`` those that clip a buffer, and
``eager_differs`` those whose integers change when the reference runs uncompiled.
"""

import argparse
import json
import multiprocessing
import os
import sys
import warnings
import zlib
from collections import defaultdict
from functools import partial
from pathlib import Path

# oneDNN may pick an algorithm that is not a plain sum of products; the integers must be.
os.environ.update(TF_USE_LEGACY_KERAS="1", TF_ENABLE_ONEDNN_OPTS="0", CUDA_VISIBLE_DEVICES="-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import h5py
import numpy as np
import tensorflow as tf
import tf_keras as keras
from builders import builders
from quantizeml import layers as qml
from quantizeml.layers import QuantizationParams
from quantizeml.models import quantize, reset_buffers
from quantizeml.tensors import QFloat, QTensor, fixed_point
from units import units

# Weight and activation bits; the reference keeps 8 bits for the first layer's weights.
BITS = {
    "w8a8": {},
    "w4a8": {"weight_bits": 4},
    "w4a4": {"weight_bits": 4, "activation_bits": 4},
    "w2a4": {"weight_bits": 2, "activation_bits": 4},
}


SUITES = {"units": units, "full": builders}


def integers(rng, tensor, count):
    """Half of the samples are uniform, half lean to small values, as pictures and events do."""
    info = np.iinfo(tensor.dtype.as_numpy_dtype)
    x = rng.integers(info.min, info.max, (count, *tensor.shape[1:]), endpoint=True)
    x[1::2] = x[1::2] // rng.choice([1, 2, 8, 64], (*x[1::2].shape[:-1], 1))
    return x.astype(info.dtype)


def randomise(model, rng):
    draws = {
        "gamma": lambda shape: rng.uniform(0.5, 1.5, shape),
        "beta": lambda shape: rng.normal(0.0, 0.3, shape),
        "moving_mean": lambda shape: rng.normal(0.0, 0.3, shape),
        "moving_variance": lambda shape: rng.uniform(0.5, 1.5, shape),
        "bias": lambda shape: rng.normal(0.0, 0.3, shape),
        # Below one in modulus, so that the recurrence is stable.
        "A_real": lambda shape: rng.uniform(-0.7, 0.7, shape),
        "A_imag": lambda shape: rng.uniform(-0.7, 0.7, shape),
    }
    for variable in model.weights:
        kind = variable.name.split("/")[-1].split(":")[0]
        if kind in draws:
            variable.assign(draws[kind](variable.shape))


class Watch:
    """Sees every integer before the reference saturates it, and files it under the layer that runs."""

    def __init__(self):
        self.layer = ""
        self.peaks = defaultdict(int)
        self.saturated = set()
        self._saturate = fixed_point.saturate

    def __enter__(self):
        fixed_point.saturate = self
        return self

    def __exit__(self, *_):
        fixed_point.saturate = self._saturate

    def __call__(self, x, n):
        if tf.executing_eagerly():
            low, high, bits = float(tf.reduce_min(x)), float(tf.reduce_max(x)), int(n)
            self.peaks[self.layer] = max(self.peaks[self.layer], int(max(-low, high)))
            # Narrow values are meant to be clipped; a buffer is not.
            if bits >= 15 and (high > 2**bits - 1 or low < -(2**bits)):
                self.saturated.add(self.layer)
        return self._saturate(x, n)


def walk(model, inputs, watch):
    """Run the layers one by one, eagerly, in the order of Keras's own walk; gives their outputs by name."""
    store, outputs = {}, {}

    def put(key, value):
        store[key] = [value] * model._tensor_usage_count[key]

    for tensor, x in zip(model.inputs, inputs):
        put(str(id(tensor)), tf.constant(x, tensor.dtype))
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            args, kwargs = node.map_arguments(store)
            watch.layer = node.layer.name
            outputs[watch.layer] = result = node.layer(*args, **kwargs)
            for key, y in zip(node.flat_output_ids, result if isinstance(result, list) else [result]):
                put(key, y)
    return outputs


def reset(model):
    reset_buffers(model)
    qml.reset_states(model)


def whole(values):
    """Floats that hold integers, in the narrowest integer type."""
    exact = values.astype(np.int64)
    if not np.array_equal(exact, values):
        raise ValueError("the reference holds a value that is no integer")
    low, high = exact.min(initial=0), exact.max(initial=0)
    fits = (t for t in (np.int8, np.int16, np.int32) if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    return exact.astype(next(fits, np.int64))


def record(model, inputs, temporal):
    """The arrays of a case, and what to note of it in the manifest."""
    parts = [[x[i : i + 1] for x in inputs] for i in range(len(inputs[0]))] if temporal else [inputs]
    reset(model)
    with Watch() as watch:
        walks = [walk(model, part, watch) for part in parts]
    layers = [name for name, y in walks[0].items() if isinstance(y, QTensor)]

    # Compiled, as predict is: a graph divides by a constant as a product with its reciprocal, which moves the
    # last bit of some scales.
    probe = tf.function(keras.Model(model.inputs, [*(model.get_layer(n).output for n in layers), *model.outputs]))
    reset(model)
    runs = [probe([tf.constant(x, t.dtype) for x, t in zip(part, model.inputs)]) for part in parts]
    reset(model)
    outputs = model.predict(inputs[0] if len(inputs) == 1 else inputs, batch_size=1 if temporal else 32)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    for i, y in enumerate(outputs, len(layers)):
        if not np.array_equal(y, np.concatenate([run[i] for run in runs])):
            raise ValueError("the layers' own run and predict do not agree")

    arrays = {f"input_{i}": x for i, x in enumerate(inputs)} | {f"output_{i}": y for i, y in enumerate(outputs)}
    eager_differs = []
    for i, name in enumerate(layers):
        first, layer = runs[0][i], model.get_layer(name)
        values = np.concatenate([run[i].values for run in runs])
        if not np.array_equal(values, np.concatenate([seen[name].values for seen in walks])):
            eager_differs.append(name)
        arrays[f"{name}:values"] = whole(values)
        arrays[f"{name}:value_bits"] = np.int16(first.value_bits)
        arrays[f"{name}:frac_bits"] = whole(first.frac_bits.numpy())
        if isinstance(first, QFloat):
            arrays[f"{name}:scales"] = first.scales.numpy()
        if isinstance(layer, qml.QuantizedActivation):
            codes, entries = (t.numpy() for t in layer.values.export())
            arrays[f"{name}:table"] = whole(entries[np.argsort(codes)])
    note = {
        "layers": {name: type(model.get_layer(name)).__name__ for name in layers},
        "peaks": {name: peak for name, peak in watch.peaks.items() if peak >= 2**23},
        "saturated": sorted(watch.saturated),
        "eager_differs": eager_differs,
    }
    return arrays, note


def calibration(model, case, draw, rng):
    # A network of Conv3D layers is quantised to one that takes a frame at a time.
    shapes = [[None, *x.shape[2:]] if len(x.shape) == 5 else x.shape for x in model.inputs]
    specs = [tf.TensorSpec(shape, x.dtype) for shape, x in zip(shapes, model.inputs)]
    samples = [draw(rng, spec, case.frames or 8) for spec in specs]
    if len(specs) > 1:
        # quantize() refuses several inputs only because it cannot infer their shapes; they are set already.
        sys.modules["quantizeml.models.quantize"].set_model_shape = lambda model, *_: model
        return {"samples": tf.data.Dataset.from_tensors((tuple(samples),)), "num_samples": 1}
    if not case.frames:
        return {"samples": samples[0], "num_samples": 8, "batch_size": 8}
    if specs[0].shape[0] == 1:
        # A recurrent network calibrates on whole sequences, a buffered one on a run of frames.
        samples[0] = samples[0].reshape(1, -1, *specs[0].shape[2:])
    return {"samples": samples[0], "num_samples": len(samples[0]), "batch_size": 1}


def run(case, out, seed, layout):
    keras.backend.clear_session()
    seed ^= zlib.crc32(case.name.encode())
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    model = case.build()
    randomise(model, rng)
    if case.edit:
        case.edit(model)
    draw = case.draw or integers
    qparams = QuantizationParams(**BITS[case.bits], **case.qparams)
    quantised = quantize(model, qparams=qparams, **calibration(model, case, draw, rng))
    inputs = [draw(rng, x, case.frames or case.samples) for x in quantised.inputs]
    arrays, note = record(quantised, inputs, case.frames > 0)
    with h5py.File(out / f"{case.name}.h5", "w", libver=layout) as file:
        quantised.save(file, include_optimizer=False)
    np.savez_compressed(out / f"{case.name}.npz", **arrays)
    return note


def entry(name, options):
    """Run one case; gives what the manifest says of it."""
    case = next(case for case in SUITES[options.what]() if case.name == name)
    # The newer file layout halves the small files; the full set keeps the one that Keras writes by default.
    layout = "latest" if options.what == "units" else None
    said = {"bits": case.bits, "seed": options.seed, "temporal": case.frames > 0}
    said |= {"qparams": case.qparams, "arguments": case.arguments}
    try:
        return said | run(case, options.out, options.seed, layout)
    except Exception as error:  # the reference refuses in many ways: keep its words
        return said | {"refused": f"{type(error).__name__}: {error}"[:500]}


def quieten():
    warnings.simplefilter("ignore")
    tf.get_logger().setLevel("ERROR")
    keras.utils.disable_interactive_logging()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=SUITES)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="run the cases whose name holds this")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "manifest.json"
    manifest = json.loads(path.read_text()) if path.exists() else {}
    names = [case.name for case in SUITES[options.what]() if options.only in case.name]
    # TensorFlow keeps some 200 MB of each network that it compiled, so new processes take over now and then.
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, initializer=quieten, maxtasksperchild=16) as pool:
        for name, said in zip(names, pool.imap(partial(entry, options=options), names)):
            manifest[name] = said
            path.write_text(json.dumps(manifest, indent=1) + "\n")
            print(name, said.get("refused", "ok"), flush=True)


if __name__ == "__main__":
    main()
