"""Networks whose costs on AKD1500 are published: their layers, and what each layer receives.

Only shapes and bits matter to the hardware model, so weights are random. Sparsities are published layer by layer for
some networks. For others only the mean over the layers' outputs is: the profile of the nearest network whose layers are
known is then scaled to that mean, and rows say "scaled".
"""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "tests"))

from spica import zoo  # noqa: E402
from spica.hardware import specs  # noqa: E402
from spica.layers import GlobalAverage  # noqa: E402
from spica.layers.weighted import WeightedLayer  # noqa: E402
from spica.network import Layer, Network  # noqa: E402
from spica.zoo.builders.backbone import BLOCKS  # noqa: E402
from support.chip_networks import Maker, conv, dense, depthwise, max_pool, network, quantized, separable  # noqa: E402


def read(name: str) -> list[dict[str, str]]:
    with open(HERE / name, newline="") as file:
        return list(csv.DictReader(file))


NONZERO_WEIGHTS = 0.465
"""Share of weights that are not zero in these networks: it is not published; this one gives their measured energies."""


def build(name: str) -> Network:
    """The network of a row of networks.csv."""
    net, generator = shapes(name), np.random.default_rng(0)

    def thin(layer: Layer) -> Layer:
        if not isinstance(layer, WeightedLayer):
            return layer
        return replace(layer, kernel=layer.kernel * (generator.random(layer.kernel.shape) < NONZERO_WEIGHTS))

    return net.with_layers(map(thin, net))


def shapes(name: str) -> Network:
    """The same with other weights."""
    if name.startswith("akidanet_imagenet"):
        alpha, resolution = name.split("_")[2:]
        return quantized(zoo.akidanet(int(alpha) / 100, int(resolution)))
    if name.startswith("akidanet_vww"):
        return quantized(zoo.akidanet(0.25, 96, 2))
    if name == "akidanet_plant_village_50_224":
        return plant_village()
    if name == "ds_cnn_speech_commands":
        body = [separable(64) for _ in range(3)]
        return network((49, 10, 1), conv(64, 5, 2, weights=8), *body, separable(64, pool=GlobalAverage()), dense(12))
    if name == "bearing_uored":
        blocks = [conv(filters, pool=max_pool(2, 2, "same")) for filters in (32, 64, 64, 64, 96)]
        stem = conv(16, 7, padding="valid", weights=8, pool=max_pool())
        end = (conv(128, pool=GlobalAverage()), dense(512, activations=4), dense(4))
        return network((300, 140, 1), stem, *blocks, *end)
    if name.startswith("arrhythmia"):
        pools = [separable(32, 5, pool=max_pool(2, 2, "same")), separable(64, 5, pool=max_pool(2, 2, "same"))]
        end = separable(128, 5, pool=GlobalAverage())
        return network((36, 32, 1), conv(16, 5, weights=8), *pools, end, dense(64, activations=4), dense(3))
    assert name == "yolov2_voc_224"
    strides = [(32, 1), (64, 2), (64, 1), (128, 2), (128, 1), (256, 2), *[(256, 1)] * 5, (512, 2), (512, 1)]
    body = [(conv if i < 3 else separable)(f, strides=s) for i, (f, s) in enumerate(strides)]
    return network((224, 224, 3), conv(16, strides=2, weights=8), *body, *[separable(1024)] * 3, separable(125))


def plant_village() -> Network:
    """AkidaNet 0.5 at 224 with two dense layers, 512 and 38, at its end."""
    blocks = [(width // 2, stride) for width, stride in BLOCKS]
    body = [(conv if i < 3 else separable)(f, strides=s) for i, (f, s) in enumerate(blocks[:-1])]
    end = [separable(512, pool=GlobalAverage()), dense(512, activations=4), dense(38)]
    return network((224, 224, 3), conv(16, strides=2, weights=8), *body, *end)


def second_generation(
    family: str, alpha: float, resolution: int, bits: int, relu_between: bool, ends: list[int]
) -> Network:
    """AkidaNet or MobileNetV1 as the second generation has them: depthwise and pointwise layers apart.

    Depthwise outputs that no ReLU follows are 8 bits wide in 4-bit networks too.
    """
    blocks = [(int(width * alpha), stride) for width, stride in BLOCKS]
    full = 3 if family == "akidanet" else 0
    between = {"activations": bits if relu_between else 8, "bounded": False}
    body: list[Maker] = []
    for i, (filters, stride) in enumerate(blocks):
        pool = GlobalAverage() if i == len(blocks) - 1 else None
        if i < full:
            body.append(conv(filters, strides=stride, weights=bits, activations=bits))
        else:
            body += [
                depthwise(strides=stride, weights=bits, **between),
                conv(filters, 1, weights=bits, activations=bits, pool=pool),
            ]
    heads = [dense(units, weights=bits, activations=bits) for units in ends[:-1]]
    first = conv(int(32 * alpha), strides=2, weights=8, activations=bits)
    return network((resolution, resolution, 3), first, *body, *heads, dense(ends[-1], weights=bits))


NEAREST = {
    "akidanet_imagenet_100_160": "akidanet_imagenet_100_224",
    "akidanet_vww_25_96": "akidanet_imagenet_25_160",
    "arrhythmia_naive": "arrhythmia_inter",
}
"""Networks of which only a mean is published, and the one whose profile is scaled to it."""


def densities(name: str, net: Network, mean_sparsity: float) -> tuple[dict[str, float], str]:
    """Share of non-zero values that each layer receives, and whether that is "published", "scaled" or "uniform"."""
    layers = [layer.name for layer in net if layer.inputs and specs(net)[layer.name].op_type]
    if name == "akidanet_vww_25_96_dense":
        return dict.fromkeys(layers, 1.0), "published"
    if name == "bearing_uored":  # the mean of all outputs
        return dict.fromkeys(layers, 1 - mean_sparsity / 100), "uniform"
    if name not in NEAREST:
        return dict(zip(layers, profile(name))), "published"
    # The published mean is over the outputs of all layers, the last one's being almost dense.
    near = np.array(profile(NEAREST[name])[1:])
    goal = (len(layers) * (1 - mean_sparsity / 100) - 0.995) / (len(layers) - 1)
    return dict(zip(layers, [1.0, *np.clip(near * goal / near.mean(), 0, 1)])), "scaled"


def profile(name: str) -> list[float]:
    """Published share of non-zero values that each layer of a network receives, in order."""
    model = name.replace("akidanet_imagenet_", "imagenet_a")
    if rows := [r for r in read("layers.csv") if r["model"] == model]:
        return [1 - float(r["input_sparsity_percent"]) / 100 for r in rows]
    return [1.0, *(1 - float(r["output_sparsity"]) for r in read("densities.csv") if r["network"] == name)]
