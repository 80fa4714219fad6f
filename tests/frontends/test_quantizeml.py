"""Reading quantizeml's files: the arithmetic that is only theirs, and files that are damaged or hold something else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import onnx
import pytest

import spica
from spica.frontends.quantizeml.fixed_point import saturating_multiplier
from spica.frontends.quantizeml.onnx_file import split_kind
from spica.quantization.rounding import nearest_multiplier

GOLDEN = Path(__file__).parent.parent / "conformance" / "golden"
GOLDEN_ONNX = GOLDEN.parent / "golden_onnx"


@pytest.mark.parametrize("bits", [4, 8, 16])
def test_multipliers_of_files_and_own_ones_differ_only_where_two_to_the_bits_would_not_fit(bits):
    scales = np.exp2(np.random.default_rng(bits).uniform(-24, 16, 100_000)).astype(np.float32)
    scales = np.concatenate([scales, np.exp2(np.arange(-12, 12, dtype=np.float32))])
    theirs, their_exponent = saturating_multiplier(scales, bits)
    own, own_exponent = nearest_multiplier(scales, bits)
    differs = (theirs != own) | (their_exponent != own_exponent)
    assert differs.any()
    assert (theirs[differs] == (1 << bits) - 1).all() and (own[differs] == 1 << (bits - 1)).all()
    assert (their_exponent - own_exponent)[differs].tolist() == [1] * int(differs.sum())


def test_functions_of_onnx_files_are_an_operation_and_steps():
    assert split_kind("QuantizedConv2DTransposeBiasedReLUClippedScaled") == (
        "QuantizedConv2DTranspose", "BiasedReLUClippedScaled"
    )  # fmt: skip
    assert split_kind("QuantizedDense1D") == ("QuantizedDense1D", "")
    assert split_kind("Dequantizer2") == ("Dequantizer", "")


def test_a_step_that_is_not_known_is_refused_not_skipped(tmp_path):
    model = onnx.load(GOLDEN_ONNX / "conv_gap.onnx")
    model.graph.node[1].op_type = model.graph.node[1].op_type.replace("Scaled", "CubedScaled")
    onnx.save(model, tmp_path / "step.onnx")
    with pytest.raises(spica.SpicaError, match=r"conv_1: node .*Cubed.* has no exact counterpart; the nearest that is"):
        spica.from_quantizeml(tmp_path / "step.onnx")


def edited(name: str, tmp_path: Path, change) -> Path:
    """Return a copy of a golden file whose configuration ``change`` has edited."""
    path = tmp_path / "edited.h5"
    shutil.copy(GOLDEN / f"{name}.h5", path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        change({layer["config"]["name"]: layer for layer in config["config"]["layers"]}, config)
        file.attrs["model_config"] = json.dumps(config)
    return path


def put(value, *path):
    """Return a change that puts ``value`` in the place of a layer's setting, or takes the setting out if ``None``."""

    def change(layers, config):
        *parents, key = path
        node = layers
        for parent in parents:
            node = node[parent]
        if value is None:
            del node[key]
        else:
            node[key] = value

    return change


CONV = ("conv2d_1", "config")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(None, *CONV, "strides"), "conv2d_1: the file lacks its 'strides'"),
        (put(None, *CONV, "quant_config"), "conv2d_1: the file lacks its 'weight_quantizer'"),
        (put(3, *CONV, "strides"), "conv2d_1: layer QuantizedConv2D cannot be read"),
        (put({"weight_quantizer": {"bitwidth": "x"}}, *CONV, "quant_config"), "conv2d_1: layer .* cannot be read"),
        (put(2, *CONV, "groups"), "conv2d_1: has groups 2; only 1 is read"),
        (put("channels_first", *CONV, "data_format"), "has data_format channels_first; only channels_last is read"),
        (put("relu", *CONV, "activation"), "conv2d_1: has the activation 'relu' inside"),
        (put("QuantizedCube", "conv2d_1", "class_name"), "conv2d_1: layer QuantizedCube has no exact.*QuantizedDense"),
        (put("StatefulRecurrent", "conv2d_1", "class_name"), "conv2d_1: .* still in training form; quantise the whole"),
        (put([["gone", 0, 0, {}]], "conv2d_1", "inbound_nodes"), "'gone:0' is read before it is written"),
        (put([["x"]], "conv2d_1", "inbound_nodes"), "its list of layers cannot be read"),
        (lambda layers, config: config.pop("class_name"), "the file lacks its 'class_name'"),
        (lambda layers, config: config.update(config=3), "its list of layers cannot be read"),
    ],
)
def test_damaged_keras_files_are_refused_by_name(tmp_path, change, message):
    with pytest.raises(spica.SpicaError, match=message):
        spica.from_quantizeml(edited("conv_tensor_w8a8", tmp_path, change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda graph: graph.node[1].ClearField("attribute"), "conv_1: the file lacks its 'strides'"),
        (lambda graph: graph.node[1].ClearField("input"), "conv_1: the file lacks its 'W'"),
        (lambda graph: graph.ClearField("input"), "has 0 inputs; Spica reads ONNX models of one"),
        (lambda graph: graph.ClearField("node"), "is read before it is written; the file is damaged"),
    ],
)  # fmt: skip
def test_damaged_onnx_files_are_refused_by_name(tmp_path, change, message):
    model = onnx.load(GOLDEN_ONNX / "conv_gap.onnx")
    change(model.graph)
    onnx.save(model, tmp_path / "damaged.onnx")
    with pytest.raises(spica.SpicaError, match=message):
        spica.from_quantizeml(tmp_path / "damaged.onnx")
