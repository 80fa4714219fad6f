"""Keras layers of clips ``(T, ...)``, and what they become in a network of one frame.

Those that look back: the layers of ``spica.keras``, a causal ``Conv1D``, and a ``Conv3D`` over time alone whose
clips ``ZeroPadding3D`` lets begin with zeros. A ``Conv3D`` of single frames is a ``Conv2D``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.frontends.keras_layers import Converter, array, bias_of, channels_last, convolution, require, with_activation
from spica.layers import (
    BufferTempConv,
    Conv2D,
    DepthwiseBufferTempConv,
    DepthwiseConv2D,
    DiagonalRecurrence,
    MaxPool,
    MaxPool2D,
    Reshape,
    ZeroPad,
)
from spica.network import Layer

OVER_TIME = {"Conv3D", "DepthwiseTemporalConv", "DiagonalSSM", "TemporalConv", "TimeDistributed"}
"""Layers by which a model is known to read clips."""

HINTS = {
    "Conv1D": 'over time use padding="causal"; else reshape to an image of height 1 and use Conv2D',
    "GlobalAveragePooling1D": "over time leave it out, and train on labels for every frame; of tokens read one out",
    "GlobalAveragePooling3D": "leave the average over time out, and train on labels for every frame",
}


def is_over_time(layer: Any) -> bool:
    """Whether a model with this layer reads clips."""
    return type(layer).__name__ in OVER_TIME or _is_causal(layer)


def takes_clips(layer: Any) -> bool:
    """Whether a layer, as it is, does the same to a clip as to each of its frames, or looks back."""
    return type(layer).__name__ in {*CONVERTERS, *PER_FRAME} - {"Conv1D"} or _is_causal(layer)


def zeros_before(layer: Any) -> int:
    """Frames of zeros that a layer lets its clips begin with."""
    if type(layer).__name__ != "ZeroPadding3D":
        return 0
    front, back = layer.padding[0]
    require(layer, not back, "padding after the last frame", f"use (({front + back}, 0), ...)")
    return front


def check_beginning(layer: Any, zeros: int) -> None:
    """Refuse a layer that does not look back as many frames as its clips begin with zeros.

    Then its output would be of other frames than its input.
    """
    frames = 1
    if type(layer).__name__ == "Conv3D":
        frames += (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
    need = f"put ZeroPadding3D((({frames - 1}, 0), (0, 0), (0, 0))) before it" if frames > 1 else "leave them out"
    require(layer, frames == zeros + 1, f"an output of {frames} frames where clips begin with {zeros} of zeros", need)


def _temporal(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    depthwise = type(layer).__name__ == "DepthwiseTemporalConv"
    return _looking_back(name, inputs, shape, array(layer.kernel), bias_of(layer), depthwise)


def _is_causal(layer: Any) -> bool:
    return type(layer).__name__ == "Conv1D" and layer.padding == "causal"


def _conv1d(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    require(layer, _is_causal(layer), f'a Conv1D with padding "{layer.padding}"', HINTS["Conv1D"])
    require(layer, layer.groups == 1 and set(layer.strides) == {1}, "a stride or groups", "leave them out")
    channels_last(layer)
    kernel = _spaced(array(layer.kernel), layer.dilation_rate[0])
    *before, record = _looking_back(name, inputs, shape, kernel, bias_of(layer), depthwise=False)
    return [*before, *with_activation(layer, record)]


def _conv3d(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    """Over time alone, or of single frames; with as many groups as channels, depthwise."""
    kernel, (_, *strides), (_, *dilation) = array(layer.kernel), layer.strides, layer.dilation_rate
    frames, *window = kernel.shape[:3]
    depthwise = layer.groups > 1
    channels_last(layer)
    require(
        layer, frames == 1 or set(window) == {1}, f"a kernel {layer.kernel_size} over time and space",
        f"use two layers, with kernels ({frames}, 1, 1) and (1, {window[0]}, {window[1]})",
    )  # fmt: skip
    plain = layer.strides[0] == 1 and (frames == 1 or (set(strides) == {1} and layer.padding == "valid"))
    require(layer, plain, "a stride over time, or padding other than before the first frame", "leave it out")
    require(layer, set(dilation) == {1}, f"dilation {layer.dilation_rate}", "use dilation over time alone")
    one_each = layer.groups in (1, shape[-1]) and (not depthwise or layer.filters == layer.groups)
    require(layer, one_each, f"a convolution in {layer.groups} groups", "use 1 group, or a filter for each channel")
    if frames > 1:
        taps = _spaced(kernel[:, 0, 0, 0] if depthwise else kernel[:, 0, 0], layer.dilation_rate[0])
        *before, record = _looking_back(name, inputs, shape, taps, bias_of(layer), depthwise)
        return [*before, *with_activation(layer, record)]
    if depthwise:
        return convolution(layer, DepthwiseConv2D, name, inputs, kernel=kernel[0, :, :, 0])
    return convolution(layer, Conv2D, name, inputs, kernel=kernel[0])


def _pad3d(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    """Around each frame; zeros before the first are what a layer that looks back starts with."""
    rows, columns = (tuple(pair) for pair in layer.padding[1:])
    return [ZeroPad(name=name, inputs=inputs, padding=(rows, columns))] if any(rows + columns) else []


def _max_pool3d(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    (frames, *size), (step, *strides) = layer.pool_size, layer.strides
    channels_last(layer)
    require(layer, frames == step == 1, "pooling over time", f"use pool_size=(1, {size[0]}, {size[1]})")
    pool = MaxPool(size=tuple(size), strides=tuple(strides), padding=layer.padding)
    return [MaxPool2D(name=name, inputs=inputs, pool=pool)]


def _diagonal_ssm(layer: Any, name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    real, imaginary = (array(part) for part in layer.factors)
    step: list[Layer] = []
    if len(shape) != 2:  # plain channels, or an image of one pixel
        step = [Reshape(name=f"{name}/step", inputs=inputs, shape=(1, shape[-1]))]
        inputs = (step[0].name,)
    return [*step, DiagonalRecurrence(name=name, inputs=inputs, a_real=real, a_imag=imaginary)]


def _spaced(taps: NDArray[np.float32], dilation: int) -> NDArray[np.float32]:
    """Taps with zeros for the frames that a dilated kernel skips."""
    kernel = np.zeros(((len(taps) - 1) * dilation + 1, *taps.shape[1:]), np.float32)
    kernel[::dilation] = taps
    return kernel


def _looking_back(
    name: str, inputs: tuple[str, ...], shape: tuple[int, ...], kernel: NDArray, bias: NDArray | None, depthwise: bool
) -> list[Layer]:
    """A layer with a buffer of frames, which are images: plain channels become one pixel."""
    image = as_image(name, inputs, shape)
    inputs = (image[0].name,) if image else inputs
    kind = DepthwiseBufferTempConv if depthwise else BufferTempConv
    return [*image, kind(name=name, inputs=inputs, kernel=kernel, bias=bias)]


def as_image(name: str, inputs: tuple[str, ...], shape: tuple[int, ...]) -> list[Layer]:
    """What makes an image of one pixel of plain channels, or of a stretch of one step."""
    point = len(shape) < 3 and set(shape[:-1]) <= {1}
    return [Reshape(name=f"{name}/image", inputs=inputs, shape=(1, 1, shape[-1]))] if point else []


PER_FRAME = {"Activation", "Add", "BatchNormalization", "Concatenate", "Dense", "ReLU", "Rescaling", "Softmax"}
"""Ordinary layers that do the same to every frame of a clip as they do to the clip."""

CONVERTERS: dict[str, Converter] = {
    "Conv1D": _conv1d,
    "Conv3D": _conv3d,
    "DepthwiseTemporalConv": _temporal,
    "DiagonalSSM": _diagonal_ssm,
    "MaxPooling3D": _max_pool3d,
    "TemporalConv": _temporal,
    "ZeroPadding3D": _pad3d,
}
