"""What each Keras layer becomes: records, by functions of (layer, name, input names, input shape)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import (
    Activation,
    Add,
    Attention,
    Concatenate,
    Conv2D,
    Dense,
    DepthwiseConv2D,
    Flatten,
    Gelu,
    GlobalAveragePooling2D,
    LayerNormalization,
    MaxPool,
    MaxPool2D,
    ReLU,
    Reshape,
    Scale,
    SeparableConv2D,
    Softmax,
    Take,
    TokenEmbedding,
    ZeroPad,
)
from spica.layers.weighted import WindowedLayer
from spica.network import Layer

Converter = Callable[[Any, str, tuple[str, ...], tuple[int, ...]], list[Layer]]

IDENTITIES = {
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "GaussianDropout",
    "GaussianNoise",
    "AlphaDropout",
    "ActivityRegularization",
    "Identity",
}
"""Layers that do nothing at inference."""

ALONG_CHANNELS = ("BatchNormalization", "Concatenate", "LayerNormalization", "Softmax")
"""Layers with an axis, which must be that of the channels."""

HINTS = {
    "AveragePooling2D": "use GlobalAveragePooling2D or a strided convolution",
    "LeakyReLU": "use ReLU",
    "PReLU": "use ReLU",
    "ELU": "use ReLU",
    "UpSampling2D": "use a transposed convolution",
    "LSTM": "hardware has no layer for its products of gates; spica.split leaves it to the host",
    "GRU": "hardware has no layer for its products of gates; spica.split leaves it to the host",
}
"""What to use instead of some layers that hardware does not have."""


def require(layer: Any, holds: bool, what: str, fix: str) -> None:
    if not holds:
        raise SpicaError(f"{layer.name}: {what} is not supported; {fix}")


def channels_last(layer: Any) -> None:
    require(layer, layer.data_format == "channels_last", "channels_first", "use channels_last")


def array(weight: Any) -> NDArray[np.float32]:
    """A Keras variable of any backend as float32."""
    from keras import ops

    return np.array(ops.convert_to_numpy(weight), np.float32)


def _check_convolution(layer: Any) -> None:
    channels_last(layer)
    require(layer, set(layer.dilation_rate) == {1}, f"dilation {layer.dilation_rate}", "use dilation 1")
    require(
        layer,
        getattr(layer, "groups", 1) == 1,
        f"a convolution in {getattr(layer, 'groups', 1)} groups",
        "use groups=1 or DepthwiseConv2D",
    )
    require(
        layer,
        getattr(layer, "depth_multiplier", 1) == 1,
        "depth_multiplier above 1",
        "use depth_multiplier=1",
    )


def bias_of(layer: Any) -> NDArray[np.float32] | None:
    return array(layer.bias) if layer.use_bias else None


def with_activation(layer: Any, record: Layer) -> list[Layer]:
    """The record, then its Keras ``activation`` argument as a record of its own."""
    name = getattr(layer.activation, "__name__", "activation")
    return [record, *_activation(layer, f"{record.name}/{name}", (record.name,))]


def _activation(layer: Any, name: str, inputs: tuple[str, ...]) -> list[Layer]:
    function = getattr(layer.activation, "__name__", str(layer.activation))
    if not getattr(layer.activation, "__module__", "").startswith("keras."):  # whatever it is called
        function = f"{function} (not Keras' own)"
    if function == "linear":
        return []
    if function == "relu":
        return [Activation(name=name, inputs=inputs, function=ReLU())]
    if function == "relu6":
        return [Activation(name=name, inputs=inputs, function=ReLU(max_value=np.array(6, np.float32)))]
    if function == "gelu":
        return [Gelu(name=name, inputs=inputs)]
    if function == "softmax":
        return [Softmax(name=name, inputs=inputs)]
    raise SpicaError(
        f"{layer.name}: activation {function!r} is not supported; use relu, relu6, gelu, linear or softmax"
    )


def convolution(
    layer: Any, kind: type[WindowedLayer], name: str, inputs: tuple[str, ...], **kernels: Any
) -> list[Layer]:
    """A convolution in space, of any kind, and its activation."""
    strides = tuple(layer.strides[-2:])
    parts = {"bias": bias_of(layer), "strides": strides, "padding": layer.padding} | kernels
    return with_activation(layer, kind(name=name, inputs=inputs, **parts))


def _conv2d(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    _check_convolution(layer)
    return convolution(layer, Conv2D, name, inputs, kernel=array(layer.kernel))


def _depthwise(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    _check_convolution(layer)
    return convolution(layer, DepthwiseConv2D, name, inputs, kernel=array(layer.kernel)[..., 0])


def _separable(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    _check_convolution(layer)
    depthwise, pointwise = array(layer.depthwise_kernel)[..., 0], array(layer.pointwise_kernel)[0, 0]
    return convolution(layer, SeparableConv2D, name, inputs, depthwise_kernel=depthwise, kernel=pointwise)


def _dense(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    kernel, bias = array(layer.kernel), bias_of(layer)
    if len(shape) == 3:  # a dense layer on an image acts on every pixel: a 1x1 convolution
        return with_activation(layer, Conv2D(name=name, inputs=inputs, kernel=kernel[None, None], bias=bias))
    return with_activation(layer, Dense(name=name, inputs=inputs, kernel=kernel, bias=bias))


def _batch_norm(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    mean, variance = array(layer.moving_mean), array(layer.moving_variance)
    scale = 1 / np.sqrt(variance + np.float32(layer.epsilon))
    if layer.scale:
        scale = scale * array(layer.gamma)
    offset = -mean * scale
    if layer.center:
        offset = offset + array(layer.beta)
    return [Scale(name=name, inputs=inputs, scale=scale.astype(np.float32), offset=offset.astype(np.float32))]


def _rescaling(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    scale, offset = (
        np.broadcast_to(np.asarray(v, np.float32), (shape[-1],)).copy() for v in (layer.scale, layer.offset)
    )
    return [Scale(name=name, inputs=inputs, scale=scale, offset=offset)]


def _normalization(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    mean, variance = (np.array(v, np.float32).reshape(-1) for v in (layer.mean, layer.variance))
    require(
        layer,
        mean.size in (1, shape[-1]) and not layer.invert,
        "normalisation over other axes or inverted",
        "normalise the last axis",
    )
    factor = 1 / np.maximum(np.sqrt(variance), 1e-7)
    scale, offset = (np.broadcast_to(v, (shape[-1],)).astype(np.float32) for v in (factor, -mean * factor))
    return [Scale(name=name, inputs=inputs, scale=scale, offset=offset)]


def _relu(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    require(
        layer,
        not layer.negative_slope and not layer.threshold,
        "a ReLU with slope or threshold",
        "use a plain ReLU",
    )
    bound = None if layer.max_value is None else np.array(layer.max_value, np.float32)
    return [Activation(name=name, inputs=inputs, function=ReLU(max_value=bound))]


def _activation_layer(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    return _activation(layer, name, inputs)


def _max_pool(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    channels_last(layer)
    pool = MaxPool(size=tuple(layer.pool_size), strides=tuple(layer.strides), padding=layer.padding)
    return [MaxPool2D(name=name, inputs=inputs, pool=pool)]


def _global_average(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    channels_last(layer)
    pooled = GlobalAveragePooling2D(name=name, inputs=inputs)
    if not layer.keepdims:
        return [pooled]
    return [pooled, Reshape(name=f"{name}/keepdims", inputs=(name,), shape=(1, 1, shape[-1]))]


def _average_pool(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    channels_last(layer)
    whole = tuple(layer.pool_size) == shape[:2] and layer.padding == "valid"
    require(
        layer, whole, "average pooling over part of an image", "use GlobalAveragePooling2D or a strided convolution"
    )
    pooled = GlobalAveragePooling2D(name=name, inputs=inputs)
    return [pooled, Reshape(name=f"{name}/keepdims", inputs=(name,), shape=(1, 1, shape[-1]))]


def _flatten(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    return [Flatten(name=name, inputs=inputs)]


def _reshape(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    target = list(layer.target_shape)
    if -1 in target:
        target[target.index(-1)] = -int(np.prod(shape)) // int(np.prod(target))
    return [Reshape(name=name, inputs=inputs, shape=tuple(target))]


def _add(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    chain: list[Layer] = []
    total = inputs[0]
    for i, other in enumerate(inputs[1:], start=1):
        label = name if i == len(inputs) - 1 else f"{name}/{i}"
        chain.append(Add(name=label, inputs=(total, other)))
        total = label
    return chain


def _concatenate(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    return [Concatenate(name=name, inputs=inputs)]


def _zero_pad(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    return [ZeroPad(name=name, inputs=inputs, padding=(tuple(layer.padding[0]), tuple(layer.padding[1])))]


def _token_embedding(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    constants = array(layer.positions)
    if layer.class_token:
        constants[0] += array(layer.token)[0]
    return [TokenEmbedding(name=name, inputs=inputs, class_token=layer.class_token, constants=constants)]


def _layer_norm(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    gamma = array(layer.gamma) if layer.scale else np.ones(shape[-1], np.float32)
    beta = array(layer.beta) if layer.center else np.zeros(shape[-1], np.float32)
    return [LayerNormalization(name=name, inputs=inputs, gamma=gamma, beta=beta, epsilon=float(layer.epsilon))]


def _attention(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    require(layer, len(set(inputs)) == 1, "attention between different tensors", "use self-attention")
    require(layer, layer.key_dim == layer.value_dim, "values of another width than keys", "leave value_dim out")
    parts: list[Layer] = []
    for part in ("query", "key", "value"):
        dense = getattr(layer, f"{part}_dense")
        bias = array(dense.bias).reshape(-1) if layer.use_bias else None
        kernel = array(dense.kernel).reshape(shape[-1], -1)
        parts.append(Dense(name=f"{name}/{part}", inputs=inputs[:1], kernel=kernel, bias=bias))
    mixed = Attention(name=f"{name}/attend", inputs=tuple(p.name for p in parts), heads=layer.num_heads)
    last = layer.output_dense
    kernel = array(last.kernel).reshape(-1, last.kernel.shape[-1])
    end = Dense(name=name, inputs=(mixed.name,), kernel=kernel, bias=array(last.bias) if layer.use_bias else None)
    return [*parts, mixed, end]


def _cropping(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    first, last = layer.cropping
    return [Take(name=name, inputs=inputs, axis=0, start=first, stop=shape[0] - last)]


def _softmax(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    return [Softmax(name=name, inputs=inputs)]


CONVERTERS: dict[str, Converter] = {
    "Activation": _activation_layer,
    "Add": _add,
    "AveragePooling2D": _average_pool,
    "BatchNormalization": _batch_norm,
    "Concatenate": _concatenate,
    "Cropping1D": _cropping,
    "Conv2D": _conv2d,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "Flatten": _flatten,
    "GlobalAveragePooling2D": _global_average,
    "LayerNormalization": _layer_norm,
    "MaxPooling2D": _max_pool,
    "MultiHeadAttention": _attention,
    "Normalization": _normalization,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "Reshape": _reshape,
    "SeparableConv2D": _separable,
    "Softmax": _softmax,
    "TokenEmbedding": _token_embedding,
    "ZeroPadding2D": _zero_pad,
}
