"""Spellings of layers in quantizeml's files: names of classes, settings and variables, and the order of kernels' axes.

The readers of both kinds of file and the writer of Keras files use these tables, so every spelling has one home.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spica import layers
from spica.errors import SpicaError
from spica.network import Layer, TensorType

CHANNELS_LAST = {"data_format": "channels_last"}
OUTPUT_VARIABLES = ("range_max", "rescaling_rate")
INPUT_VARIABLES = ("range_min", "range_max")
RECURRENT_VARIABLES = ("A_real", "A_imag")


# -- layers with weights -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class WeightedSpelling:
    """Spelling of a layer with weights; the functions bring a kernel to Spica's order of axes, and back."""

    layer: type[Any]
    keras: str  # class in a Keras file
    onnx: tuple[str, ...] = ()  # beginnings of functions' names in an ONNX file
    variable: str = "kernel"  # the kernel in a Keras file
    quantizer: str = "weight_quantizer"  # the kernel's quantizer among a Keras layer's settings
    axis: int | None = -1  # of the Keras kernel along which filters have scales of their own; all share one if None
    first: WeightedSpelling | None = None  # the kernel that comes first, where there are two
    filters: str | None = None  # the setting that counts filters, where there is one
    fixed: dict[str, Any] = field(default_factory=dict)  # settings with the one value that is read and written
    widest_buffer: int = 28  # bits that the reference's accumulator has at most, its sign included
    from_keras: Callable[[NDArray, dict], NDArray] = lambda kernel, settings: kernel
    to_keras: Callable[[NDArray], NDArray] = lambda kernel: kernel
    from_onnx: Callable[[NDArray, dict], NDArray] = lambda kernel, attributes: kernel

    @property
    def windowed(self) -> bool:
        """Tell whether the kernel slides over an image, with strides and a padding."""
        return hasattr(self.layer, "strides")


_FLAT: dict[str, Any] = {
    "from_keras": lambda kernel, _: kernel[..., 0],  # the last axis is that of a depth multiplier, which is 1
    "to_keras": lambda kernel: kernel[..., None],
}
_SEPARABLE_FIRST = WeightedSpelling(
    layer=layers.SeparableConv2D, keras="QuantizedSeparableConv2D", variable="depthwise_kernel",
    quantizer="dw_weight_quantizer", axis=None, **_FLAT,
)  # fmt: skip

# fmt: off
WEIGHTED = (
    WeightedSpelling(
        layer=layers.Conv2D, keras="QuantizedConv2D", onnx=("QuantizedInputConv2D", "QuantizedConv2D"),
        filters="filters", fixed={"groups": 1},
        from_onnx=lambda kernel, _: kernel.transpose(2, 3, 1, 0),
    ),
    WeightedSpelling(
        layer=layers.DepthwiseConv2D, keras="QuantizedDepthwiseConv2D", onnx=("QuantizedDepthwise2D",),
        variable="depthwise_kernel", axis=-2, fixed={"depth_multiplier": 1}, **_FLAT,
        from_onnx=lambda kernel, _: kernel[:, 0].transpose(1, 2, 0),
    ),
    WeightedSpelling(
        layer=layers.SeparableConv2D, keras="QuantizedSeparableConv2D",
        variable="pointwise_kernel", quantizer="pw_weight_quantizer", first=_SEPARABLE_FIRST,
        filters="filters", fixed={"depth_multiplier": 1}, widest_buffer=32,
        from_keras=lambda kernel, _: kernel[0, 0],
        to_keras=lambda kernel: kernel[None, None],
    ),
    WeightedSpelling(
        layer=layers.Dense, keras="QuantizedDense", onnx=("QuantizedDense1D",), filters="units",
        from_onnx=lambda kernel, _: kernel.T,
    ),
    WeightedSpelling(
        layer=layers.ConvTranspose2D, keras="QuantizedConv2DTranspose", onnx=("QuantizedConv2DTranspose",),
        filters="filters", fixed={"output_padding": None, "dilation_rate": [1, 1]},
        from_keras=lambda kernel, _: kernel.transpose(0, 1, 3, 2),
        to_keras=lambda kernel: kernel.transpose(0, 1, 3, 2),
        from_onnx=lambda kernel, _: kernel.transpose(2, 3, 0, 1),
    ),
    WeightedSpelling(
        layer=layers.DepthwiseConvTranspose2D, keras="QuantizedDepthwiseConv2DTranspose",
        onnx=("QuantizedDepthwise2DTranspose",),
        variable="depthwise_kernel", axis=None, fixed={"depth_multiplier": 1, "dilation_rate": [1, 1]}, **_FLAT,
        from_onnx=lambda kernel, _: kernel.transpose(2, 3, 0, 1)[..., 0],
    ),
    WeightedSpelling(
        layer=layers.BufferTempConv, keras="QuantizedBufferTempConv", onnx=("QuantizedBufferTempConv",),
        filters="filters", widest_buffer=32,
        from_keras=lambda kernel, settings: kernel.reshape(settings["kernel_size"], -1, kernel.shape[-1]),
        to_keras=lambda kernel: kernel.reshape(1, 1, -1, kernel.shape[-1]),
        from_onnx=lambda kernel, node: kernel.reshape(len(kernel), -1, node["fifo_size"]).transpose(2, 1, 0),
    ),
    WeightedSpelling(
        layer=layers.DepthwiseBufferTempConv, keras="QuantizedDepthwiseBufferTempConv",
        onnx=("QuantizedDepthwiseBufferTempConv",), widest_buffer=32,
        from_onnx=lambda kernel, node: kernel.reshape(-1, node["fifo_size"]).T,
    ),
)
# fmt: on
WEIGHTED_BY_LAYER = {spelling.layer: spelling for spelling in WEIGHTED}

VARIABLES = {
    **{spelling.keras: (spelling.variable, "bias") for spelling in WEIGHTED},
    "QuantizedSeparableConv2D": (_SEPARABLE_FIRST.variable, "pointwise_kernel", "bias"),
    "QuantizedStatefulProjection": ("kernel", "bias"),
    "QuantizedStatefulRecurrent": RECURRENT_VARIABLES,
    "InputQuantizer": INPUT_VARIABLES,
}
"""Names of each class's variables in the order in which a ``.keras`` file numbers them."""


def read_window(settings: dict) -> dict[str, Any]:
    """Return the strides and the padding of a Keras layer's settings, as fields of a layer."""
    return {"strides": tuple(settings["strides"]), "padding": settings["padding"]}


def write_window(name: str, layer: Any) -> dict[str, Any]:
    """Return the settings for the strides and the padding of ``layer``; refuse a padding in numbers."""
    if not isinstance(layer.padding, str):
        raise SpicaError(f"{name}: is padded by {layer.padding}; a file's windows are padded 'same' or 'valid' only")
    return {"strides": list(layer.strides), "padding": layer.padding, **CHANNELS_LAST}


def write_weighted(spelling: WeightedSpelling, layer: Any) -> dict[str, Any]:
    """Return the settings for a layer with weights, apart from those of its quantizers."""
    settings = {**spelling.fixed, "use_bias": layer.bias is not None}
    if spelling.filters is not None:
        settings[spelling.filters] = layer.kernel.shape[-1]
    if spelling.windowed:
        height, width = getattr(layer, "depthwise_kernel", layer.kernel).shape[:2]
        settings |= {"kernel_size": [height, width], "dilation_rate": [1, 1], **write_window(layer.name, layer)}
    elif hasattr(layer, "frames"):
        settings["kernel_size"] = layer.frames
    return settings


# -- layers without weights ----------------------------------------------------------------------------------------


class PlainSpelling(NamedTuple):
    """Spelling in Keras files of a layer that neither rounds nor has weights."""

    layer: type[Layer]
    keras: tuple[str, ...]  # classes that are read; the first is written
    write: Callable[[Any], dict[str, Any]]  # the settings, from the layer
    read: Callable[[dict, TensorType], dict[str, Any]] = lambda settings, x: {}  # fields, from settings and input type


def write_pool(name: str, pool: layers.MaxPool) -> dict[str, Any]:
    """Return the settings of the Keras layer ``name`` for a max pooling."""
    return {"pool_size": list(pool.size), **write_window(name, pool)}


def _read_reshape(settings: dict, x: TensorType) -> dict[str, Any]:
    target = list(settings["target_shape"])
    if -1 in target:
        target[target.index(-1)] = math.prod(x.shape) // -math.prod(target)
    return {"shape": tuple(target)}


def _read_take(settings: dict, x: TensorType) -> dict[str, Any]:
    axis = settings.get("axis", 1) % (len(x.shape) + 1) - 1
    token = settings["token"] % x.shape[axis]
    return {"axis": axis, "start": token, "stop": token + 1, "keep_axis": False}


def _write_take(layer: layers.Take) -> dict[str, Any]:
    if layer.keep_axis:
        raise SpicaError(f"{layer.name}: a file can take one position of an axis, and drops the axis")
    return {"token": layer.start, "axis": layer.axis + 1}


def _read_concatenate(settings: dict, x: TensorType) -> dict[str, Any]:
    if settings.get("axis", -1) not in (-1, len(x.shape)):
        raise SpicaError(f"{settings['name']}: concatenates along axis {settings['axis']}; only channels are read")
    return {}


def _read_rescaling(settings: dict, x: TensorType) -> dict[str, Any]:
    if np.any(np.asarray(settings.get("offset", 0)) != 0):
        raise SpicaError(f"{settings['name']}: has an offset; the reference reads rescalings without one")
    return {"scale": np.asarray(settings["scale"], np.float32)}


def write_rescaling(layer: Any) -> dict[str, Any]:
    """Return the settings of a Keras layer for the scale of ``layer``, a ``Rescaling`` or the type of an input."""
    if layer.scale.ndim:
        raise SpicaError(f"{layer.name}: has a scale for each channel; a file's rescaling has one")
    return {"scale": float(layer.scale), "offset": 0.0}


# fmt: off
PLAIN = (
    PlainSpelling(layers.Rescaling, ("QuantizedRescaling",), write_rescaling, _read_rescaling),
    PlainSpelling(layers.Concatenate, ("QuantizedConcatenate",), lambda layer: {"axis": -1}, _read_concatenate),
    PlainSpelling(layers.Flatten, ("QuantizedFlatten", "Flatten"), lambda layer: CHANNELS_LAST),
    PlainSpelling(
        layers.Reshape, ("QuantizedReshape", "Reshape"),
        lambda layer: {"target_shape": list(layer.shape)}, _read_reshape,
    ),
    PlainSpelling(
        layers.Permute, ("QuantizedPermute", "Permute"),
        lambda layer: {"dims": [axis + 1 for axis in layer.axes]},
        lambda settings, x: {"axes": tuple(d - 1 for d in settings["dims"])},
    ),
    PlainSpelling(
        layers.MaxPool2D, ("QuantizedMaxPool2D",),
        lambda layer: write_pool(layer.name, layer.pool),
        lambda settings, x: {"pool": layers.MaxPool(size=tuple(settings["pool_size"]), **read_window(settings))},
    ),
    PlainSpelling(layers.Take, ("QuantizedExtractToken",), _write_take, _read_take),
    PlainSpelling(layers.Dequantize, ("Dequantizer",), lambda layer: {}),
)
# fmt: on
PLAIN_BY_LAYER = {spelling.layer: spelling for spelling in PLAIN}
