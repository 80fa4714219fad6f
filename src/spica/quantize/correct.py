"""Taking the mean error of rounding out of the biases, without labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from spica.engine.run import compute, make_ops
from spica.layers import Neural
from spica.network import Layer, Network, TensorType
from spica.network.record import forward_float, infer
from spica.progress import progress
from spica.quantize.rounding import quantize_bias

SAMPLES = 256


def correct_biases(
    net: Network, integer: Network, real: NDArray[np.float32], samples: NDArray, show: bool | None
) -> Network:
    """Shift each bias so that every filter's accumulator has the mean it has in the float network.

    Both networks run side by side, layer by layer, so that each correction sees the errors that remain before it.

    Args:
        net: the float network that ``integer`` was made from: the same layers in the same order.
        integer: its integer form.
        real: what the float network reads (N, ...).
        samples: the same samples as integers.
        show: whether to show a progress bar.
    """
    ops = make_ops("native", None)
    floats = {net.inputs[0].name: real[:SAMPLES]}
    integers = {integer.inputs[0].name: samples[:SAMPLES]}
    types = dict(integer.types)
    corrected: list[Layer] = []
    for layer in progress(integer.layers, "correcting biases", show):
        if layer.inputs and layer.name in net.types:
            twin, read, kinds = (
                net[layer.name],
                [integers[i] for i in layer.inputs],
                [types[i] for i in layer.inputs],
            )
            if isinstance(layer, Neural) and isinstance(twin, Neural):
                wanted = forward_float(bare(twin), [floats[i] for i in twin.inputs])
                layer = _corrected(layer, wanted, read, kinds, ops)
            floats[layer.name] = forward_float(twin, [floats[i] for i in twin.inputs])
            integers[layer.name] = compute(layer, read, kinds, ops)
        corrected.append(layer)
    return Network(tuple(corrected), integer.outputs, integer.name)


def bare(layer: Neural) -> Neural:
    """The layer up to its bias: no pooling, activation or output stage."""
    return replace(layer, pool=None, activation=None, requantize=None)


def _corrected(layer: Neural, wanted: NDArray, read: list[NDArray], kinds: list[TensorType], ops) -> Neural:
    plain = bare(layer)
    kind = infer(plain, kinds)
    got = kind.to_float(compute(plain, read, kinds, ops))
    axes = tuple(range(wanted.ndim - 1))
    error = wanted.mean(axis=axes, dtype=np.float64) - got.mean(axis=axes, dtype=np.float64)
    step = np.broadcast_to(np.ldexp(kind.scale.astype(np.float64), -kind.frac_bits), error.shape)
    bias = 0 if layer.bias is None else layer.bias * step
    return replace(layer, bias=quantize_bias(bias + error, step))
