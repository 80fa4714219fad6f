"""How Keras spells operations: one function for each layer, of (graph, name, Keras layer, the views that it reads).

``keras_time`` has those of clips. What a layer's ``activation`` argument adds is done for all by ``keras``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.ops.weighted import Window
from spica.frontends.registry import Operations
from spica.frontends.view import BATCH, View

op = LAYERS = Operations("Keras layer")

IDENTITIES = {
    "ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise", "Identity",
    "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
}  # fmt: skip
"""Layers that do nothing at inference."""

ALONG_CHANNELS = ("BatchNormalization", "Concatenate", "LayerNormalization", "Softmax")
"""Layers with an axis, which must be that of the channels."""


def array(weight: Any) -> NDArray[np.float32]:
    """Return a Keras variable of any backend as float32."""
    from keras import ops

    return np.array(ops.convert_to_numpy(weight), np.float32)


def optional(layer: Any, used: bool, weight: str) -> NDArray[np.float32] | None:
    """Return a weight that a layer may do without."""
    return array(getattr(layer, weight)) if used else None


def bias_of(layer: Any) -> NDArray[np.float32] | None:
    """Return a layer's bias, if it has one."""
    return optional(layer, layer.use_bias, "bias")


def in_space(layer: Any) -> Window:
    """Return how a convolution's window moves over an image: sizes of clips have time first."""
    return Window(strides=tuple(layer.strides[-2:]), padding=layer.padding, dilation=tuple(layer.dilation_rate[-2:]))


def function_of(layer: Any) -> str:
    """Return the name of a layer's activation, which Keras' own functions only have to themselves."""
    function = getattr(layer.activation, "__name__", str(layer.activation))
    own = getattr(layer.activation, "__module__", "").startswith("keras.")
    return function if own else f"{function} (not Keras' own)"


@op("Conv2D")
def _conv2d(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    return g.conv2d(x, array(layer.kernel), bias_of(layer), layer.groups, at=at, **in_space(layer))


@op("DepthwiseConv2D")
def _depthwise(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    return g.depthwise_conv2d(x, array(layer.kernel), bias_of(layer), at=at, **in_space(layer))


@op("SeparableConv2D")
def _separable(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    depthwise, pointwise = array(layer.depthwise_kernel), array(layer.pointwise_kernel)[0, 0]
    return g.separable_conv2d(x, depthwise, pointwise, bias_of(layer), at=at, **in_space(layer))


@op("Conv2DTranspose")
def _conv_transpose(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    refuse(at, layer.output_padding is not None, "output_padding", "leave it out")
    kernel = array(layer.kernel).transpose(0, 1, 3, 2)
    return g.conv_transpose2d(x, kernel, bias_of(layer), at=at, **in_space(layer))


@op("BatchNormalization")
def _batch_norm(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    gamma, beta = optional(layer, layer.scale, "gamma"), optional(layer, layer.center, "beta")
    mean, variance = array(layer.moving_mean), array(layer.moving_variance)
    return g.batch_norm(x, gamma, beta, mean, variance, layer.epsilon, at=at)


@op("Normalization")
def _normalization(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    mean, variance = (np.array(v, np.float32).reshape(-1) for v in (layer.mean, layer.variance))
    other = mean.size not in (1, x.sizes[-1]) or layer.invert
    refuse(at, other, "normalisation over other axes or inverted", "normalise the last axis")
    factor = 1 / np.maximum(np.sqrt(variance), 1e-7)
    return g.affine(x, factor, -mean * factor, at=at)


@op("LayerNormalization")
def _layer_norm(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    gamma, beta = optional(layer, layer.scale, "gamma"), optional(layer, layer.center, "beta")
    return g.layer_norm(x, gamma, beta, layer.epsilon, at=at)


@op("ReLU")
def _relu(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    refuse(at, layer.negative_slope or layer.threshold, "a ReLU with slope or threshold", "use a plain ReLU")
    return g.clip(x, 0, layer.max_value, at=at)


@op("MaxPooling2D")
def _max_pool(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    size, strides = tuple(layer.pool_size[-2:]), tuple(layer.strides[-2:])
    return g.max_pool(x, size, strides, layer.padding, at=at)


@op("AveragePooling2D")
def _average_pool(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    return g.average_pool(x, tuple(layer.pool_size), layer.padding, at=at).named(f"{at}/keepdims")


@op("GlobalAveragePooling1D", "GlobalAveragePooling2D")
def _global_average(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    return g.mean(x, range(1, x.numbers.ndim - 1), layer.keepdims, at=at).named(f"{at}/keepdims")


@op("Add")
def _add(g: GraphBuilder, at: str, layer: Any, total: View, *others: View) -> View:
    for i, other in enumerate(others, start=1):
        total = g.add(total, other, at=at if i == len(others) else f"{at}/{i}")
    return total


@op("MultiHeadAttention")
def _attention(g: GraphBuilder, at: str, layer: Any, x: View, *others: View) -> View:
    between = any(other.tensor != x.tensor or (other.numbers != x.numbers).any() for other in others)
    refuse(at, between, "attention between different tensors", "use self-attention")
    refuse(at, layer.key_dim != layer.value_dim, "values of another width than keys", "leave value_dim out")
    parts = []
    for part in ("query", "key", "value"):
        dense = getattr(layer, f"{part}_dense")
        bias = array(dense.bias).reshape(-1) if layer.use_bias else None
        parts.append(g.linear(x, array(dense.kernel).reshape(x.sizes[-1], -1), bias, at=f"{at}/{part}"))
    mixed, last = g.attention(*parts, heads=layer.num_heads, at=f"{at}/attend"), layer.output_dense
    bias = array(last.bias) if layer.use_bias else None
    return g.linear(mixed, array(last.kernel).reshape(-1, last.kernel.shape[-1]), bias, at=at)


@op("TokenEmbedding")
def _token_embedding(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    constants = array(layer.positions)
    if layer.class_token:
        constants[0] += array(layer.token)[0]
    return g.token_embedding(x, constants, class_token=layer.class_token, at=at)


@op("Cropping1D")
def _cropping(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    first, last = layer.cropping
    return g.narrowed(x.slice(1, first, x.sizes[0] - last).named(at), at)


LAYERS.update(
    {
        "Activation": lambda g, at, layer, x: g.activation(x, function_of(layer), at=at),
        "Concatenate": lambda g, at, layer, *parts: g.concat(parts, at=at),
        "Dense": lambda g, at, layer, x: g.linear(x, array(layer.kernel), bias_of(layer), at=at),
        "Flatten": lambda g, at, layer, x: x.flatten(1).named(at),
        "Permute": lambda g, at, layer, x: x.permute((0, *layer.dims)).named(at),
        "Rescaling": lambda g, at, layer, x: g.affine(x, layer.scale, layer.offset, at=at),
        "Reshape": lambda g, at, layer, x: x.reshape((BATCH, *layer.target_shape)).named(at),
        "Softmax": lambda g, at, layer, x: g.softmax(x, at=at),
        "ZeroPadding2D": lambda g, at, layer, x: g.pad(x, tuple(map(tuple, layer.padding)), at=at),
    }
)
