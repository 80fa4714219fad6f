"""Dilated convolutions in three parts: an image cut into samples, a convolution of each, and their pixels put together.

TensorFlow writes them so: ``SpaceToBatchND``, ``Conv2D``, ``BatchToSpaceND``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import NONE, refuse
from spica.frontends.ops.weighted import Window
from spica.frontends.patterns import Part
from spica.frontends.tensorflow.node import Node
from spica.frontends.view import View
from spica.semantics.primitives import Padding, Pair

POINTWISE = {"Add", "AddV2", "BiasAdd", "Elu", "FusedBatchNorm", "FusedBatchNormV3", "LeakyRelu", "Mul", "Prelu",
             "Relu", "Relu6", "Sigmoid"}  # fmt: skip
"""Operations on one tensor that do the same to an image in samples as to the image."""


@dataclass(frozen=True)
class Phases(Part):
    """An image with zeros around it, cut into samples that hold every ``block``-th row and column."""

    x: View
    block: Pair
    padding: Padding
    half = "an image cut into samples, part of a dilated convolution"


def within(value: Any, change: Callable[[View], View]) -> Any:
    """Change an image, or the one that was cut into samples."""
    return replace(value, x=change(value.x)) if isinstance(value, Phases) else change(value)


def image_of(value: Any, window: Window, at: str) -> tuple[View, Window, Callable[[View], Any]]:
    """Return the image that a convolution is of, how its window moves over that, and what the result becomes."""
    if not isinstance(value, Phases):
        return value, window, lambda made: made
    moves = window != Window(strides=(1, 1), padding="valid", dilation=(1, 1)) or value.padding is NONE
    refuse(at, moves, "this convolution of an image cut into samples", "use dilation, or no stride and no padding")
    whole = Window(dilation=value.block, padding=value.padding)
    return value.x, whole, lambda made: replace(value, x=made, padding=NONE)


def cut(g: GraphBuilder, node: Node, x: View, *_: Any) -> Phases:
    """Cut an image into samples."""
    block, padding = _sizes(node, x.numbers.ndim)
    return Phases(x, block, padding)


def joined(g: GraphBuilder, node: Node, x: Any, *_: Any) -> View:
    """Put the pixels of samples together, and cut off the borders of the image."""
    refuse(node.at, not isinstance(x, Phases), f"{node.kind} of samples", "leave the batch axis whole")
    block, crops = _sizes(node, x.x.numbers.ndim)
    refuse(node.at, block != x.block, f"samples of {x.block} put together as {block}", "use the same block shape")
    amounts = [(a - c, b - d) for (a, b), (c, d) in zip(x.padding, crops)]
    return g.pad(x.x, (amounts[0], amounts[1]), at=node.at)


def _sizes(node: Node, rank: int) -> tuple[Pair, Padding]:
    block, amounts = node.integers(1), node.integers(2)
    bad = rank != 4 or len(block) != 2 or len(amounts) != 4 or min(block) < 1 or min(amounts) < 0
    refuse(node.at, bad, f"{node.kind} of blocks {block}", "use blocks of rows and columns of images")
    return (block[0], block[1]), ((amounts[0], amounts[1]), (amounts[2], amounts[3]))
