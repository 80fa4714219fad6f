"""Layer specs: computed once for a network, by rules that serve new layers too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from spica.hardware import OpType, check, load_device, map_network, spec, specs
from spica.hardware.device.rules import MAPPABLE, QUANTITIES
from spica.layers import Conv2D, GlobalAverage, Input, WeightedLayer
from spica.layers.weighted import WindowedLayer
from spica.network import Network, TensorType
from spica.network.layer import forward_integer, infer
from support.chip_networks import conv, dense, depthwise, flatten, max_pool, network, separable

NET = network(
    (16, 20, 3), conv(8, (3, 5), pool=max_pool()), separable(6, 5), depthwise(3, 2, pool=GlobalAverage()), dense(4)
)


def test_a_spec_says_what_device_rules_bound():
    found = specs(NET)
    assert [s.op_type for s in found.values()] == [
        OpType.NONE,
        "input_convolution",
        "separable_convolution",
        "depthwise_convolution",
        "fully_connected",
    ]
    first, second, third, last = list(found.values())[1:]
    assert (first.kernel, first.pool, first.pool_size, first.padding) == ((3, 5), "max", (2, 2), "same")
    values = {name: quantity.value(first) for name, quantity in QUANTITIES.items()}
    assert (values["kernel"], values["stride"], values["pool_size"], values["fifo"]) == ("3x5", 1, "2x2", None)
    assert (values["input_height"], values["input_width"], values["input_channels"]) == (16, 20, 3)
    assert (second.halo, second.fan_out, second.taps) == (4, 25 * 6, 25)
    assert second.weight_memory_bits == 6 * 8 * 4 + 8 * 25 * 8
    assert third.channelwise and third.fan_out == 9 and third.pooled_area == 4 * 5 and third.strides == (2, 2)
    assert (last.filters, last.macs, last.output_bits) == (4, 24, None)


def test_specs_are_computed_once_for_a_network(monkeypatch):
    net, seen = network((16, 16, 3), conv(8), conv(8), separable(8), flatten(), dense(4)), []
    rule = spec.layer_spec
    monkeypatch.setattr(spec, "layer_spec", lambda layer, *types: seen.append(layer.name) or rule(layer, *types))
    chip = map_network(net, "AKD1500", mode="fastest")
    chip.estimate(0.5)
    chip.forward(np.zeros((1, 16, 16, 3), np.uint8))
    assert check(net, "AKD1000").ok and seen == [layer.name for layer in net]
    assert specs(net) is specs(net)


@pytest.mark.parametrize("name", ["AKD1000", "AKIDA2-8-VIT", "PICO"])
def test_devices_name_op_types(name):
    device = load_device(name)
    assert {rule.op_type for rule in device.rules} <= set(MAPPABLE)
    assert device.op_types | set(device.unsupported) <= set(OpType)


def test_multiply_accumulates_have_one_home():
    assert [specs(NET)[layer.name].macs for layer in NET] == [NET.macs(layer) for layer in NET]
    assert NET.macs(NET["layer_1"]) == 16 * 20 * 3 * 5 * 3 * 8


@dataclass(frozen=True, eq=False, kw_only=True)
class Shifted(WindowedLayer):
    """A convolution that hardware has never heard of."""

    KERNELS: ClassVar = {"kernel": "hwCF"}
    kernel: NDArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Mixer(WeightedLayer):
    """A layer of which hardware knows only that it has weights."""

    kernel: NDArray


@infer.register
def _(layer: Shifted, inputs: Sequence[TensorType]) -> TensorType:
    return infer(Conv2D(**vars(layer)), inputs)


@forward_integer.register
def _(layer: Shifted, inputs, types, ops) -> NDArray:
    return forward_integer(Conv2D(**vars(layer)), inputs, types, ops)


@infer.register
def _(layer: Mixer, inputs: Sequence[TensorType]) -> TensorType:
    return inputs[0]


def test_a_new_windowed_layer_maps_and_runs_in_tiles_for_free():
    chain = network((16, 16, 3), conv(8), conv(12, 3))
    fields = {name: value for name, value in vars(chain.layers[-1]).items() if name != "padding_value"}
    net = Network((*chain.layers[:-1], Shifted(**fields)), chain.outputs, "new")
    device = load_device("AKD1000").replace(nodes=100, input_memory_bytes=300, weight_memory_bytes=100)
    new, known = map_network(net, device), map_network(chain, device)
    assert new.placements[1].op_type == "convolution" and new.nps == known.nps > 10
    x = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3)).astype(np.uint8)
    assert np.array_equal(new.forward(x, engine="reference"), known.forward(x))
    assert new.statistics.to_dict()["layers"] == known.statistics.to_dict()["layers"]


def test_a_layer_without_a_rule_is_refused_by_its_name():
    kernel = np.ones((3, 3), np.int8)
    mixer = Mixer(name="mix", inputs=("input",), kernel=kernel, weight_bits=4, weight_scale=np.ones((), np.float32))
    net = Network((Input(name="input", shape=(8, 8, 3), bits=4), mixer), ("mix",), "new")
    (finding,) = check(net, "AKD1000")
    assert finding.op_type == "mixer" and "has no layer of kind mixer" in finding.reason
    assert specs(net)["mix"].macs == 8 * 8 * 9
    with pytest.warns(DeprecationWarning, match="of Finding is now op_type"):
        assert finding.kind == "mixer"
