"""How quantizeml's files spell each layer: names of classes, settings and variables, and the order of kernels' axes.

The readers of both kinds of file and the writer of Keras files use these tables, so every spelling has one home.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.layers import (
    BufferTempConv,
    Concatenate,
    Conv2D,
    ConvTranspose2D,
    Dense,
    DepthwiseBufferTempConv,
    DepthwiseConv2D,
    DepthwiseConvTranspose2D,
    Dequantize,
    Flatten,
    MaxPool,
    MaxPool2D,
    Permute,
    Rescaling,
    Reshape,
    SeparableConv2D,
    Take,
    WeightedLayer,
)
from spica.network import Layer, TensorType

CHANNELS_LAST = {"data_format": "channels_last"}


def _same(kernel: NDArray, config: dict) -> NDArray:
    return kernel


# -- layers with weights -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WeightedSpelling:
    """How files spell one layer with weights.

    Attributes:
        layer: Spica's layer.
        keras: class in a Keras file.
        onnx: beginnings of function names in an ONNX file; none if such files have no such layer.
        variable: the kernel's name in a Keras file.
        quantizer: the name of the kernel's quantizer among the settings of a Keras file.
        quantizer_settings: what a Keras file says of that quantizer beside the bits.
        filters: the setting that counts filters, where there is one.
        windowed: whether a window slides over an image, with strides and a padding.
        frames: whether a window of ``kernel_size`` frames slides over time.
        fixed: settings for which Spica reads and writes this one value.
        one_scale: whether all filters share the kernel's scale, whatever the quantizer says.
        widest_buffer: bits that the reference's accumulator has at most, its sign included.
        from_keras: brings a Keras kernel, given its layer's settings, to Spica's order of axes.
        to_keras: brings it back.
        from_onnx: brings an ONNX kernel, given its node's attributes, to Spica's order of axes.
    """

    layer: type[WeightedLayer]
    keras: str
    onnx: tuple[str, ...] = ()
    variable: str = "kernel"
    quantizer: str = "weight_quantizer"
    quantizer_settings: dict[str, Any] = field(default_factory=dict)
    filters: str | None = None
    windowed: bool = False
    frames: bool = False
    fixed: dict[str, Any] = field(default_factory=dict)
    one_scale: bool = False
    widest_buffer: int = 28
    from_keras: Callable[[NDArray, dict], NDArray] = _same
    to_keras: Callable[[NDArray], NDArray] = lambda kernel: kernel
    from_onnx: Callable[[NDArray, dict], NDArray] = _same


def _drop_multiplier(kernel: NDArray, config: dict) -> NDArray:
    return kernel[..., 0]


def _add_multiplier(kernel: NDArray) -> NDArray:
    return kernel[..., None]


WEIGHTED = (
    WeightedSpelling(
        layer=Conv2D,
        keras="QuantizedConv2D",
        onnx=("QuantizedInputConv2D", "QuantizedConv2D"),
        filters="filters",
        windowed=True,
        fixed={"groups": 1},
        from_onnx=lambda kernel, _: kernel.transpose(2, 3, 1, 0),
    ),
    WeightedSpelling(
        layer=DepthwiseConv2D,
        keras="QuantizedDepthwiseConv2D",
        onnx=("QuantizedDepthwise2D",),
        variable="depthwise_kernel",
        quantizer_settings={"axis": -2},
        windowed=True,
        fixed={"depth_multiplier": 1},
        from_keras=_drop_multiplier,
        to_keras=_add_multiplier,
        from_onnx=lambda kernel, _: kernel[:, 0].transpose(1, 2, 0),
    ),
    WeightedSpelling(
        layer=SeparableConv2D,
        keras="QuantizedSeparableConv2D",
        variable="pointwise_kernel",
        quantizer="pw_weight_quantizer",
        filters="filters",
        windowed=True,
        fixed={"depth_multiplier": 1},
        widest_buffer=32,
        from_keras=lambda kernel, _: kernel[0, 0],
        to_keras=lambda kernel: kernel[None, None],
    ),
    WeightedSpelling(
        layer=Dense,
        keras="QuantizedDense",
        onnx=("QuantizedDense1D",),
        filters="units",
        from_onnx=lambda kernel, _: kernel.T,
    ),
    WeightedSpelling(
        layer=ConvTranspose2D,
        keras="QuantizedConv2DTranspose",
        onnx=("QuantizedConv2DTranspose",),
        filters="filters",
        windowed=True,
        fixed={"output_padding": None, "dilation_rate": [1, 1]},
        from_keras=lambda kernel, _: kernel.transpose(0, 1, 3, 2),
        to_keras=lambda kernel: kernel.transpose(0, 1, 3, 2),
        from_onnx=lambda kernel, _: kernel.transpose(2, 3, 0, 1),
    ),
    WeightedSpelling(
        layer=DepthwiseConvTranspose2D,
        keras="QuantizedDepthwiseConv2DTranspose",
        onnx=("QuantizedDepthwise2DTranspose",),
        variable="depthwise_kernel",
        quantizer_settings={"axis": None},
        windowed=True,
        fixed={"depth_multiplier": 1, "dilation_rate": [1, 1]},
        one_scale=True,
        from_keras=_drop_multiplier,
        to_keras=_add_multiplier,
        from_onnx=lambda kernel, _: kernel.transpose(2, 3, 0, 1)[..., 0],
    ),
    WeightedSpelling(
        layer=BufferTempConv,
        keras="QuantizedBufferTempConv",
        onnx=("QuantizedBufferTempConv",),
        filters="filters",
        frames=True,
        widest_buffer=32,
        from_keras=lambda kernel, config: kernel.reshape(config["kernel_size"], -1, kernel.shape[-1]),
        to_keras=lambda kernel: kernel.reshape(1, 1, -1, kernel.shape[-1]),
        from_onnx=lambda kernel, node: kernel.reshape(len(kernel), -1, node["fifo_size"]).transpose(2, 1, 0),
    ),
    WeightedSpelling(
        layer=DepthwiseBufferTempConv,
        keras="QuantizedDepthwiseBufferTempConv",
        onnx=("QuantizedDepthwiseBufferTempConv",),
        frames=True,
        widest_buffer=32,
        from_onnx=lambda kernel, node: kernel.reshape(-1, node["fifo_size"]).T,
    ),
)
WEIGHTED_BY_LAYER = {spelling.layer: spelling for spelling in WEIGHTED}

DEPTHWISE_PART = WeightedSpelling(
    layer=SeparableConv2D,
    keras="QuantizedSeparableConv2D",
    variable="depthwise_kernel",
    quantizer="dw_weight_quantizer",
    quantizer_settings={"axis": None},
    one_scale=True,
    from_keras=_drop_multiplier,
    to_keras=_add_multiplier,
)
"""A separable convolution's first kernel; its entry in the table above is for the second."""


def read_window(config: dict) -> dict[str, Any]:
    """Return the strides and the padding of a window, as fields of a layer, from a Keras layer's settings."""
    return {"strides": tuple(config["strides"]), "padding": config["padding"]}


def write_window(name: str, strides: tuple[int, int], padding: Any) -> dict[str, Any]:
    """Return a Keras layer's settings for a window.

    Raises:
        SpicaError: naming ``name``, where the padding is given in numbers.
    """
    if not isinstance(padding, str):
        raise SpicaError(f"{name}: is padded by {padding}; a file's windows are padded 'same' or 'valid' only")
    return {"strides": list(strides), "padding": padding, **CHANNELS_LAST}


# -- layers without numbers of their own ---------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PlainSpelling:
    """How Keras files spell one layer that neither rounds nor has weights.

    Attributes:
        layer: Spica's layer.
        keras: classes in a Keras file; the first is written.
        read: gives the layer's fields for its settings and the type of its (first) input.
        write: gives the settings for the layer.
    """

    layer: type[Layer]
    keras: tuple[str, ...]
    read: Callable[[dict, TensorType], dict[str, Any]] = lambda config, x: {}
    write: Callable[[Any], dict[str, Any]] = lambda layer: {}


def read_pool(config: dict) -> MaxPool:
    """Return the max pooling that a Keras layer's settings stand for."""
    return MaxPool(size=tuple(config["pool_size"]), **read_window(config))


def write_pool(name: str, pool: MaxPool) -> dict[str, Any]:
    """Return a Keras layer's settings for a max pooling.

    Raises:
        SpicaError: naming ``name``, where the padding is given in numbers.
    """
    return {"pool_size": list(pool.size), **write_window(name, pool.strides, pool.padding)}


def _read_reshape(config: dict, x: TensorType) -> dict[str, Any]:
    target = list(config["target_shape"])
    if -1 in target:
        target[target.index(-1)] = math.prod(x.shape) // -math.prod(target)
    return {"shape": tuple(target)}


def _read_take(config: dict, x: TensorType) -> dict[str, Any]:
    axis = config.get("axis", 1) % (len(x.shape) + 1) - 1
    token = config["token"] % x.shape[axis]
    return {"axis": axis, "start": token, "stop": token + 1, "keep_axis": False}


def _write_take(layer: Take) -> dict[str, Any]:
    if layer.keep_axis:
        raise SpicaError(f"{layer.name}: a file can take one position of an axis, and drops the axis")
    return {"token": layer.start, "axis": layer.axis + 1}


def _write_rescaling(layer: Rescaling) -> dict[str, Any]:
    if layer.scale.ndim:
        raise SpicaError(f"{layer.name}: has a scale for each channel; a file's rescaling has one")
    return {"scale": float(layer.scale), "offset": 0.0}


def _read_concatenate(config: dict, x: TensorType) -> dict[str, Any]:
    if config.get("axis", -1) not in (-1, len(x.shape)):
        raise SpicaError(f"{config['name']}: concatenates along axis {config['axis']}; only channels are read")
    return {}


def _read_rescaling(config: dict, x: TensorType) -> dict[str, Any]:
    if np.any(np.asarray(config.get("offset", 0)) != 0):
        raise SpicaError(f"{config['name']}: has an offset; the reference reads rescalings without one")
    return {"scale": np.asarray(config["scale"], np.float32)}


PLAIN = (
    PlainSpelling(
        layer=Rescaling, keras=("QuantizedRescaling",), read=_read_rescaling, write=_write_rescaling
    ),
    PlainSpelling(
        layer=Concatenate, keras=("QuantizedConcatenate",), read=_read_concatenate, write=lambda _: {"axis": -1}
    ),
    PlainSpelling(layer=Flatten, keras=("QuantizedFlatten", "Flatten"), write=lambda _: CHANNELS_LAST),
    PlainSpelling(
        layer=Reshape,
        keras=("QuantizedReshape", "Reshape"),
        read=_read_reshape,
        write=lambda layer: {"target_shape": list(layer.shape)},
    ),
    PlainSpelling(
        layer=Permute,
        keras=("QuantizedPermute", "Permute"),
        read=lambda config, x: {"axes": tuple(d - 1 for d in config["dims"])},
        write=lambda layer: {"dims": [axis + 1 for axis in layer.axes]},
    ),
    PlainSpelling(
        layer=MaxPool2D,
        keras=("QuantizedMaxPool2D",),
        read=lambda config, x: {"pool": read_pool(config)},
        write=lambda layer: write_pool(layer.name, layer.pool),
    ),
    PlainSpelling(layer=Take, keras=("QuantizedExtractToken",), read=_read_take, write=_write_take),
)
PLAIN_BY_LAYER = {spelling.layer: spelling for spelling in PLAIN}


# -- variables -----------------------------------------------------------------------------------------------------

OUTPUT_VARIABLES = ("range_max", "rescaling_rate")
INPUT_VARIABLES = ("range_min", "range_max")
RECURRENT_VARIABLES = ("A_real", "A_imag")
VARIABLES = {
    **{spelling.keras: (spelling.variable, "bias") for spelling in WEIGHTED},
    "QuantizedSeparableConv2D": (DEPTHWISE_PART.variable, "pointwise_kernel", "bias"),
    "InputQuantizer": INPUT_VARIABLES,
    "QuantizedStatefulProjection": ("kernel", "bias"),
    "QuantizedStatefulRecurrent": RECURRENT_VARIABLES,
}
"""Names of each class's variables in the order in which a ``.keras`` file numbers them."""
