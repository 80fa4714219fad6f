"""How Keras spells operations on clips ``(T, ...)``, and what they are in a network of one frame.

Those that look back: the layers of ``spica.keras``, a causal ``Conv1D``, and a ``Conv3D`` over time alone whose
clips ``ZeroPadding3D`` lets begin with zeros. A ``Conv3D`` of single frames is a ``Conv2D``.
"""

from __future__ import annotations

from typing import Any

from spica.frontends.keras_layers import _max_pool, array, bias_of, in_space
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.registry import Operations
from spica.frontends.view import View
from spica.layers import Activation, Conv2D, Dense, Flatten, Gelu, Softmax

op = CLIPS = Operations("Keras layer")

OVER_TIME = {"Conv3D", "DepthwiseTemporalConv", "DiagonalSSM", "TemporalConv", "TimeDistributed"}
"""Layers by which a model is known to read clips."""

PER_FRAME = {"Activation", "Add", "BatchNormalization", "Concatenate", "Dense", "ReLU", "Rescaling", "Softmax"}
"""Ordinary layers that do the same to every frame of a clip as they do to the clip."""


def is_over_time(layer: Any) -> bool:
    """Return whether a model with this layer reads clips."""
    return type(layer).__name__ in OVER_TIME or _is_causal(layer)


def takes_clips(layer: Any) -> bool:
    """Return whether a layer, as it is, does the same to a clip as to each of its frames, or looks back."""
    return type(layer).__name__ in {*CLIPS, *PER_FRAME} - {"Conv1D"} or _is_causal(layer)


def zeros_before(layer: Any) -> int:
    """Return how many frames of zeros a layer lets its clips begin with."""
    if type(layer).__name__ != "ZeroPadding3D":
        return 0
    front, back = layer.padding[0]
    refuse(layer.name, back > 0, "padding after the last frame", f"use (({front + back}, 0), ...)")
    return front


def check_beginning(layer: Any, zeros: int) -> None:
    """Refuse a layer that does not look back as many frames as its clips begin with zeros.

    Then its output would be of other frames than its input.
    """
    frames = 1
    if type(layer).__name__ == "Conv3D":
        frames += (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
    need = f"put ZeroPadding3D((({frames - 1}, 0), (0, 0), (0, 0))) before it" if frames > 1 else "leave them out"
    what = f"an output of {frames} frames where clips begin with {zeros} of zeros"
    refuse(layer.name, frames != zeros + 1, what, need)


def as_vector(g: GraphBuilder, x: View) -> View:
    """Return an output that is an image of one pixel, or a stretch of one step, as ``(N, C)``.

    Where a dense layer makes it, that reads plain channels already.
    """
    name, position = x.tensor, {layer.name: i for i, layer in enumerate(g.layers)}
    layer = g.layer(name)
    while isinstance(layer, Softmax | Activation | Gelu):
        layer = g.layer(layer.inputs[0])
    readers = sum(layer.name in other.inputs for other in g.layers)
    point = isinstance(layer, Dense) or (isinstance(layer, Conv2D) and layer.kernel.shape[:2] == (1, 1))
    if not point or readers > (layer.name != name):
        return x.flatten(1)
    assert isinstance(layer, Dense | Conv2D)
    flat, kernel = Flatten(name=f"{layer.name}/flatten", inputs=layer.inputs), layer.kernel
    dense = Dense(name=layer.name, inputs=(flat.name,), kernel=kernel.reshape(kernel.shape[-2:]), bias=layer.bias)
    g.layers[position[layer.name] : position[layer.name] + 1] = [flat, dense]
    return View.whole(name, x.shape[-1:])


def _is_causal(layer: Any) -> bool:
    return type(layer).__name__ == "Conv1D" and layer.padding == "causal"


@op("DepthwiseTemporalConv")
def _depthwise_temporal(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    return g.depthwise_temporal(x, array(layer.kernel), bias_of(layer), at=at)


@op("TemporalConv")
def _temporal(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    return g.conv1d_causal(x, array(layer.kernel), bias_of(layer), at=at)


@op("Conv1D")
def _conv1d(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    fix = 'over time use padding="causal"; else reshape to an image of height 1 and use Conv2D'
    refuse(at, not _is_causal(layer), f'a Conv1D with padding "{layer.padding}"', fix)
    refuse(at, set(layer.strides) != {1}, "a stride over time", "leave it out")
    return g.conv1d_causal(x, array(layer.kernel), bias_of(layer), layer.groups, layer.dilation_rate[0], at=at)


@op("Conv3D")
def _conv3d(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    """Over time alone, or of single frames."""
    kernel, space, bias = array(layer.kernel), in_space(layer), bias_of(layer)
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


@op("ZeroPadding3D")
def _pad(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    """Around each frame; zeros before the first are what a layer that looks back starts with."""
    rows, columns = (tuple(sides) for sides in layer.padding[1:])
    return g.pad(x, (rows, columns), at=at)


@op("MaxPooling3D")
def _max_pool3d(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    frames, *size = layer.pool_size
    over = not frames == layer.strides[0] == 1
    refuse(at, over, "pooling over time", f"use pool_size=(1, {size[0]}, {size[1]})")
    return _max_pool(g, at, layer, x)


@op("DiagonalSSM")
def _diagonal_ssm(g: GraphBuilder, at: str, layer: Any, x: View) -> View:
    real, imaginary = (array(part) for part in layer.factors)
    return g.ssm(x, real, imaginary, at=at)
