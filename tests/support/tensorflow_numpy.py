"""TensorFlow's operations in plain numpy, written from its documentation: what graphs in tests must give."""

from __future__ import annotations

import numpy as np

F = np.float32


def padded(x, size, a, value=0.0):
    """Return an image with the padding of a window, whose taps are spread already."""
    strides, padding = a["strides"][1:3], a["padding"]
    if padding == "VALID":
        return x
    if padding == "EXPLICIT":
        widths = np.reshape(a["explicit_paddings"], (4, 2))
    else:
        widths = [(0, 0)]
        for n, k, s in zip(x.shape[1:3], size, strides):
            total = max((-(-n // s) - 1) * s + k - n, 0)
            widths.append((total // 2, total - total // 2))
        widths.append((0, 0))
    return np.pad(x, widths, constant_values=value)


def windows(x, size, a, value=0.0):
    """Return the windows of an image, ``(N, rows, columns, kh, kw, C)``."""
    (dh, dw), (sh, sw) = a.get("dilations", [1] * 4)[1:3], a["strides"][1:3]
    reach = [(k - 1) * d + 1 for k, d in zip(size, (dh, dw))]
    x = padded(x, reach, a, value)
    seen = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))[:, ::sh, ::sw, :, ::dh, ::dw]
    return np.moveaxis(seen, 3, -1)


def fused(a, y, *rest):
    """Apply what is fused to an operation."""
    for part in a.get("fused_ops", []):
        if part == "BiasAdd":
            y, rest = y + rest[0], rest[1:]
        elif part == "Prelu":
            y = np.where(y > 0, y, y * rest[0])
        elif part == "LeakyRelu":
            y = np.where(y > 0, y, y * a["leakyrelu_alpha"])
        else:
            y = REFERENCE[part](a, y)
    return y


def conv(a, x, k, *rest):
    seen, groups = windows(x, k.shape[:2], a), x.shape[-1] // k.shape[2]
    parts = zip(np.split(seen, groups, -1), np.split(k, groups, -1))
    return fused(a, np.concatenate([np.einsum("nhwijc,ijcf->nhwf", *part) for part in parts], -1), *rest)


def depthwise(a, x, k, *rest):
    y = np.einsum("nhwijc,ijcm->nhwcm", windows(x, k.shape[:2], a), k)
    return fused(a, y.reshape(*y.shape[:3], -1), *rest)


def transposed(a, sizes, k, x):
    """Return the gradient of a convolution: each pixel of ``x`` adds its kernel to where it was read from."""
    image = np.zeros(sizes, np.float64)
    reach = padded(image, k.shape[:2], a)
    wide = np.zeros(reach.shape)
    (sh, sw) = a["strides"][1:3]
    for i in range(x.shape[1]):
        for j in range(x.shape[2]):
            part = np.einsum("nf,ijcf->nijc", x[:, i, j], k)
            wide[:, i * sh : i * sh + k.shape[0], j * sw : j * sw + k.shape[1]] += part
    total = [w - n for w, n in zip(wide.shape, sizes)]
    top, left = total[1] // 2, total[2] // 2
    return wide[:, top : top + sizes[1], left : left + sizes[2]]


def pool(function, value):
    return lambda a, x: function(windows(x, a["ksize"][1:3], a, value), axis=(3, 4))


def resize(a, x, sizes, bilinear):
    for axis, want in zip((1, 2), sizes):
        n = x.shape[axis]
        place = np.arange(want) * n / want
        if a["half_pixel_centers"]:
            place = (np.arange(want) + 0.5) * n / want - (0.5 if bilinear else 0)
        first = np.floor(place).astype(int)
        part = np.reshape(place - first if bilinear else 0 * place, [-1 if i == axis else 1 for i in range(4)])
        low, high = (np.take(x, np.clip(first + i, 0, n - 1), axis) for i in (0, 1))
        x = low * (1 - part) + high * part
    return x


def space_to_batch(a, x, block, paddings):
    x = np.pad(x, [(0, 0), *paddings.tolist(), (0, 0)])
    return np.concatenate([x[:, i :: block[0], j :: block[1]] for i in range(block[0]) for j in range(block[1])])


def batch_to_space(a, x, block, crops):
    parts = np.split(x, block[0] * block[1])
    n, h, w, c = parts[0].shape
    y = np.zeros((n, h * block[0], w * block[1], c))
    for number, part in enumerate(parts):
        y[:, number // block[1] :: block[0], number % block[1] :: block[1]] = part
    (top, bottom), (left, right) = crops
    return y[:, top : y.shape[1] - bottom, left : y.shape[2] - right]


def strided(a, x, begin, end, step):
    taken = []
    for i in range(len(begin)):
        masks = {name: a.get(f"{name}_mask", 0) >> i & 1 for name in ("begin", "end", "ellipsis", "new_axis")}
        if masks["ellipsis"]:
            taken.append(...)
        elif masks["new_axis"]:
            taken.append(None)
        elif a.get("shrink_axis_mask", 0) >> i & 1:
            taken.append(int(begin[i]))
        else:
            taken.append(slice(None if masks["begin"] else begin[i], None if masks["end"] else end[i], step[i]))
    return x[tuple(taken)]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def depth_to_space(a, x):
    n, h, w, c = x.shape
    b = a["block_size"]
    y = np.zeros((n, h * b, w * b, c // b // b))
    for i in range(b):
        for j in range(b):
            first = (i * b + j) * y.shape[3]
            y[:, i::b, j::b] = x[..., first : first + y.shape[3]]
    return y


def matmul(a, x, y, *rest):
    return fused(a, x @ (y.T if a.get("transpose_b") else y), *rest)


def batch_norm(a, x, gamma, beta, mean, variance):
    return (x - mean) / np.sqrt(variance + a["epsilon"]) * gamma + beta


def reduced(function):
    return lambda a, x, axes: function(x, tuple(np.atleast_1d(axes)), keepdims=a.get("keep_dims", False))


def sliced(a, x, begin, size):
    return x[tuple(slice(b, None if s == -1 else b + s) for b, s in zip(begin, size))]


REFERENCE = {
    "Abs": lambda a, x: abs(x),
    "AddN": lambda a, *xs: sum(xs),
    "AvgPool": pool(np.nanmean, np.nan),
    "BatchToSpaceND": batch_to_space,
    "BiasAdd": lambda a, x, y: x + y,
    "Cast": lambda a, x: x.astype({"DT_FLOAT": F, "DT_INT32": np.int32}[a["DstT"]]),
    "ConcatV2": lambda a, *xs: np.concatenate(xs[:-1], xs[-1]),
    "Conv2D": conv,
    "Conv2DBackpropInput": transposed,
    "DepthToSpace": depth_to_space,
    "DepthwiseConv2dNative": depthwise,
    "Elu": lambda a, x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
    "Exp": lambda a, x: np.exp(x),
    "ExpandDims": lambda a, x, axis: np.expand_dims(x, int(axis)),
    "Fill": lambda a, sizes, value: np.full(sizes, value),
    "FusedBatchNormV3": batch_norm,
    "FusedDepthwiseConv2dNative": depthwise,
    "GatherV2": lambda a, x, places, axis: np.take(x, places, int(axis)),
    "Identity": lambda a, x: x,
    "LeakyRelu": lambda a, x: np.where(x > 0, x, x * a["alpha"]),
    "LogSoftmax": lambda a, x: np.log(softmax(x)),
    "MatMul": matmul,
    "Max": reduced(np.max),
    "MaxPool": pool(np.max, -np.inf),
    "Maximum": lambda a, x, y: np.maximum(x, y),
    "Mean": reduced(np.mean),
    "Minimum": lambda a, x, y: np.minimum(x, y),
    "MirrorPad": lambda a, x, p: np.pad(x, p, a["mode"].lower()),
    "Mul": lambda a, x, y: x * y,
    "Neg": lambda a, x: -x,
    "Pack": lambda a, *xs: np.stack(xs, a["axis"]),
    "Pad": lambda a, x, p: np.pad(x, p),
    "Pow": lambda a, x, y: x**y,
    "Prelu": lambda a, x, s: np.where(x > 0, x, x * s),
    "Prod": reduced(np.prod),
    "Range": lambda a, first, last, step: np.arange(first, last, step),
    "RealDiv": lambda a, x, y: x / y,
    "Reciprocal": lambda a, x: 1 / x,
    "Relu": lambda a, x: np.maximum(x, 0),
    "Relu6": lambda a, x: np.clip(x, 0, 6),
    "Reshape": lambda a, x, sizes: x.reshape(sizes),
    "ResizeBilinear": lambda a, x, sizes: resize(a, x, sizes, True),
    "ResizeNearestNeighbor": lambda a, x, sizes: resize(a, x, sizes, False),
    "Rsqrt": lambda a, x: 1 / np.sqrt(x),
    "Selu": lambda a, x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * (np.exp(np.minimum(x, 0)) - 1)),
    "Shape": lambda a, x: np.array(x.shape),
    "Sigmoid": lambda a, x: 1 / (1 + np.exp(-x)),
    "Slice": sliced,
    "Softmax": lambda a, x: softmax(x),
    "Softplus": lambda a, x: np.log1p(np.exp(x)),
    "SpaceToBatchND": space_to_batch,
    "Split": lambda a, axis, x: np.split(x, a["num_split"], int(axis)),
    "SplitV": lambda a, x, sizes, axis: np.split(x, np.cumsum(sizes)[:-1], int(axis)),
    "Sqrt": lambda a, x: np.sqrt(x),
    "Square": lambda a, x: x * x,
    "SquaredDifference": lambda a, x, y: (x - y) ** 2,
    "Squeeze": lambda a, x: np.squeeze(x, tuple(a["squeeze_dims"])),
    "StridedSlice": strided,
    "Sub": lambda a, x, y: x - y,
    "Sum": reduced(np.sum),
    "Tanh": lambda a, x: np.tanh(x),
    "Tile": lambda a, x, times: np.tile(x, times),
    "Transpose": lambda a, x, order: np.transpose(x, order),
    "Unpack": lambda a, x: list(np.moveaxis(x, a["axis"], 0)),
    "_FusedConv2D": conv,
    "_FusedMatMul": matmul,
}
REFERENCE |= {"Add": lambda a, x, y: x + y, "AddV2": lambda a, x, y: x + y}


def run(nodes, constants, x):
    """Return what the last node of a graph makes of an input."""
    values = {"x": [np.asarray(x, np.float64)]} | {name: [np.asarray(v)] for name, v in dict(constants).items()}
    for op, read, name, attributes in nodes:
        inputs = [values[n.split(":")[0]][int(n.partition(":")[2] or 0)] for n in read.split() if n[0] != "^"]
        made = REFERENCE[op](attributes, *inputs)
        values[name] = made if isinstance(made, list) else [made]
    return values[nodes[-1][2]][0]
