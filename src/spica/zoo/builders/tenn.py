"""Temporal event-based networks (TENN) in Keras, of layers that the second generation of the hardware has.

All read clips and give logits for every frame, of what has been until then. ``spica.from_keras`` makes networks of one
frame of them, which stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spica.errors import SpicaError
from spica.util.keras_backend import load_keras
from spica.zoo.builders.keras_blocks import normalised_relu


def build_tenn(
    shape: tuple[int, int],
    classes: int,
    width: int = 32,
    frames: int = 8,
    basis: Any = None,
    scale: float = 1.0,
    dropout: float = 0.2,
) -> Any:
    """Build an untrained ``keras.Model`` for series: dense layers, with depthwise convolutions over time between them.

    Args:
        shape: shape of a clip, ``(T, C)``.
        classes: number of logits of each frame.
        width: number of channels within.
        frames: frames that each of the two layers over time looks back at.
        basis: a ``spica.keras.Jacobi``, for kernels that are sums of polynomials.
        scale: factor on the inputs, where they are not about 1.
        dropout: share of the last activations that training leaves out.

    Raises:
        SpicaError: for another shape.
    """
    keras = load_keras()
    from spica.keras import DepthwiseTemporalConv

    dense, model = keras.layers.Dense, _begun(shape, scale, "tenn")
    model.add(dense(width, use_bias=False))
    for _ in range(2):
        for layer in (DepthwiseTemporalConv(frames, basis, use_bias=False), dense(width, use_bias=False)):
            _add(model, normalised_relu(), layer)
    return _ended(model, normalised_relu(), classes, dropout)


def build_recurrent_tenn(
    shape: tuple[int, int], classes: int, width: int = 32, scale: float = 1.0, dropout: float = 0.2
) -> Any:
    """Build an untrained ``keras.Model`` for series: two diagonal state-space layers, dense layers around each.

    Args and errors are those of ``build_tenn``.
    """
    keras = load_keras()
    from spica.keras import DiagonalSSM

    dense, model = keras.layers.Dense, _begun(shape, scale, "recurrent_tenn")
    for _ in range(2):
        _add(model, dense(width), DiagonalSSM(), dense(width, use_bias=False), normalised_relu())
    return _ended(model, [], classes, dropout)


def build_spatiotemporal_tenn(
    shape: tuple[int, int, int, int],
    classes: int,
    filters: Sequence[int] = (16, 32, 64),
    frames: int = 5,
    depthwise: bool = False,
    basis: Any = None,
    dropout: float = 0.2,
) -> Any:
    """Build an untrained ``keras.Model`` for clips of images: blocks of a convolution over time and one in space.

    Args:
        shape: shape of a clip, ``(T, H, W, C)``.
        classes: number of logits of each frame.
        filters: of the first convolution, which is in space alone, and of each block; each halves the image.
        frames: frames that each block looks back at.
        depthwise: whether both convolutions of a block are depthwise; a 1x1 convolution then mixes channels.
        basis: a ``spica.keras.Jacobi``, for kernels that are sums of polynomials.
        dropout: share of the last activations that training leaves out.

    Raises:
        SpicaError: for another shape, or no filters.
    """
    keras = load_keras()
    from spica.keras import DepthwiseTemporalConv, TemporalConv

    if len(shape) != 4 or not filters:
        raise SpicaError(
            f"shape must be (T, H, W, C), with filters for each layer; got {tuple(shape)} and {tuple(filters)}"
        )
    layers, plain = keras.layers, {"use_bias": False}
    each, space = layers.TimeDistributed, {"strides": 2, "padding": "same", "use_bias": False}
    model = keras.Sequential([keras.Input(shape)], name="spatiotemporal_tenn")
    _add(model, each(layers.Conv2D(filters[0], 3, **space)), normalised_relu())
    for count in filters[1:]:
        if depthwise:
            _add(model, DepthwiseTemporalConv(frames, basis, **plain), normalised_relu())
            in_space, mixing = each(layers.DepthwiseConv2D(3, **space)), each(layers.Conv2D(count, 1, **plain))
            _add(model, in_space, normalised_relu(), mixing)
        else:
            _add(model, TemporalConv(count, frames, basis, **plain), normalised_relu())
            _add(model, each(layers.Conv2D(count, 3, **space)))
        _add(model, normalised_relu())
    return _ended(model, [each(layers.GlobalAveragePooling2D())], classes, dropout)


def _begun(shape: tuple[int, ...], scale: float, name: str) -> Any:
    if len(shape) != 2:
        raise SpicaError(f"shape of a series must be (T, C); got {tuple(shape)}")
    keras = load_keras()
    first = [] if scale == 1 else [keras.layers.Rescaling(scale)]
    return keras.Sequential([keras.Input(shape), *first], name=name)


def _add(model: Any, *parts: Any) -> None:
    for part in parts:
        for layer in part if isinstance(part, list) else [part]:
            model.add(layer)


def _ended(model: Any, last: list[Any], classes: int, dropout: float) -> Any:
    layers = load_keras().layers
    _add(model, last, layers.Dropout(dropout), layers.Dense(classes, name="classifier"))
    return model
