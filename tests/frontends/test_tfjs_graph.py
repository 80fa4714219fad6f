"""TensorFlow.js models of graphs in: what their operations compute in plain numpy, or a message that names the node."""

from __future__ import annotations

import json

import numpy as np
import pytest

import spica
from spica.layers import Activation, Conv2D, DepthwiseConv2D, Softmax
from spica.passes import prepare
from support.tensorflow_numpy import run
from support.tfjs import attribute, graph, save


def weights(*shape, seed=0, low=-0.5, high=0.5):
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32)


def window(padding="SAME", strides=(1, 1), dilations=(1, 1), **more):
    made = {"padding": padding, "strides": [1, *strides, 1], "dilations": [1, *dilations, 1], "data_format": "NHWC"}
    return made | {"explicit_paddings": [], "use_cudnn_on_gpu": True} | more


def pooled(padding, size, strides):
    return {"padding": padding, "ksize": [1, *size, 1], "strides": [1, *strides, 1], "data_format": "NHWC"}


def sliced(**masks):
    zero = dict.fromkeys(("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0)
    return zero | masks | {"Index": "DT_INT32"}


def resized(half):
    return {"align_corners": False, "half_pixel_centers": half}


IMAGE, VECTOR, TOKENS, SMALL = (-1, 8, 9, 3), (-1, 6), (-1, 5, 8), (-1, 4, 5, 3)
I = np.int32  # noqa: E741
K, D = weights(3, 3, 3, 4), weights(3, 3, 3, 2)
B, SLOPES = weights(4), weights(1, 1, 4)
STATISTICS = {"s": weights(3), "o": weights(3, seed=1), "m": weights(3, seed=2), "v": weights(3, low=0.5, high=1.5)}

MODELS = {
    "convolution": (IMAGE, [("Conv2D", "x k", "c", window(strides=(2, 2))), ("BiasAdd", "c b", "y",
        {"data_format": "NHWC"})], {"k": K, "b": B}),
    "dilation": (IMAGE, [("Conv2D", "x k", "y", window("VALID", dilations=(1, 2)))], {"k": K}),
    "explicit padding": (IMAGE, [("Conv2D", "x k", "y",
        window("EXPLICIT", explicit_paddings=[0, 0, 1, 2, 0, 1, 0, 0]))], {"k": K}),
    "a group": ((-1, 5, 5, 6), [("Conv2D", "x k", "y", window())], {"k": K}),
    "fused": (IMAGE, [("_FusedConv2D", "x k b", "y", window(fused_ops=["BiasAdd", "Relu6"], num_args=1, epsilon=0.0))],
        {"k": 9 * K, "b": B}),
    "fused with slopes": (IMAGE, [("_FusedConv2D", "x k b s", "y", window(fused_ops=["BiasAdd", "Prelu"],
        num_args=2))], {"k": K, "b": B, "s": SLOPES}),
    "fused with a slope": (IMAGE, [("_FusedConv2D", "x k b", "y", window(fused_ops=["BiasAdd", "LeakyRelu"],
        leakyrelu_alpha=0.3, num_args=1))], {"k": K, "b": B}),
    "depthwise": (IMAGE, [("DepthwiseConv2dNative", "x d", "y", window(strides=(2, 2)))], {"d": D}),
    "depthwise, fused": (IMAGE, [("FusedDepthwiseConv2dNative", "x d b", "y", window("VALID",
        fused_ops=["BiasAdd", "Sigmoid"], num_args=1))], {"d": D[..., :1], "b": weights(3)}),
    "transposed": (SMALL, [("Conv2DBackpropInput", "n k x", "y", window(strides=(2, 2)))],
        {"n": I([1, 8, 10, 4]), "k": K.transpose(0, 1, 3, 2)}),
    "dilation in parts": (IMAGE, [("SpaceToBatchND", "x n p", "s", {"Tpaddings": "DT_INT32"}), ("Conv2D", "s k", "c",
        window("VALID")), ("BiasAdd", "c b", "a", {}), ("BatchToSpaceND", "a n r", "y", {})],
        {"n": I([2, 2]), "p": I([[2, 2], [2, 3]]), "k": K, "b": B, "r": I([[0, 0], [0, 1]])}),
    "dilation in parts, depthwise": (IMAGE, [("SpaceToBatchND", "x n p", "s", {}), ("DepthwiseConv2dNative", "s d",
        "c", window("VALID")), ("BatchToSpaceND", "c n r", "y", {})],
        {"n": I([2, 3]), "p": I([[0, 0], [0, 0]]), "d": D, "r": I([[1, 0], [0, 0]])}),
    "dense": (VECTOR, [("MatMul", "x k", "y", {"transpose_a": False, "transpose_b": False})], {"k": weights(6, 3)}),
    "dense, turned": (VECTOR, [("_FusedMatMul", "x k b", "y", {"transpose_b": True, "fused_ops": ["BiasAdd", "Relu"],
        "num_args": 1, "epsilon": 0.0})], {"k": weights(3, 6), "b": weights(3)}),
    "dense on a flat image": (IMAGE, [("Reshape", "x s", "f", {"Tshape": "DT_INT32"}), ("MatMul", "f k", "y", {})],
        {"s": I([-1, 216]), "k": weights(216, 2)}),
    "batch normalisation": (IMAGE, [("FusedBatchNormV3", "x s o m v", "y", {"epsilon": 0.01, "is_training": False,
        "data_format": "NHWC", "exponential_avg_factor": 1.0, "U": "DT_FLOAT"})], STATISTICS),
    "max pooling": (IMAGE, [("MaxPool", "x", "y", pooled("SAME", (3, 2), (2, 2)))], {}),
    "average pooling": (IMAGE, [("AvgPool", "x", "y", pooled("VALID", (3, 2), (2, 2)))], {}),
    "average pooling with a border": (IMAGE, [("AvgPool", "x", "y", pooled("SAME", (3, 2), (2, 2)))], {}),
    "mean": (IMAGE, [("Mean", "x a", "y", {"keep_dims": False, "Tidx": "DT_INT32"})], {"a": I([1, 2])}),
    "sum and maximum": (IMAGE, [("Sum", "x a", "s", {"keep_dims": True}), ("Max", "x a", "m", {"keep_dims": True}),
        ("AddV2", "s m", "y", {})], {"a": I([1, 2])}),
    "arithmetic": (IMAGE, [("Mul", "x s", "a", {}), ("Sub", "a o", "b", {}), ("RealDiv", "b d", "c", {}),
        ("AddN", "c x x", "e", {"N": 3}), ("SquaredDifference", "e o", "y", {})],
        {"s": weights(3), "o": np.float32(0.1), "d": np.float32(0.5)}),
    "squeeze and excite": (IMAGE, [("Mean", "x a", "m", {"keep_dims": True}), ("Sigmoid", "m", "s", {}),
        ("Mul", "x s", "y", {})], {"a": I([1, 2])}),
    "activations": (IMAGE, [("Elu", "x", "a", {}), ("Selu", "a", "b", {}), ("LeakyRelu", "b", "c", {"alpha": 0.2}),
        ("Tanh", "c", "d", {}), ("Exp", "d", "e", {}), ("Sqrt", "e", "f", {}), ("Rsqrt", "f", "g", {}),
        ("Square", "g", "h", {}), ("Neg", "h", "i", {}), ("Abs", "i", "j", {}), ("Reciprocal", "j", "k", {}),
        ("Softplus", "k", "l", {}), ("Prelu", "l s", "m", {}), ("Relu6", "m", "n", {}), ("Relu", "n", "o", {}),
        ("Maximum", "o p", "q", {}), ("Minimum", "q r", "y", {})],
        {"s": weights(3), "p": np.float32(0.8), "r": np.float32(1.3)}),
    "a power": (IMAGE, [("Pow", "x p", "y", {})], {"p": np.float32(3)}),
    "a pad and a convolution": (IMAGE, [("Pad", "x p", "h", {"Tpaddings": "DT_INT32"}), ("Conv2D", "h k", "y",
        window("VALID", (2, 2)))], {"p": I([[0, 0], [1, 0], [2, 1], [0, 0]]), "k": K}),
    "a mirror": (IMAGE, [("MirrorPad", "x p", "y", {"mode": "SYMMETRIC"})],
        {"p": I([[0, 0], [1, 0], [2, 1], [0, 0]])}),
    "parts": (IMAGE, [("Split", "a x", "b", {"num_split": 3}), ("ConcatV2", "b:2 b a", "y", {"N": 2})], {"a": I(3)}),
    "parts of several sizes": (IMAGE, [("SplitV", "x n a", "b", {"num_split": 2}), ("ConcatV2", "b:1 b a", "y", {})],
        {"n": I([1, 2]), "a": I(-1)}),
    "stacked": (IMAGE, [("Unpack", "x", "b", {"axis": 3, "num": 3}), ("Pack", "b:2 b b:1", "y", {"axis": -1})], {}),
    "a slice": (IMAGE, [("Slice", "x s t", "y", {"Index": "DT_INT32"})], {"s": I([0, 1, 2, 0]),
        "t": I([-1, 4, -1, 2])}),
    "a slice in steps": (IMAGE, [("StridedSlice", "x s t u", "y", sliced(begin_mask=9, end_mask=9))],
        {"s": I([0, 1, 0, 0]), "t": I([0, 7, 8, 0]), "u": I([1, 2, 1, 1])}),
    "one place": (TOKENS, [("StridedSlice", "x s t u", "y", sliced(begin_mask=5, end_mask=5, shrink_axis_mask=2))],
        {"s": I([0, -2, 0]), "t": I([0, -1, 0]), "u": I([1, 1, 1])}),
    "an ellipsis and a new axis": (IMAGE, [("StridedSlice", "x s t u", "h", sliced(ellipsis_mask=1,
        shrink_axis_mask=2)), ("StridedSlice", "h a a b", "y", sliced(ellipsis_mask=1, new_axis_mask=2))],
        {"s": I([0, 1]), "t": I([0, 2]), "u": I([1, 1]), "a": I([0, 0]), "b": I([1, 1])}),
    "transposed axes": (IMAGE, [("Transpose", "x p", "y", {"Tperm": "DT_INT32"})], {"p": I([0, 2, 1, 3])}),
    "gathered": (IMAGE, [("GatherV2", "x p a", "y", {"batch_dims": 0})], {"p": I([2, 0]), "a": I(3)}),
    "squeezed": ((-1, 1, 4, 3), [("Squeeze", "x", "h", {"squeeze_dims": [1]}), ("ExpandDims", "h a", "y", {})],
        {"a": I(2)}),
    "nearest": (SMALL, [("ResizeNearestNeighbor", "x s", "y", resized(False))], {"s": I([8, 15])}),
    "bilinear": (SMALL, [("ResizeBilinear", "x s", "y", resized(True))], {"s": I([8, 15])}),
    "bilinear from the first pixel": (SMALL, [("ResizeBilinear", "x s", "y", resized(False))], {"s": I([8, 15])}),
    "bilinear along rows": (SMALL, [("ResizeBilinear", "x s", "y", resized(True))], {"s": I([4, 15])}),
    "bilinear along columns": (SMALL, [("ResizeBilinear", "x s", "y", resized(False))], {"s": I([12, 5])}),
    "depth to space": ((-1, 4, 5, 8), [("DepthToSpace", "x", "y", {"block_size": 2, "data_format": "NHWC"})], {}),
    "a shape worked out": (IMAGE, [("Shape", "x", "s", {"out_type": "DT_INT32"}), ("StridedSlice", "s a b c", "n",
        sliced(shrink_axis_mask=1)), ("Mul", "r q", "m", {}), ("Pack", "n m", "t", {"axis": 0, "N": 2}),
        ("Reshape", "x t", "y", {})], {"a": I([0]), "b": I([1]), "c": I([1]), "r": I(108), "q": I(2)}),
    "constants worked out": (IMAGE, [("Range", "z n o", "r", {}), ("Cast", "r", "f", {"DstT": "DT_FLOAT"}),
        ("Tile", "f o1", "t", {}), ("Sub", "t w", "s", {}), ("Mul", "x s", "y", {})],
        {"z": I(1), "n": I(4), "o": I(1), "o1": I([1]), "w": np.float32(0.5)}),
    "one value a sample": (VECTOR, [("StridedSlice", "x a b c", "p", sliced(begin_mask=1, end_mask=1,
        shrink_axis_mask=2)), ("StridedSlice", "x d e c", "q", sliced(begin_mask=1, end_mask=1, shrink_axis_mask=2)),
        ("Mul", "p q", "m", {}), ("Add", "m p", "s", {}), ("ExpandDims", "s o", "y", {})],
        {"a": I([0, 1]), "b": I([0, 2]), "c": I([1, 1]), "d": I([0, 3]), "e": I([0, 4]), "o": I(1)}),
    "softmax": (VECTOR, [("Identity", "x", "h", {}), ("Softmax", "h", "y", {})], {}),
    "logarithm of a softmax": (VECTOR, [("LogSoftmax", "x ^h", "y", {})], {"h": np.float32(0)}),
}  # fmt: skip


def written(folder, nodes, shape, constants=(), **more):
    return save(folder, graph(nodes, shape, constants), dict(constants), "graph-model", **more)


@pytest.mark.parametrize("name", MODELS)
def test_operations_of_tensorflow_js(name, tmp_path):
    shape, nodes, constants = MODELS[name]
    net = spica.from_tfjs(written(tmp_path, nodes, shape, constants))
    for seed in range(2):
        x = np.random.default_rng(seed).uniform(-1, 1, (1, *shape[1:])).astype(np.float32)
        want = run(nodes, constants, x)
        for made in [net] if isinstance(net[net.outputs[0]], Softmax) else [net, prepare(net)]:
            got = made.forward(x)
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, atol=2e-5, rtol=1e-4)


def test_layers_are_those_that_devices_have(tmp_path):
    shape, nodes, constants = MODELS["fused"]
    net = spica.from_file(written(tmp_path, nodes, shape, constants))
    assert [type(layer) for layer in net][1:] == [Conv2D, Activation] and net["y"].padding == "same"
    shape, nodes, constants = MODELS["depthwise, fused"]
    assert isinstance(spica.from_tfjs(written(tmp_path, nodes, shape, constants)).layers[1], DepthwiseConv2D)


def test_inputs_and_outputs_are_those_of_the_signature(tmp_path):
    nodes = [("Relu", "x", "a", {}), ("Tanh", "a", "b", {}), ("NoOp", "", "c", {}), ("LSTM", "x", "unread", {})]
    made = graph(nodes, VECTOR)
    made["node"].insert(0, {"name": "z", "op": "Placeholder", "attr": made["node"][0]["attr"]})
    made["node"].append({"name": "sum", "op": "Add", "input": ["b", "z:0"], "attr": {}})
    signature = {"inputs": {"0": {"name": "x:0"}, "1": {"name": "z:0"}},
                 "outputs": {"p": {"name": "sum:0"}, "q": {"name": "a:0"}}}  # fmt: skip
    path = save(tmp_path, made, {}, "graph-model", signature=signature)
    net, x = spica.from_tfjs(path), np.random.default_rng(0).normal(size=(2, 3, 6)).astype(np.float32)
    assert [layer.name for layer in net if not layer.inputs] == ["x", "z"]
    total, first = net.forward(list(x))
    np.testing.assert_allclose(total, np.tanh(np.maximum(x[0], 0)) + x[1], atol=1e-6)
    np.testing.assert_array_equal(first, np.maximum(x[0], 0))
    assert spica.from_tfjs(path, outputs=["b"]).outputs == ("b",)
    with pytest.raises(spica.SpicaError, match="nowhere"):
        spica.from_tfjs(path, outputs=["nowhere"])
    made["node"] = made["node"][:-2]
    np.testing.assert_array_equal(spica.from_tfjs(save(tmp_path, made, {}, "graph-model")).outputs, ["b"])


CHANGES = {
    "data_format": "NCHW", "dilations": [1, 2, 2, 2], "strides": [2, 1, 1, 1], "padding": "REFLECT",
    "explicit_paddings": [0, 0, 1, 1, 1, 1, 0, 0], "fused_ops": ["BiasAdd", "Cube"], "new_in_tensorflow_9": 3,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_options_that_change_the_meaning_are_not_overlooked(name, tmp_path):
    nodes = [("_FusedConv2D", "x k b", "y", window(fused_ops=["BiasAdd"]) | {name: CHANGES[name]})]
    with pytest.raises(spica.SpicaError, match="y: "):
        spica.from_tfjs(written(tmp_path, nodes, IMAGE, {"k": K, "b": B}))


@pytest.mark.parametrize(
    ("nodes", "constants", "message"),
    [
        ([("Cumsum", "x a", "y", {})], {"a": I(1)}, "y: the operation Cumsum is not supported"),
        ([("While", "x", "y", {})], {}, "y: the operation While is not supported"),
        ([("ArgMax", "x a", "y", {})], {"a": I(3)}, r"Network\.predict gives the class"),
        ([("ResizeBilinear", "x s", "y", resized(True))], {"s": I([17, 18])}, "whole factors"),
        ([("ResizeBilinear", "x s", "y", {"align_corners": True})], {"s": I([16, 18])}, "align_corners"),
        ([("ResizeBilinear", "x s", "y", resized(True))], {"s": I([-(1 << 30), 9])}, "whole factors"),
        ([("Conv2DBackpropInput", "n k x", "y", window(strides=(2, 2)))], {"n": I([1, 10, 18, 4]),
         "k": K.transpose(0, 1, 3, 2)}, "those of its convolution"),
        ([("Transpose", "x p", "y", {})], {"p": I([1, 0, 2, 3])}, "batch"),
        ([("Unpack", "x", "y", {"axis": 0})], {}, "batch"),
        ([("Squeeze", "x", "y", {"squeeze_dims": [0]})], {}, "batch"),
        ([("Conv2D", "x x", "y", window())], {}, "input 1 computed"),
        ([("_FusedConv2D", "x k", "y", window(fused_ops=["Elu"]))], {"k": K}, "use a bias and an activation"),
        ([("_FusedConv2D", "x k", "y", window(fused_ops=["BiasAdd"]))], {"k": K}, "give 3"),
        ([("Max", "x a", "y", {})], {"a": I([3])}, "a maximum over axes"),
        ([("Cast", "x", "y", {"DstT": "DT_INT32"})], {}, "a cast to DT_INT32"),
        ([("FusedBatchNormV3", "x s o m v", "y", {"epsilon": 0.1, "is_training": True})], STATISTICS, "in training"),
        ([("SpaceToBatchND", "x n p", "s", {}), ("Conv2D", "s k", "y", window())],
         {"n": I([2, 2]), "p": I([[0, 0], [0, 1]]), "k": K}, "no stride and no padding"),
        ([("Relu", "y", "z", {}), ("Relu", "z", "y", {})], {}, "no outputs"),
        ([("Relu", "a", "b", {}), ("Relu", "b", "a", {}), ("Relu", "a", "y", {})], {}, "loops are not supported"),
        ([("Relu", "nobody", "y", {})], {}, "which nothing makes"),
        ([("Relu", "x:7", "y", {})], {}, "has no output 7"),
        ([("Fill", "n v", "f", {}), ("Add", "x f", "y", {})], {"n": I([1 << 30, 8]), "v": np.float32(0)}, "the most"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_is_named(nodes, constants, message, tmp_path):
    with pytest.raises(spica.SpicaError, match=message):
        spica.from_tfjs(written(tmp_path, nodes, IMAGE, constants))


@pytest.mark.parametrize("shape", [(-1, -1, 8, 3), (3,), (-1, 4, 4, 4, 4), (1, 1 << 20, 1 << 20, 3), ()])
def test_inputs_of_unknown_or_other_sizes_are_refused(shape, tmp_path):
    with pytest.raises(spica.SpicaError, match="x: "):
        spica.from_tfjs(written(tmp_path, [("Relu", "x", "y", {})], shape))


def test_damaged_graphs_are_refused(tmp_path):
    path = written(tmp_path, [("_FusedConv2D", "x k b", "y", window(fused_ops=["BiasAdd"]))], IMAGE, {"k": K, "b": B})
    whole = json.loads(path.read_text())

    def refused(nodes):
        path.write_text(json.dumps(whole | {"modelTopology": {"node": nodes}}))
        with pytest.raises(spica.SpicaError, match=r"model\.json: |[ybk]: "):
            spica.from_tfjs(path)

    nodes = whole["modelTopology"]["node"]
    refused(nodes * 2)
    refused(3)
    refused(["x"])
    refused([*nodes[:1], *nodes[2:]])
    refused([nodes[0], {"name": "y", "op": "AddN", "input": ["x"] * 100_000}])
    refused([{"name": f"n{i}", "op": "Relu", "input": [f"n{i + 1}"]} for i in range(1 << 16)])
    for bad in ({"s": 3}, {"s": "!"}, {"i": "x"}, {}, {"i": "1", "s": "1"}, {"tensor": {}}, {"list": 3}, 3, None):
        refused([*nodes[:-1], nodes[-1] | {"attr": nodes[-1]["attr"] | {"padding": bad}}])
    refused([*nodes[:-1], nodes[-1] | {"attr": nodes[-1]["attr"] | {"dilations": attribute([1, 1 << 20, 1 << 20, 1])}}])
    whole["weightsManifest"] = []
    refused(nodes)


def test_a_deep_graph_needs_no_recursion(tmp_path):
    nodes = [("Relu", f"n{i - 1}" if i else "x", f"n{i}", {}) for i in range(5000)]
    assert len(spica.from_tfjs(written(tmp_path, nodes[::-1], VECTOR))) == 5001
