"""ONNX models in: what an independent runtime computes, whoever exported them, or a message that names the node."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest

import spica
from spica.layers import (
    Attention,
    Conv2D,
    ConvTranspose2D,
    DepthwiseConvTranspose2D,
    Gather,
    LayerNormalization,
    Softmax,
    TableActivation,
)
from spica.passes import prepare

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

OPSET = 17


def weights(*shape, seed=0, low=-0.5, high=0.5):
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32)


def model(nodes, shape, constants=(), opset=OPSET, batch="N", inputs=("x",), outputs=("y",), domain=""):
    """A model of nodes given as ``(type, inputs, outputs, attributes)``; constants are named arrays."""
    made = [
        helper.make_node(kind, read.split(" "), write.split(" "), name=f"node_{i}", domain=domain, **attributes)
        for i, (kind, read, write, attributes) in enumerate(nodes)
    ]
    graph = helper.make_graph(
        made, "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape]) for name in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(constants).items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=min(8, onnx.IR_VERSION))


def taken(proto, tolerance=2e-5, seed=0):
    """The network of a model of one input, held to onnxruntime on random samples."""
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim][1:]
    batch = proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 3
    x = np.random.default_rng(seed).uniform(-1, 1, (batch, *shape)).astype(np.float32)
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    wanted = session.run(None, {proto.graph.input[0].name: x})
    net = spica.from_onnx(proto)
    ours = np.moveaxis(x, 1, -1) if net.inputs[0].shape == (*shape[1:], shape[0]) and len(shape) > 1 else x
    prepared = prepare(net)
    ends = [sum(isinstance(layer, Softmax) for layer in made) for made in (net, prepared)]
    for made in [net, prepared] if ends[0] == ends[1] else [net]:  # a last softmax is left out on purpose
        outputs = made.forward(ours)
        for got, want in zip(outputs if isinstance(outputs, list) else [outputs], wanted, strict=True):
            if want.ndim == 4 and got.shape != want.shape:
                want = np.moveaxis(want, 1, -1)
            np.testing.assert_allclose(got.reshape(want.shape), want, atol=tolerance, rtol=1e-4)
    return net


IMAGE, SIGNAL, VECTOR, TOKENS = (3, 8, 9), (4, 12), (6,), (5, 8)
K = weights(4, 3, 3, 3)
NORM = {"g": weights(3), "b": weights(3, seed=1), "m": weights(3, seed=2), "v": weights(3, low=0.5, high=1.5)}

MODELS = {
    "convolution": (IMAGE, [("Conv", "x k c", "y", {"strides": [2, 1], "pads": [1, 0, 2, 1]})], {"k": K,
        "c": weights(4)}),
    "same above": (IMAGE, [("Conv", "x k", "y", {"auto_pad": "SAME_UPPER", "strides": [2, 2]})], {"k": K}),
    "valid": (IMAGE, [("Conv", "x k", "y", {"auto_pad": "VALID", "dilations": [2, 1]})], {"k": K}),
    "groups": (IMAGE, [("Conv", "x k", "y", {"group": 3})], {"k": weights(6, 1, 3, 3)}),
    "signal": (SIGNAL, [("Conv", "x k c", "h", {"strides": [2], "pads": [1, 2]}), ("Relu", "h", "r", {}),
                        ("MaxPool", "r", "p", {"kernel_shape": [2], "strides": [2]}), ("Flatten", "p", "f", {}),
                        ("Gemm", "f w", "y", {})], {"k": weights(6, 4, 3), "c": weights(6), "w": weights(18, 2)}),
    "transposed": (IMAGE, [("ConvTranspose", "x k c", "y", {"strides": [2, 2], "pads": [1, 1, 0, 1],
        "output_padding": [1, 0]})],
                   {"k": weights(3, 4, 3, 3), "c": weights(4)}),
    "transposed signal": (SIGNAL, [("ConvTranspose", "x k", "y", {"strides": [2]})], {"k": weights(4, 3, 3)}),
    "gemm without a bias": (VECTOR, [("Gemm", "x k", "y", {"transB": 1, "beta": 0.5})], {"k": weights(3, 6)}),
    "gemm": (VECTOR, [("Gemm", "x k c", "y", {"transB": 1, "alpha": 0.5, "beta": 2.0})], {"k": weights(3, 6),
        "c": weights(3)}),
    "product and sum": (VECTOR, [("MatMul", "x k", "h", {}), ("Add", "c h", "y", {})], {"k": weights(6, 3),
        "c": weights(3)}),
    "a matrix on the left": (TOKENS, [("MatMul", "k x", "y", {})], {"k": weights(3, 5)}),
    "normalisation": (IMAGE, [("BatchNormalization", "x g b m v", "h", {"epsilon": 1e-3}), ("Conv", "h k", "y", {})],
        {**NORM, "k": K}),
    "max pooling": (IMAGE, [("MaxPool", "x", "y", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]})],
        {}),
    "max pooling by one": (IMAGE, [("MaxPool", "x", "y", {"kernel_shape": [2, 2]})], {}),
    "average pooling": (IMAGE, [("AveragePool", "x", "y", {"kernel_shape": [2, 3], "strides": [2, 2]})], {}),
    "its border": (IMAGE, [("AveragePool", "x", "y", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]})], {}),
    "its border counted": (IMAGE, [("AveragePool", "x", "y", {"kernel_shape": [3, 3], "pads": [1] * 4,
        "count_include_pad": 1})], {}),
    "global pools": (IMAGE, [("GlobalAveragePool", "x", "a", {}), ("GlobalMaxPool", "x", "m", {}), ("Concat", "a m",
        "c", {"axis": 1}),
                             ("Flatten", "c", "y", {})], {}),
    "mean as pooling": (IMAGE, [("ReduceMean", "x", "h", {"axes": [2, 3], "keepdims": 0}), ("MatMul", "h k", "y", {})],
        {"k": weights(3, 2)}),
    "sums": (IMAGE, [("ReduceSum", "x a", "y", {"keepdims": 1})], {"a": np.array([2, 3])}),
    "a maximum": (IMAGE, [("ReduceMax", "x", "y", {"axes": [2, 3], "keepdims": 0})], {}),
    "activations": (IMAGE, [
        ("LeakyRelu", "x", "a", {"alpha": 0.2}), ("Elu", "a", "b", {"alpha": 0.7}), ("Selu", "b", "c", {}), ("Celu",
            "c", "d", {"alpha": 0.8}),
        ("HardSigmoid", "d", "e", {}), ("HardSigmoid", "e", "f", {"alpha": 0.3, "beta": 0.4}), ("HardSwish", "f", "g",
            {}),
        ("Softplus", "g", "h", {}), ("Softsign", "h", "i", {}), ("Tanh", "i", "j", {}), ("Sigmoid", "j", "k", {}),
            ("Erf", "k", "l", {}),
        ("Exp", "l", "m", {}), ("Neg", "m", "n", {}), ("Abs", "n", "o", {}), ("Sqrt", "o", "p", {}), ("Reciprocal",
            "p", "q", {}),
        ("PRelu", "q s", "r", {}), ("Pow", "r e2", "y", {})], {"s": weights(3, 1, 1), "e2": np.float32(2)}),
    "bounds": (VECTOR, [("Clip", "x l h", "a", {}), ("Max", "a m", "b", {}), ("Min", "b n", "c", {}), ("Clip", "c  n",
        "y", {})],
               {"l": np.float32(-0.7), "h": np.float32(0.8), "m": np.float32([-0.5]), "n": np.float32(0.4)}),
    "pad and convolution": (IMAGE, [("Pad", "x p", "h", {}), ("Conv", "h k", "y", {})],
        {"p": np.array([0, 0, 1, 2, 0, 0, 0, 1]), "k": K}),
    "a reflected border": (IMAGE, [("Pad", "x p", "y", {"mode": "reflect"})],
        {"p": np.array([0, 0, 1, 2, 0, 0, 0, 1])}),
    "channels of zeros": (IMAGE, [("Pad", "x p", "y", {})], {"p": np.array([0, 1, 0, 0, 0, 2, 0, 0])}),
    "negative padding": (IMAGE, [("Pad", "x p", "y", {})], {"p": np.array([0, 0, -1, 0, 0, 0, 0, -2])}),
    "nearest": (IMAGE, [("Resize", "x  s", "y", {"coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor"})],
                {"s": np.float32([1, 1, 2, 3])}),
    "nearest by half pixels": (IMAGE, [("Resize", "x  s", "y", {})], {"s": np.float32([1, 1, 3, 2])}),
    "nearest to smaller": (IMAGE, [("Resize", "x  s", "y", {"coordinate_transformation_mode": "asymmetric",
        "nearest_mode": "floor"})],
                           {"s": np.float32([1, 1, 0.5, 1 / 3])}),
    "bilinear": (IMAGE, [("Resize", "x  s", "y", {"mode": "linear"})], {"s": np.float32([1, 1, 2, 3])}),
    "bilinear by size": ((3, 4, 5), [("Resize", "x   z", "y", {"mode": "linear"})], {"z": np.array([1, 3, 8, 10])}),
    "depth to space": ((8, 4, 5), [("DepthToSpace", "x", "y", {"blocksize": 2})], {}),
    "depth to space by columns": ((8, 4, 5), [("DepthToSpace", "x", "y", {"blocksize": 2, "mode": "CRD"})], {}),
    "space to depth": ((2, 4, 6), [("SpaceToDepth", "x", "y", {"blocksize": 2})], {}),
    "split and concat": (IMAGE, [("Split", "x s", "a b", {"axis": 1}), ("Relu", "b", "r", {}), ("Concat", "r a", "y",
        {"axis": 1})], {"s": np.array([1, 2])}),
    "slices": (IMAGE, [("Slice", "x s e a t", "y", {})],
               {"s": np.array([1, -1]), "e": np.array([7, -2147483648]), "a": np.array([2, 3]),
            "t": np.array([2, -1])}),
    "gathers": (IMAGE, [("Gather", "x i", "y", {"axis": 1})], {"i": np.array([2, 0, 1, 1])}),
    "one place": (TOKENS, [("Gather", "x i", "y", {"axis": 1})], {"i": np.array(0)}),
    "a shape worked out": (IMAGE, [("Shape", "x", "s", {}), ("Gather", "s z", "n", {}), ("Unsqueeze", "n a", "u", {}),
        ("Concat", "u r", "t", {"axis": 0}),
                                   ("Reshape", "x t", "h", {}), ("MatMul", "h k", "y", {})],
                           {"z": np.array(0), "a": np.array([0]), "r": np.array([-1]), "k": weights(216, 2)}),
    "softmax": (VECTOR, [("Softmax", "x", "y", {})], {}),
    "log-softmax of channels": (IMAGE, [("LogSoftmax", "x", "y", {"axis": 1})], {}),
    "layer normalisation": (TOKENS, [("LayerNormalization", "x g b", "y", {"epsilon": 1e-4})], {"g": weights(8),
        "b": weights(8, seed=1)}),
    "instance normalisation": (IMAGE, [("InstanceNormalization", "x g b", "y", {})], {"g": weights(3),
        "b": weights(3, seed=1)}),
    "arithmetic": (IMAGE, [("Sub", "x m", "a", {}), ("Div", "a s", "b", {}), ("Conv", "b k", "c", {}), ("Add", "c c",
        "d", {}), ("Sub", "o d", "y", {})],
                   {"m": weights(1, 3, 1, 1), "s": weights(1, 3, 1, 1, low=1, high=2), "k": K, "o": np.float32(1)}),
    "squeeze and excite": (IMAGE, [("GlobalAveragePool", "x", "a", {}), ("Conv", "a k", "b", {}), ("Sigmoid", "b", "c",
        {}), ("Mul", "x c", "y", {})],
                           {"k": weights(3, 3, 1, 1)}),
    "dropout and identity": (VECTOR, [("Dropout", "x", "h", {}), ("Identity", "h", "i", {}), ("Cast", "i", "y",
        {"to": 1})], {}),
    "several outputs": (IMAGE, [("Conv", "x k", "y", {}), ("Relu", "y", "z", {})], {"k": K}),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch", ["N", 1])
def test_operations_of_onnx(name, batch):
    shape, nodes, constants = MODELS[name]
    if batch == "N" and name == "bilinear by size":
        return  # such a size is of one sample
    outputs = ("y", "z") if name == "several outputs" else ("y",)
    taken(model(nodes, shape, constants, batch=batch, outputs=outputs))


OLD = {
    "clip": (6 + 1, VECTOR, [("Clip", "x", "y", {"min": -0.5, "max": 0.6})], {}),
    "batch norm": (7, IMAGE, [("BatchNormalization", "x g b m v", "y", {})], NORM),
    "upsample": (9, IMAGE, [("Upsample", "x s", "y", {"mode": "nearest"})], {"s": np.float32([1, 1, 2, 2])}),
    "upsample by attribute": (7, IMAGE, [("Upsample", "x", "y", {"mode": "nearest", "scales": [1.0, 1.0, 2.0, 3.0]})],
        {}),
    "resize": (10, IMAGE, [("Resize", "x s", "y", {})], {"s": np.float32([1, 1, 2, 3])}),
    "squeeze": (7, (3, 1, 4), [("Squeeze", "x", "h", {"axes": [2]}), ("Unsqueeze", "h", "y", {"axes": [1]})], {}),
    "slice": (7, IMAGE, [("Slice", "x", "y", {"starts": [1, 0], "ends": [3, 5], "axes": [1, 3]})], {}),
    "split": (7, IMAGE, [("Split", "x", "a b", {"axis": 1, "split": [1, 2]}), ("Concat", "b a", "y", {"axis": 1})], {}),
    "pad": (7, IMAGE, [("Pad", "x", "y", {"pads": [0, 0, 1, 1, 0, 0, 2, 0]})], {}),
    "softmax of all axes from one on": (11, (4, 1, 1), [("Softmax", "x", "y", {"axis": 1})], {}),
    "dropout": (7, VECTOR, [("Dropout", "x", "y", {"ratio": 0.3})], {}),
    "sum": (11, IMAGE, [("ReduceSum", "x", "y", {"axes": [2, 3]})], {}),
    "mean": (18, IMAGE, [("ReduceMean", "x a", "y", {"keepdims": 0})], {"a": np.array([2, 3])}),
    "pad of some axes": (18, IMAGE, [("Pad", "x p  a", "y", {})], {"p": np.array([1, 2]), "a": np.array([3])}),
    "gelu": (20, VECTOR, [("Gelu", "x", "h", {}), ("Gelu", "h", "y", {"approximate": "tanh"})], {}),
    "mish": (18, VECTOR, [("Mish", "x", "y", {})], {}),
    "group norm": (21, (6, 4, 5), [("GroupNormalization", "x g b", "y", {"num_groups": 3})], {"g": weights(6),
        "b": weights(6, seed=1)}),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_operations_as_old_and_new_opsets_have_them(name):
    opset, shape, nodes, constants = OLD[name]
    taken(model(nodes, shape, constants, opset=opset))


def exported(module, shape, batch=1):
    """A module of PyTorch as its exporter of scripts writes it."""
    torch = pytest.importorskip("torch")
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module.eval(), torch.rand(batch, *shape), file, dynamo=False, opset_version=13)
    return onnx.load_from_string(file.getvalue())


def transformer(first):
    """A block as it is usually written: heads by reshape, samples first or, as PyTorch's own, tokens first."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.last = nn.LayerNorm(8), nn.LayerNorm(8)
            self.qkv, self.out, self.up, self.down = (nn.Linear(8, n) for n in (24, 8, 16, 8))
            self.down = nn.Linear(16, 8)

        def forward(self, x):
            y = self.norm(x)
            if first:
                q, k, v = (p.unflatten(-1, (2, 4)).transpose(1, 2) for p in self.qkv(y).chunk(3, -1))
                mixed = (((q * 0.5) @ k.transpose(-1, -2)).softmax(-1) @ v).transpose(1, 2).flatten(2)
            else:
                n, t = y.shape[:2]
                q, k, v = (p.reshape(t, n * 2, 4).transpose(0, 1) for p in self.qkv(y.transpose(0, 1)).chunk(3, -1))
                mixed = torch.bmm(torch.bmm(q, k.transpose(1, 2)).mul(0.5).softmax(-1), v)
                mixed = mixed.transpose(0, 1).reshape(t, n, 8).transpose(0, 1)
            x = x + self.out(mixed)
            return x + self.down(nn.functional.gelu(self.up(self.last(x))))

    return Block()


@pytest.mark.parametrize("first", [True, False])
def test_attention_layer_norm_and_gelu_in_parts_are_one_layer_each(first):
    net = taken(exported(transformer(first), TOKENS))
    kinds = [type(layer) for layer in net]
    assert (kinds.count(Attention), kinds.count(LayerNormalization), kinds.count(TableActivation)) == (1, 2, 1)
    assert Gather not in kinds


def test_images_have_no_transpose_left_over():
    torch = pytest.importorskip("torch")
    nn = torch.nn
    part = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2)
    )
    kinds = {type(layer).__name__ for layer in taken(exported(part, IMAGE))}
    assert not kinds & {"Gather", "Permute", "Reshape"}
    turned = model(
        [("Transpose", "x", "t", {"perm": [0, 3, 1, 2]}), ("Conv", "t k", "c", {}), ("Transpose", "c", "y",
            {"perm": [0, 2, 3, 1]})],
        (8, 9, 3), {"k": K},
    )  # fmt: skip
    net = spica.from_onnx(turned)
    assert [type(layer) for layer in net][1:] == [Conv2D] and net.inputs[0].shape == (8, 9, 3)


def test_up_sampling_is_what_devices_have():
    nodes = [("Resize", "x  s", "y", {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"})]
    net = taken(model(nodes, IMAGE, {"s": np.float32([1, 1, 2, 2])}))
    assert isinstance(net.layers[-1], DepthwiseConvTranspose2D)
    assert isinstance(taken(model(*[MODELS["transposed"][i] for i in (1, 0, 2)])).layers[-1], ConvTranspose2D)


def integers(values, scale, zero=0, dtype=np.int8):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    return np.clip(np.rint(values / scale) + zero, low, high).astype(dtype)


def test_integer_models_are_taken_as_the_real_numbers_that_they_stand_for():
    kernel, bias = weights(4, 3, 3, 3), weights(4)
    scales = {
        "sx": np.float32(1 / 127),
        "sw": np.full(4, 0.5 / 127, np.float32),
        "sy": np.float32(0.02),
        "zx": np.uint8(128),
    }
    constants = {
        **scales, "zw": np.zeros(4, np.int8), "zy": np.uint8(0), "w": integers(kernel, 0.5 / 127),
        "c": np.rint(bias / (0.5 / 127 / 127)).astype(np.int32), "sc": scales["sx"] * scales["sw"],
        "zc": np.zeros(4, np.int32),
    }  # fmt: skip
    qdq = [
        ("QuantizeLinear", "x sx zx", "xi", {}), ("DequantizeLinear", "xi sx zx", "xr", {}),
        ("DequantizeLinear", "w sw zw", "wr", {"axis": 0}), ("DequantizeLinear", "c sc zc", "cr", {"axis": 0}),
        ("Conv", "xr wr cr", "h", {}), ("QuantizeLinear", "h sy zy", "hi", {}), ("DequantizeLinear", "hi sy zy", "y",
            {}),
    ]  # fmt: skip
    linear = [
        ("QuantizeLinear", "x sx zx", "xi", {}), ("QLinearConv", "xi sx zx w sw zw sy zy c", "hi", {}),
        ("DequantizeLinear", "hi sy zy", "y", {}),
    ]  # fmt: skip
    nets = [taken(model(nodes, IMAGE, constants), tolerance=0.05) for nodes in (qdq, linear)]
    for net in nets:  # an output of unsigned integers from zero on holds what a ReLU leaves
        assert [type(layer).__name__ for layer in net] == ["Input", "Conv2D", "Activation"]
        np.testing.assert_allclose(net.layers[1].kernel, kernel.transpose(2, 3, 1, 0), atol=0.5 / 127)
    np.testing.assert_allclose(nets[0].layers[1].bias, nets[1].layers[1].bias, rtol=1e-6)


def test_networks_that_spica_exports_come_back():
    rng = np.random.default_rng(0)
    net = spica.from_onnx(model(MODELS["convolution"][1], IMAGE, MODELS["convolution"][2]))
    x = rng.integers(0, 256, (8, 8, 9, 3)).astype(np.uint8)
    qnet = spica.quantize(net, x)
    np.testing.assert_array_equal(qnet.forward(x), qnet.forward(x, engine="reference"))


# -- files -----------------------------------------------------------------------------------------------------------


def save_outside(proto, path, location):
    """Save a model with its first constant in another file."""
    onnx.save(proto, path)
    made = onnx.load(path)
    tensor = made.graph.initializer[0]
    content = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("length", str(len(content)))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    path.write_bytes(made.SerializeToString())
    return content


def test_external_data_is_read_from_the_folder_of_the_model_alone(tmp_path):
    proto, folder = model([("Conv", "x k", "y", {})], IMAGE, {"k": K}), tmp_path / "model"
    folder.mkdir()
    content = save_outside(proto, folder / "inside.onnx", "data/weights.bin")
    (folder / "data").mkdir()
    (folder / "data/weights.bin").write_bytes(content)
    np.testing.assert_array_equal(spica.from_onnx(folder / "inside.onnx").layers[1].kernel, K.transpose(2, 3, 1, 0))
    (tmp_path / "secret.bin").write_bytes(content)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    for location in ("../secret.bin", str(tmp_path / "secret.bin"), "link.bin", "", ".."):
        save_outside(proto, folder / "outside.onnx", location)
        with pytest.raises(spica.SpicaError, match="outside the folder of the model"):
            spica.from_onnx(folder / "outside.onnx")
    save_outside(proto, folder / "missing.onnx", "none.bin")
    with pytest.raises(spica.SpicaError, match="which is missing"):
        spica.from_onnx(folder / "missing.onnx")


def test_files_that_are_no_models_are_refused(tmp_path):
    whole = model([("Conv", "x k", "y", {})], IMAGE, {"k": K}).SerializeToString()
    for content in (b"", b"no model at all", whole[:-200], whole[:20]):
        (tmp_path / "bad.onnx").write_bytes(content)
        with pytest.raises(spica.SpicaError, match=r"bad\.onnx|x:|node_0|y:"):
            spica.from_onnx(tmp_path / "bad.onnx")
    for other in (3, None, object()):
        with pytest.raises(spica.SpicaError, match=r"not the path of an \.onnx file"):
            spica.from_onnx(other)
    with pytest.raises(spica.SpicaError, match="cannot be read"):
        spica.from_onnx(tmp_path / "nowhere.onnx")


REFUSED = {
    "a loop over what is computed": (VECTOR, [("NonZero", "x", "y", {})], {}, "node_0.*NonZero is not supported"),
    "weights that are computed": (IMAGE, [("Conv", "k x", "y", {})], {"k": weights(1, 3, 8, 9)}, "node_0"),
    "a batch apart": (VECTOR, [("Slice", "x s e", "y", {})], {"s": np.array([0]), "e": np.array([1])},
        "takes samples of the batch apart"),
    "an order of samples": (TOKENS, [("ReduceMean", "x", "y", {"axes": [0]})], {}, "node_0"),
    "another domain": (VECTOR, [("Relu", "x", "y", {})], {}, "my.own.Relu is none of ONNX's own"),
    "what nothing makes": (VECTOR, [("Relu", "nowhere", "y", {})], {}, "reads 'nowhere', which nothing makes"),
    "a constant output": (VECTOR, [("Relu", "c", "y", {})], {"c": weights(3)}, "does not depend on the input"),
    "a huge constant": (VECTOR, [("ConstantOfShape", "c", "h", {}), ("Add", "x h", "y", {})],
        {"c": np.array([1 << 20, 1 << 20])}, "more than"),
    "corners": (IMAGE, [("Resize", "x  s", "y", {"mode": "linear",
        "coordinate_transformation_mode": "align_corners"})], {"s": np.float32([1, 1, 2, 2])},
                "align_corners"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_taken_is_named(name):
    shape, nodes, constants, message = REFUSED[name]
    with pytest.raises(spica.SpicaError, match=message):
        spica.from_onnx(model(nodes, shape, constants, domain="my.own" if name == "another domain" else ""))


@pytest.mark.parametrize(
    ("shape", "node", "message"),
    [
        (IMAGE, ("Resize", "x  s", "y", {"axes": [2, 3]}), "a Resize by|option axes of Resize"),
        (IMAGE, ("Resize", "x  f", "y", {"antialias": 1}), "option antialias of Resize is not supported"),
        (VECTOR, ("ReduceMean", "x e", "y", {"noop_with_empty_axes": 1}), "option noop_with_empty_axes of ReduceMean"),
        (VECTOR, ("Dropout", "x r t", "y", {}), "dropout in training"),
        (VECTOR, ("Relu", "x", "y", {"unheard_of": 3}), "option unheard_of of Relu is not supported"),
    ],
)
def test_options_that_are_not_read_are_refused(shape, node, message):
    constants = {"s": np.float32([2, 2]), "f": np.float32([1, 1, 2, 2]), "e": np.empty(0, np.int64),
                 "r": np.float32(0.5), "t": np.array(True)}  # fmt: skip
    used = {name: value for name, value in constants.items() if name in node[1].split(" ")}
    with pytest.raises(spica.SpicaError, match=message):
        spica.from_onnx(model([node], shape, used, opset=18))


def test_inputs_and_opsets_are_checked():
    with pytest.raises(spica.SpicaError, match=r"of opset 6, but must be of 7 or later.*version_converter"):
        spica.from_onnx(model([("Relu", "x", "y", {})], VECTOR, opset=6))
    unknown = model([("Relu", "x", "y", {})], ("C", 8, 8))
    with pytest.raises(spica.SpicaError, match=r"x: an input of shape \(N, \?, 8, 8\)"):
        spica.from_onnx(unknown)
    both = spica.from_onnx(model([("Add", "x z", "y", {})], VECTOR, inputs=("x", "z")))
    assert [layer.name for layer in both.inputs] == ["x", "z"]
