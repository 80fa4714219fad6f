"""Export to quantizeml: what is written reads back to the same integers, or is refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import spica
from spica.deploy import to_quantizeml
from support.float_networks import SAMPLES, float_network

GOLDEN = Path(__file__).parent.parent / "conformance" / "golden"
CASES = sorted(p.name.removesuffix(".h5") for p in GOLDEN.glob("*.h5"))
REFUSED = {
    "activation_leaky_0.05_w8a8": "cannot be written exactly",
    "last_output_16_w8a8": "dense: its requantize cannot be written exactly",
    "saturate_bias_w8a8": "the largest weight of every filter must be 127",
    "softmax_last_w8a8": "softmax: a Softmax has no place",
}
BY_KIND = {
    "saturate_16": "a buffer of 16 bits",
    "saturate_18": "a buffer of 18 bits",
    "saturate_20": "a buffer of 20 bits",
    "saturate_add_16": "a buffer of 16 bits",
    "input_quantizer": "a Quantize has no place", "temporal_input": "a Quantize has no place",
           "recurrent": "no place in a quantizeml file|no exact counterpart"}  # fmt: skip


def refusal(name: str) -> str | None:
    return REFUSED.get(name) or next((why for start, why in BY_KIND.items() if name.startswith(start)), None)


@pytest.mark.parametrize("name", [c for c in CASES if refusal(c) is None])
def test_what_was_imported_can_be_written_back(name, tmp_path):
    net = spica.from_quantizeml(GOLDEN / f"{name}.h5")
    to_quantizeml(net, tmp_path / "again.h5")
    again = spica.from_quantizeml(tmp_path / "again.h5")
    arrays = np.load(GOLDEN / f"{name}.npz")
    x = [arrays[f"input_{i}"] for i in range(len(net.inputs))]
    one = x if len(x) > 1 else x[0]
    for mine, theirs in zip(as_list(again.forward(one)), as_list(net.forward(one)), strict=True):
        np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("name", [c for c in CASES if refusal(c)])
def test_what_a_file_cannot_hold_is_refused_and_leaves_no_file(name, tmp_path):
    with pytest.raises(spica.SpicaError, match=refusal(name)):
        to_quantizeml(spica.from_quantizeml(GOLDEN / f"{name}.h5"), tmp_path / "again.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", [2, 4])
def test_networks_quantised_here_can_be_written(bits, per_channel, tmp_path):
    net = spica.quantize(
        float_network(), SAMPLES, weights=bits, activations=4, per_channel_activations=per_channel, ranges="max"
    )
    to_quantizeml(net, tmp_path / "own.h5")
    again = spica.from_quantizeml(tmp_path / "own.h5")
    np.testing.assert_array_equal(again.forward(SAMPLES), net.forward(SAMPLES))


def test_float_networks_are_refused(tmp_path):
    with pytest.raises(spica.SpicaError, match="quantise it first"):
        to_quantizeml(float_network(), tmp_path / "float.h5")


def as_list(y):
    return y if isinstance(y, list) else [y]
