"""Keras' spellings of operations: one function for each layer, of (graph, name, Keras layer, the views that it reads).

Some are of clips ``(T, ...)``, of which a network has one frame: the layers of ``spica.keras``, a causal ``Conv1D``,
and a ``Conv3D`` over time alone whose clips ``ZeroPadding3D`` lets begin with zeros. A ``Conv3D`` of single frames is a
``Conv2D``. What a layer's ``activation`` argument adds is done for all by ``keras``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.frontends import patterns
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.ops.weighted import Window
from spica.frontends.registry import Operations
from spica.frontends.view import BATCH, View, same

Weight = NDArray[np.float32]

NO_PAD = (0, 0)

op = OPERATIONS = Operations("Keras layer")

IDENTITIES = {
    "ActivityRegularization", "AlphaDropout", "AugMix", "CutMix", "Dropout",
    "GaussianDropout", "GaussianNoise", "Identity", "MixUp", "RandAugment", "RandomBrightness",
    "RandomColorDegeneration", "RandomColorJitter", "RandomContrast", "RandomElasticTransform", "RandomErasing",
    "RandomFlip", "RandomGaussianBlur", "RandomGrayscale", "RandomHue", "RandomInvert", "RandomPerspective",
    "RandomPosterization", "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear",
    "RandomTranslation", "RandomZoom", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
}  # fmt: skip
"""Layers that do nothing at inference."""

ALONG_CHANNELS = ("BatchNormalization", "GroupNormalization", "LayerNormalization")
"""Layers with an axis, which must be that of the channels."""

IN_FRAMES = ("Concatenate", "Softmax")
"""Those of which the same holds where a network reads one frame of a clip."""


def array(weight: Any) -> Weight:
    """Return a Keras variable of any backend as float32."""
    if isinstance(weight, np.ndarray):
        return weight.astype(np.float32)
    from keras import ops

    return np.array(ops.convert_to_numpy(weight), np.float32)


def kernel_bias(layer: Any) -> tuple[Weight, Weight | None]:
    """Return a layer's kernel, and its bias if it has one."""
    return array(layer.kernel), array(layer.bias) if layer.use_bias else None


def gamma_beta(layer: Any) -> tuple[Weight | None, Weight | None]:
    """Return the factors and offsets of a normalisation, which may do without either."""
    return array(layer.gamma) if layer.scale else None, array(layer.beta) if layer.center else None


def in_space(layer: Any) -> Window:
    """Return how a convolution's window moves over an image: sizes of clips have time first."""
    return Window(strides=tuple(layer.strides[-2:]), padding=layer.padding, dilation=tuple(layer.dilation_rate[-2:]))


PARAMETERS = {"leaky_relu": (0.2,)}
"""Parameters that functions of ``keras.activations`` have by themselves, where ours have others."""


def activate(g: GraphBuilder, at: str, layer: Any, x: View, name: str = "") -> View:
    """Apply the activation of a layer; ``name`` is that of the layer that it becomes."""
    function = function_of(layer)
    return g.activation(x, function, *PARAMETERS.get(function, ()), at=at, name=name)


def along_row(layer: Any) -> Window:
    """Return how the window of a 1-D convolution moves over an image of one row; a causal one has zeros before."""
    step, (size,) = layer.dilation_rate[-1], layer.kernel_size
    padding = ((0, 0), ((size - 1) * step, 0)) if layer.padding == "causal" else layer.padding
    return Window(strides=(1, layer.strides[-1]), padding=padding, dilation=(1, step))


def function_of(layer: Any) -> str:
    """Return the name of a layer's activation; see ``function_name``."""
    return function_name(layer.activation)


def function_name(activation: Any) -> str:
    """Return the name of an activation, which those of ``keras.activations`` only have to themselves.

    Functions of ``keras.ops`` are the same but for GELU, which is by tanh there.
    """
    if isinstance(activation, str):  # of a file, in which others than Keras' own have the package before
        return activation
    function = getattr(activation, "__name__", str(activation))
    module = getattr(activation, "__module__", "")
    if module.startswith("keras.") and ".activations" in module:
        return function
    if module.startswith("keras.") and ".ops" in module:
        return function if function != "gelu" else "gelu_tanh"
    return f"{function} (not Keras' own)"


def axis_of(g: Any, layer: Any) -> int:
    """Return a layer's axis, counted with the batch: the channels', where a network reads one frame of a clip."""
    (axis,) = layer.axis if isinstance(layer.axis, list | tuple) else (layer.axis,)
    return -1 if g.over_time else int(axis)


def kind_of(layer: Any) -> str:
    """Return the name of a layer's class: "CausalConv1D" of a ``Conv1D`` that looks back."""
    kind = type(layer).__name__
    return "CausalConv1D" if kind == "Conv1D" and layer.padding == "causal" else kind


@op("SeparableConv2D")
def _separable(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    depthwise, pointwise = array(layer.depthwise_kernel), array(layer.pointwise_kernel)[0, 0]
    bias = array(layer.bias) if layer.use_bias else None
    return g.separable_conv2d(x, depthwise, pointwise, bias, at=at, **in_space(layer))


@op("Conv2DTranspose")
def _conv_transpose(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    refuse(at, layer.output_padding is not None, "output_padding", "leave it out")
    kernel, bias = kernel_bias(layer)
    return g.conv_transpose2d(x, kernel.transpose(0, 1, 3, 2), bias, at=at, **in_space(layer))


@op("BatchNormalization")
def _batch_norm(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    mean, variance = array(layer.moving_mean), array(layer.moving_variance)
    return g.batch_norm(x, *gamma_beta(layer), mean, variance, layer.epsilon, at=at)


@op("Normalization")
def _normalization(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    mean, variance = array(layer.mean), array(layer.variance)  # with axes of one where they spread
    axes = () if layer.axis is None else np.atleast_1d(layer.axis)
    if mean.ndim == len(axes) != x.numbers.ndim:  # of a file, which keeps only the axes that have values
        sizes = dict(zip((int(axis) % x.numbers.ndim for axis in axes), mean.shape))
        mean, variance = (a.reshape([sizes.get(i, 1) for i in range(x.numbers.ndim)]) for a in (mean, variance))
    deviation = np.maximum(np.sqrt(variance), np.float32(1e-7))
    if layer.invert:
        return g.affine(x, deviation, mean, at=at)
    return g.affine(x, 1 / deviation, -mean / deviation, at=at)


@op("ReLU")
def _relu(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    bounded = layer.negative_slope and layer.max_value is not None
    refuse(at, layer.threshold or bounded, "a ReLU with a threshold, or a slope and a bound", "use one of these alone")
    if layer.negative_slope:
        return g.leaky_relu(x, layer.negative_slope, at=at)
    return g.clip(x, 0, layer.max_value, at=at)


@op("PReLU")
def _prelu(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    return g.leaky_relu(x, array(layer.alpha), at=at)


@op("MaxPooling2D")
def _max_pool(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    size, strides = tuple(layer.pool_size[-2:]), tuple(layer.strides[-2:])
    return g.max_pool(x, size, strides, layer.padding, at=at)


@op("MaxPooling1D")
def _max_pool1d(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    size, strides = (1, layer.pool_size[0]), (1, layer.strides[0])
    return g.max_pool(x.unsqueeze(1), size, strides, layer.padding, at=at).squeeze(1)


@op("AveragePooling2D")
def _average_pool(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    size, strides = tuple(layer.pool_size), tuple(layer.strides)
    return g.average_pool(x, size, strides, layer.padding, at=at).named(f"{at}/keepdims")


@op("AveragePooling1D")
def _average_pool1d(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    size, strides = (1, layer.pool_size[0]), (1, layer.strides[0])
    return g.average_pool(x.unsqueeze(1), size, strides, layer.padding, at=at).squeeze(1)


@op("GlobalMaxPooling1D", "GlobalMaxPooling2D")
def _global_max(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    image = x if x.numbers.ndim == 4 else x.unsqueeze(1)
    made = g.global_max_pool(image, at=at).named(f"{at}/keepdims")
    return made.flatten(1) if not layer.keepdims else made if x.numbers.ndim == 4 else made.squeeze(1)


@op("UpSampling2D")
def _upsample(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    other = layer.interpolation not in ("nearest", "bilinear")
    refuse(at, other, f"up-sampling by {layer.interpolation!r}", "use nearest or bilinear")
    return g.upsample(x, tuple(layer.size), bilinear=layer.interpolation == "bilinear", at=at)


@op("Conv1D")
def _conv1d(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    (kernel, bias), groups = kernel_bias(layer), layer.groups
    return g.conv2d(x.unsqueeze(1), kernel[None], bias, groups, at=at, **along_row(layer)).squeeze(1)


@op("DepthwiseConv1D")
def _depthwise1d(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    kernel, bias = kernel_bias(layer)
    return g.depthwise_conv2d(x.unsqueeze(1), kernel[None], bias, at=at, **along_row(layer)).squeeze(1)


@op("SeparableConv1D")
def _separable1d(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    depthwise, pointwise = array(layer.depthwise_kernel)[None], array(layer.pointwise_kernel)[0]
    bias = array(layer.bias) if layer.use_bias else None
    return g.separable_conv2d(x.unsqueeze(1), depthwise, pointwise, bias, at=at, **along_row(layer)).squeeze(1)


@op("GroupNormalization")
def _group_norm(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    groups = x.sizes[-1] if layer.groups == -1 else layer.groups
    return g.group_norm(x, groups, *gamma_beta(layer), layer.epsilon, at=at)


@op("Cropping2D")
def _cropping2d(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    (top, bottom), (left, right) = layer.cropping
    return g.pad(x, ((-top, -bottom), (-left, -right)), at=at).named(at)


@op("Subtract")
def _subtract(g: GraphBuilder, at: str, layer: Any, x: View, y: View) -> View:
    return patterns.subtract(g, at, x, y)


@op("Average")
def _average(g: GraphBuilder, at: str, layer: Any, *parts: View) -> View:
    return g.affine(_add(g, f"{at}/sum", layer, *parts), 1 / len(parts), 0, at=at)


@op("Multiply")
def _multiply(g: GraphBuilder, at: str, layer: Any, product: View, *others: View) -> View:
    for i, other in enumerate(others, start=1):
        product = g.multiply(product, other, at=at if i == len(others) else f"{at}/{i}")
    return product


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
    between = any(other.tensor != x.tensor or not same(other.numbers, x.numbers) for other in others)
    refuse(at, between, "attention between different tensors", "use self-attention")
    refuse(at, layer.key_dim != layer.value_dim, "values of another width than keys", "leave value_dim out")
    for option in ("use_gate", "sliding_window"):
        refuse(at, bool(getattr(layer, option, None)), f"attention with {option}", "leave it out")

    def project(x: View, dense: Any, *shape: int, at: str) -> View:
        bias = array(dense.bias).reshape(-1) if layer.use_bias else None
        return g.linear(x, array(dense.kernel).reshape(shape), bias, at=at)

    parts = [
        project(x, getattr(layer, f"{part}_dense"), x.sizes[-1], -1, at=f"{at}/{part}")
        for part in ("query", "key", "value")
    ]
    mixed, last = g.attention(*parts, heads=layer.num_heads, at=f"{at}/attend"), layer.output_dense
    return project(mixed, last, -1, last.kernel.shape[-1], at=at)


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


@op("CausalConv1D")
def _causal(g: Any, at: str, layer: Any, x: View) -> View:
    if not g.over_time:
        return _conv1d(g, at, layer, x)
    refuse(at, set(layer.strides) != {1}, "a stride over time", "leave it out")
    return g.conv1d_causal(x, *kernel_bias(layer), layer.groups, layer.dilation_rate[0], at=at)


@op("Conv3D")
def _conv3d(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    """Over time alone, or of single frames."""
    (kernel, bias), space = kernel_bias(layer), in_space(layer)
    frames, *window = kernel.shape[:3]
    refuse(
        at, frames > 1 and set(window) != {1}, f"a kernel {layer.kernel_size} over time and space",
        f"use two layers, with kernels ({frames}, 1, 1) and (1, {window[0]}, {window[1]})",
    )  # fmt: skip
    moves = layer.strides[0] > 1 or (frames > 1 and (set(space["strides"]) != {1} or layer.padding != "valid"))
    refuse(at, moves, "a stride over time, or padding other than before the first frame", "leave it out")
    if frames == 1:
        return g.conv2d(x, kernel[0], bias, layer.groups, at=at, **space)
    return g.conv1d_causal(x, kernel[:, 0, 0], bias, layer.groups, layer.dilation_rate[0], at=at)


@op("MaxPooling3D")
def _max_pool3d(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    frames, *size = layer.pool_size
    over = not frames == layer.strides[0] == 1
    refuse(at, over, "pooling over time", f"use pool_size=(1, {size[0]}, {size[1]})")
    return _max_pool(g, at, layer, x)


def _layer_norm(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    refuse(at, bool(getattr(layer, "rms_scaling", False)), "rms_scaling", "use plain layer normalisation")
    return g.layer_norm(x, *gamma_beta(layer), layer.epsilon, at=at)


OPERATIONS |= {
    "Activation": activate,
    "Concatenate": lambda g, at, layer, *parts: g.concat(parts, axis_of(g, layer), at=at),
    "Conv2D": lambda g, at, layer, x: g.conv2d(x, *kernel_bias(layer), layer.groups, at=at, **in_space(layer)),
    "Dense": lambda g, at, layer, x: g.linear(x, *kernel_bias(layer), at=at),
    "DepthwiseConv2D": lambda g, at, layer, x: g.depthwise_conv2d(x, *kernel_bias(layer), at=at, **in_space(layer)),
    "DepthwiseTemporalConv": lambda g, at, layer, x: g.depthwise_temporal(x, *kernel_bias(layer), at=at),
    "DiagonalSSM": lambda g, at, layer, x: g.ssm(x, *map(array, layer.factors), at=at),
    "ELU": lambda g, at, layer, x: g.function(x, "elu", layer.alpha, at=at),
    "Flatten": lambda g, at, layer, x: x.flatten(1).named(at),
    "LayerScale": lambda g, at, layer, x: g.affine(x, array(layer.gamma), 0, at=at),
    "LeakyReLU": lambda g, at, layer, x: g.leaky_relu(x, layer.negative_slope, at=at),
    "LayerNormalization": _layer_norm,
    "Permute": lambda g, at, layer, x: x.permute((0, *layer.dims)).named(at),
    "Rescaling": lambda g, at, layer, x: g.affine(x, layer.scale, layer.offset, at=at),
    "Reshape": lambda g, at, layer, x: x.reshape((BATCH, *layer.target_shape)).named(at),
    "Softmax": lambda g, at, layer, x: g.softmax(x, axis_of(g, layer), at=at),
    "TemporalConv": lambda g, at, layer, x: g.conv1d_causal(x, *kernel_bias(layer), at=at),
    "UpSampling1D": lambda g, at, layer, x: g.upsample(x.unsqueeze(1), (1, layer.size), at=at).squeeze(1),
    "ZeroPadding1D": lambda g, at, layer, x: g.pad(x.unsqueeze(1), (NO_PAD, tuple(layer.padding)), at=at).squeeze(1),
    "ZeroPadding2D": lambda g, at, layer, x: g.pad(x, tuple(map(tuple, layer.padding)), at=at),
    # Zeros before the first frame are what a layer that looks back starts with.
    "ZeroPadding3D": lambda g, at, layer, x: g.pad(x, tuple(map(tuple, layer.padding[1:])), at=at),
}
