"""ONNX' spellings of what only moves values: shapes, slices, borders, up-sampling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.frontends import patterns
from spica.frontends.batch import own_sizes, reshaped
from spica.frontends.onnx.node import Node, op
from spica.frontends.ops import GraphBuilder
from spica.frontends.ops.base import refuse
from spica.frontends.view import BATCH, View


@op("Reshape")
def _reshape(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    target, kept = np.atleast_1d(node.given("shape", 1)).tolist(), not node.get("allowzero", 0)
    if kept:
        own = own_sizes(x, node.batch)
        target = [own[i] if n == 0 and i < len(own) else n for i, n in enumerate(target)]
    return reshaped(x, target, node.batch, node.at)


@op("Flatten")
def _flatten(g: GraphBuilder, node: Node, x: View) -> View:
    axis = node.get("axis", 1) % (x.numbers.ndim + 1)
    refuse(node.at, axis == 0, "flattening of the batch axis", "flatten from axis 1 on")
    return x.flatten(axis) if axis == 1 else x.flatten(axis).flatten(0, axis - 1)


@op("Squeeze")
def _squeeze(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    axes = node.given("axes", 1)
    return x.squeeze(None if axes is None else np.atleast_1d(axes).tolist())


@op("Unsqueeze")
def _unsqueeze(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    axes = np.atleast_1d(node.given("axes", 1)).tolist()
    rank = x.numbers.ndim + len(axes)
    for axis in sorted(int(axis) % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@op("Slice")
def _slice(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    starts, ends = (np.atleast_1d(node.given(name, place)).tolist() for name, place in (("starts", 1), ("ends", 2)))
    axes, steps = node.given("axes", 3), node.given("steps", 4)
    axes = range(len(starts)) if axes is None else np.atleast_1d(axes).tolist()
    steps = [1] * len(starts) if steps is None else np.atleast_1d(steps).tolist()
    for axis, start, end, step in zip(axes, starts, ends, steps):
        x = x.slice(int(axis), int(start), None if step < 0 and end < -x.numbers.shape[axis] else int(end), int(step))
    return x


@op("Gather")
def _gather(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    return patterns.take(node.at, x, node.constant(1), node.get("axis", 0))


@op("Split")
def _split(g: GraphBuilder, node: Node, x: View, *_: Any) -> list[View]:
    axis, sizes = node.get("axis", 0), node.given("split", 1)
    if sizes is None:
        return x.chunk(node.get("num_outputs", len(node.proto.output)), axis)
    return x.split(np.atleast_1d(sizes).tolist(), axis)


@op("Expand")
def _expand(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    sizes = node.constant(1).tolist()
    rank = max(len(sizes), x.numbers.ndim)
    own = (1,) * (rank - x.numbers.ndim) + x.numbers.shape
    wanted = [1] * (rank - len(sizes)) + sizes
    return x.expand([k if s in (1, node.batch if k == BATCH else 1) else s for s, k in zip(wanted, own)])


@op("Concat")
def _concat(g: GraphBuilder, node: Node, *parts: Any) -> View:
    return patterns.concat(g, node.at, parts, node.get("axis", 1))


@op("Pad")
def _pad(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    pads = np.atleast_1d(node.given("pads", 1) if node.get("paddings") is None else node.get("paddings")).tolist()
    axes = node.given("axes", 3)
    axes = range(x.numbers.ndim) if axes is None else [int(axis) % x.numbers.ndim for axis in np.atleast_1d(axes)]
    widths = [(0, 0)] * x.numbers.ndim
    for i, axis in enumerate(axes):
        widths[axis] = (int(pads[i]), int(pads[i + len(pads) // 2]))
    value = node.given("value", 2)
    return g.pad_axes(
        x, widths, 0 if value is None else float(np.asarray(value).item()), node.get("mode", "constant"), at=node.at
    )


@op("Resize", "Upsample")
def _resize(g: GraphBuilder, node: Node, x: View, *_: Any) -> View:
    scales = node.given("scales", 1 if node.proto.op_type == "Upsample" or node.opset < 11 else 2)
    if scales is None or np.size(scales) == 0:
        refuse(node.at, len(node.inputs) < 4, "a Resize without scales or sizes", "give one of them")
        scales = node.constant(3) / np.array([node.batch, *x.sizes])
    scales = np.asarray(scales, np.float64).tolist()
    whole_images = len(scales) == x.numbers.ndim and scales[:2] == [1, 1]
    refuse(node.at, not whole_images, f"a Resize by {scales}", "resize rows and columns")
    mode = node.get("mode", "nearest")
    rule = node.get("coordinate_transformation_mode", "half_pixel" if node.opset > 10 else "asymmetric")
    if mode == "nearest":
        return _nearest(g, node, x, scales, rule)
    whole = all(scale == int(scale) >= 1 for scale in scales) and len(scales) == 4
    exact = mode in ("linear", "bilinear") and whole and rule in ("half_pixel", "pytorch_half_pixel")
    refuse(node.at, not exact, f"a Resize of mode {mode!r} by {scales} with {rule}", "use half_pixel and whole factors")
    return g.upsample(x.channels_last(), (int(scales[2]), int(scales[3])), bilinear=True, at=node.at).channels_first()


ROUNDED: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "ceil": np.ceil,
    "floor": np.floor,
    "round_prefer_ceil": lambda places: np.floor(places + 0.5),
    "round_prefer_floor": lambda places: np.ceil(places - 0.5),
}
"""How the place of an output pixel in the input becomes that of a pixel, by ``nearest_mode``."""


def _nearest(g: GraphBuilder, node: Node, x: View, scales: list[float], rule: str) -> View:
    """Repeat pixels; where that is not what each output pixel says it is, take the pixels that they name."""
    rounded = ROUNDED[node.get("nearest_mode", "round_prefer_floor" if node.opset > 10 else "floor")]
    known = ("align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel")
    refuse(node.at, rule not in known, f"a Resize by {rule}", "use asymmetric or half_pixel")
    chosen = []
    for factor, have in zip(scales[2:], x.numbers.shape[2:]):
        scale = np.float32(factor)  # as runtimes have it: a place that is one but for rounding is that one
        i = np.arange(int(np.floor(have * factor)), dtype=np.float32)
        if rule == "align_corners":
            places = i * np.float32((have - 1) / max(len(i) - 1, 1))
        else:
            places = i / scale if rule == "asymmetric" else (i + np.float32(0.5)) / scale - np.float32(0.5)
        chosen.append(np.clip(rounded(places).astype(np.int64), 0, have - 1))
    repeated = [np.repeat(np.arange(n), int(factor)) for n, factor in zip(x.numbers.shape[2:], scales[2:])]
    if len(chosen) == 2 and all(np.array_equal(a, b) for a, b in zip(chosen, repeated)):
        return g.upsample(x.channels_last(), (int(scales[2]), int(scales[3])), at=node.at).channels_first()
    for axis, own in enumerate(chosen, 2):
        x = x.index_select(axis, own.tolist())
    return x


@op("DepthToSpace")
def _depth_to_space(g: GraphBuilder, node: Node, x: View) -> View:
    block = node.get("blocksize")
    if node.get("mode", "DCR") == "CRD":
        return x.pixel_shuffle(block)
    n, _, h, w = x.numbers.shape
    apart = x.reshape((n, block, block, -1, h, w)).permute((0, 3, 4, 1, 5, 2))
    return apart.reshape((n, -1, h * block, w * block))


@op("SpaceToDepth")
def _space_to_depth(g: GraphBuilder, node: Node, x: View) -> View:
    block, (n, c, h, w) = node.get("blocksize"), x.numbers.shape
    apart = x.reshape((n, c, h // block, block, w // block, block)).permute((0, 3, 5, 1, 2, 4))
    return apart.reshape((n, -1, h // block, w // block))


@op("Cast")
def _cast(g: GraphBuilder, node: Node, x: View) -> View:
    refuse(
        node.at, node.get("to") not in (1, 10, 11, 16), "a tensor of integers", "leave values real; quantisation rounds"
    )
    return x
