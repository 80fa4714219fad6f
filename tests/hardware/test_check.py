"""The rules that networks must keep on a device."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from spica import SpicaError
from spica.hardware import check
from spica.layers import Activation, Add, Concatenate, DepthwiseConv2D, GlobalAverage, Input, MaxPool2D, ReLU, Reshape
from spica.network import Network
from support.chip_networks import conv, dense, flatten, max_pool, network, separable

IMAGE = (16, 16, 3)

GOOD = {
    "plain": network(IMAGE, conv(8, strides=2), conv(8), separable(8, pool=GlobalAverage()), dense(4)),
    "grey, 5x5, valid, stride 3": network((20, 30, 1), conv(192, 5, 3, "valid", weights=8), conv(8)),
    "512 filters": network((5, 5, 1), conv(512), conv(4)),
    "192 filters": network(IMAGE, conv(192), conv(4)),
    "64 filters": network(IMAGE, conv(64, 5), conv(4)),
    "32 filters": network(IMAGE, conv(32, 7), conv(4)),
    "96 filters": network((16, 16, 1), conv(96, 7), conv(4)),
    "pooled input": network(IMAGE, conv(8, pool=max_pool((1, 2), (1, 2))), conv(4)),
    "pooled input before dense": network(IMAGE, conv(8, pool=max_pool()), flatten(), dense(4)),
    "kernels": network(IMAGE, conv(8), conv(8, 1), conv(8, 5), conv(8, 7), separable(8, 5), separable(8, 7)),
    "strides": network(IMAGE, conv(8), conv(8, 3, 2), separable(8, 3, 2)),
    "pooling": network(IMAGE, conv(8), conv(8, pool=max_pool()), separable(8, pool=max_pool(2, 1)), conv(8)),
    "widths": network(
        IMAGE,
        conv(8, weights=1, activations=1),
        conv(8, weights=2, activations=2),
        separable(8, weights=2),
        flatten(),
        dense(4, weights=1, activations=1),
    ),
    "dense": network((57334,), dense(2), bits=4),
    "average of 32 columns": network((32, 32, 3), conv(4), conv(4, pool=GlobalAverage()), dense(2)),
}

BAD = {
    "width": (network((16, 4, 3), conv(8)), "input width is 4, but must be 5 to 256"),
    "wide": (network((16, 257, 3), conv(8)), "input width is 257"),
    "height": (network((4, 16, 3), conv(8)), "input height is 4, but must be at least 5"),
    "channels": (network((16, 16, 2), conv(8)), "input bits is 8"),
    "input kernel": (network(IMAGE, conv(8, 4)), "kernel is 4, but must be 3, 5 or 7"),
    "input stride": (network(IMAGE, conv(8, 3, 4)), "stride is 4, but must be 1, 2 or 3"),
    "input padding": (network(IMAGE, conv(8, padding=((2, 2), (2, 2)))), "padding is custom"),
    "input bits": (network((16, 16, 2), conv(8), bits=5), "input bits is 5, but must be 1, 2 or 4"),
    "signed input": (network(IMAGE, conv(8), signed=True), "signed input is True"),
    "513 filters": (network((16, 16, 1), conv(513)), "at most 512 with input channels 1 and kernel 3"),
    "193 grey filters": (network((16, 16, 1), conv(193, 5)), "most 192 with input channels 1 and kernel 5"),
    "97 filters": (network((16, 16, 1), conv(97, 7)), "filters is 97, but must be at most 96"),
    "193 filters": (network(IMAGE, conv(193)), "at most 192 with input channels 3 and kernel 3"),
    "65 filters": (network(IMAGE, conv(65, 5)), "filters is 65, but must be at most 64"),
    "33 filters": (network(IMAGE, conv(33, 7)), "filters is 33, but must be at most 32"),
    "input average": (network(IMAGE, conv(8, pool=GlobalAverage())), "pooling is global_average"),
    "input pooling": (network(IMAGE, conv(8, pool=max_pool(3, 3))), "pooling size is 3x3"),
    "input pooling stride": (network(IMAGE, conv(8, pool=max_pool(2, 1))), "stride is 1x1, but must be 2x2"),
    "input activations": (network(IMAGE, conv(8, activations=8)), "output bits is 8, but must be 1, 2"),
    "kernel": (network(IMAGE, conv(8), conv(8, 2)), "kernel is 2, but must be 1, 3, 5 or 7"),
    "stride": (network(IMAGE, conv(8), conv(8, 3, 3)), "stride is 3, but must be 1 or 2"),
    "stride of 5x5": (network(IMAGE, conv(8), conv(8, 5, 2)), "kernel is 5, but must be 3 with stride 2"),
    "padding": (network(IMAGE, conv(8), conv(8, padding="valid")), "padding is valid, but must be same"),
    "weights": (network(IMAGE, conv(8), conv(8, weights=8)), "weight bits is 8, but must be 1, 2 or 4"),
    "activations": (network(IMAGE, conv(8, activations=8), conv(8)), "input bits is 8, but must be 1, 2"),
    "pooling": (network(IMAGE, conv(8), conv(8, pool=max_pool(3, 2)), conv(8)), "size is 3x3"),
    "pooling stride": (network(IMAGE, conv(8), conv(8, pool=max_pool(1, 2)), conv(8)), "stride is 2x2"),
    "separable kernel": (network(IMAGE, conv(8), separable(8, 1)), "kernel is 1, but must be 3, 5 or 7"),
    "separable stride": (network(IMAGE, conv(8), separable(8, 7, 2)), "must be 3 with stride 2"),
    "separable weights": (network(IMAGE, conv(8), separable(8, weights=1)), "bits is 1, but must be 2 or 4"),
    "average of 33": (
        network((16, 33, 3), conv(4), conv(4, pool=GlobalAverage()), dense(2)),
        "input width is 33, but must be 1 to 32 with pooling global_average",
    ),
    "average of 2 rows": (
        network((6, 6, 3), conv(4, 3, 3), separable(4, pool=GlobalAverage()), dense(2)),
        "input height is 2, but must be at least 3",
    ),
    "pooling at the end": (network(IMAGE, conv(8), conv(8, pool=max_pool())), "may follow its max pooling"),
    "pooling before dense": (
        network(IMAGE, conv(8), conv(8, pool=max_pool()), flatten(), dense(4)),
        "only convolution or separable_convolution may follow",
    ),
    "dense inputs": (network((57335,), dense(2), bits=4), "input channels is 57335, but must be at most"),
    "dense bits": (network((16,), dense(2)), "input bits is 8"),
}


@pytest.mark.parametrize("name", GOOD)
def test_networks_within_the_rules_pass(name):
    report = check(GOOD[name], "AKD1000")
    assert report.ok, str(report)
    assert list(report) == [] and str(report) == "chain keeps every rule of AKD1000"


@pytest.mark.parametrize("name", BAD)
def test_each_broken_rule_is_found(name):
    net, message = BAD[name]
    report = check(net, "AKD1000")
    assert not report.ok
    assert any(message in finding.reason and finding.remedy for finding in report), str(report)


def with_layer(make) -> Network:
    """A passing network, one layer more, and a convolution that reads it."""
    base = network(IMAGE, conv(8), conv(8))
    extra = make("layer_2")
    channels = 16 if isinstance(extra, Concatenate) else 8
    reader = network((16, 16, channels), conv(8), bits=4).layers[1]
    reader = replace(reader, name="reader", inputs=("extra",))
    return Network((*base.layers, extra, reader), ("reader",), "branchy")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (
            lambda i: Add(
                name="extra",
                inputs=(i, "layer_1"),
                requantize=network((8,), dense(8, activations=4), bits=4).layers[1].requantize,
            ),
            "add",
        ),
        (lambda i: Concatenate(name="extra", inputs=(i, "layer_1")), "concatenate"),
        (lambda i: MaxPool2D(name="extra", inputs=(i,), pool=max_pool(2, 1, "same")), "max_pool"),
        (lambda i: Activation(name="extra", inputs=(i,), function=ReLU()), "activation"),
        (
            lambda i: DepthwiseConv2D(
                name="extra",
                inputs=(i,),
                kernel=np.ones((3, 3, 8), np.int8),
                weight_bits=4,
                weight_scale=np.ones((), np.float32),
            ),
            "depthwise_convolution",
        ),
    ],
)
def test_kinds_that_the_device_lacks_are_found(make, kind):
    findings = [f for f in check(with_layer(make), "AKD1000") if f.layer == "extra"]
    assert findings[0].op_type == kind and "has no layer of kind" in findings[0].reason


def test_reshaping_between_convolutions_is_found():
    def reshape(name, source, x, generator):
        return Reshape(name=name, inputs=(source,), shape=(8, 32, 8))

    findings = list(check(network(IMAGE, conv(8), reshape, conv(8)), "AKD1000"))
    assert [f.layer for f in findings] == ["layer_2"] and "1x1xC" in findings[0].reason


def test_a_report_reads_as_a_table_and_as_data():
    report = check(BAD["stride of 5x5"][0], "AKD1000")
    text = str(report)
    assert "breaks 1 rule of AKD1000" in text and "layer_2" in text and "what to do" in text
    data = json.loads(json.dumps(report.to_dict()))
    assert data["ok"] is False and data["findings"][0]["layer"] == "layer_2"


def test_a_float_network_is_refused():
    with pytest.raises(SpicaError, match="quantise it first"):
        check(Network((Input(name="input", shape=(4,)),), ("input",)), "AKD1000")
