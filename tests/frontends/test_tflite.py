"""TensorFlow Lite models in: what its own interpreter computes, or a message that names the operation."""

from __future__ import annotations

import numpy as np
import pytest

import spica
from spica.layers import Activation, Conv2D, DepthwiseConv2D, Softmax
from spica.passes import prepare

pytest.importorskip("tflite")
interpreter = pytest.importorskip("ai_edge_litert.interpreter")
from ai_edge_litert import schema_py_generated as schema  # noqa: E402

KINDS = {np.dtype(np.float32): 0, np.dtype(np.int32): 2, np.dtype(np.int64): 4, np.dtype(np.int8): 9}


def weights(*shape, seed=0, low=-0.5, high=0.5):
    return np.random.default_rng([seed, *shape]).uniform(low, high, shape).astype(np.float32)


def options(kind, **fields):
    """Options of an operation: its type in the schema, and its fields."""
    made = getattr(schema, f"{kind}T")()
    for name, value in fields.items():
        setattr(made, name, value)
    return getattr(schema.BuiltinOptions, kind), made


def model(operations, shape, constants=(), scales=()):
    """The bytes of a model of operations ``(code, inputs, outputs, options)`` over named tensors; "x" goes in, "y" out.

    ``scales`` has the scale, zero and axis of constants that are integers.
    """
    made, graph = schema.ModelT(), schema.SubGraphT()
    made.version, made.buffers, made.operatorCodes, graph.tensors = 3, [schema.BufferT()], [], []
    numbers = {}

    def tensor(name, sizes, content=None):
        entry = schema.TensorT()
        entry.name, entry.shape, entry.buffer, entry.type = name, list(sizes), 0, 0
        if content is not None:
            entry.type, entry.buffer = KINDS[content.dtype], len(made.buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(content.tobytes(), np.uint8)
            made.buffers.append(buffer)
        if name in dict(scales):
            found = schema.QuantizationParametersT()
            found.scale, found.zeroPoint, found.quantizedDimension = dict(scales)[name]
            entry.quantization = found
        numbers[name] = len(graph.tensors)
        graph.tensors.append(entry)

    tensor("x", shape)
    for name, content in dict(constants).items():
        tensor(name, np.shape(content), np.asarray(content))
    graph.operators = []
    for code, read, write, wanted in operations:
        for name in write.split(" "):
            tensor(name, [1, 4, 7, 2] if code == "SLICE" else [1])
            graph.tensors[-1].type = 2 if code in ("SHAPE", "PACK") or name == "count" else 0
        entry, known = schema.OperatorT(), schema.OperatorCodeT()
        known.builtinCode = getattr(schema.BuiltinOperator, code)
        known.deprecatedBuiltinCode, known.version = min(known.builtinCode, 127), 1
        entry.opcodeIndex = len(made.operatorCodes)
        made.operatorCodes.append(known)
        entry.inputs = [numbers[name] if name else -1 for name in read.split(" ")]
        entry.outputs = [numbers[name] for name in write.split(" ")]
        if wanted is not None:
            entry.builtinOptionsType, entry.builtinOptions = wanted
        graph.operators.append(entry)
    graph.inputs, graph.outputs, made.subgraphs = [0], [numbers["y"]], [graph]
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(made.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def taken(content, tmp_path, tolerance=2e-5):
    """The network of a model, held to the interpreter on random samples."""
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    runner = interpreter.Interpreter(
        model_content=content,
        experimental_op_resolver_type=interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    runner.allocate_tensors()
    (source,), (end,) = runner.get_input_details(), runner.get_output_details()
    net = spica.from_tflite(path)
    for seed in range(2):
        x = np.random.default_rng(seed).uniform(-1, 1, source["shape"]).astype(np.float32)
        runner.set_tensor(source["index"], x)
        runner.invoke()
        want = runner.get_tensor(end["index"])
        for made in [net] if isinstance(net[net.outputs[0]], Softmax) else [net, prepare(net)]:
            got = made.forward(x)
            assert got.shape == want.shape
            np.testing.assert_allclose(got, want, atol=tolerance, rtol=1e-4)
    return net


IMAGE, VECTOR, TOKENS = (1, 8, 9, 3), (1, 6), (1, 5, 8)
K, D = weights(4, 3, 3, 3), weights(1, 3, 3, 6)
CONV = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
POOL = {"strideH": 2, "strideW": 2, "filterHeight": 3, "filterWidth": 2}
I = np.int32  # noqa: E741

MODELS = {
    "convolution": (IMAGE, [("CONV_2D", "x k b",
        "y", options("Conv2DOptions", **CONV | {"strideH": 2}, fusedActivationFunction=1))],
                    {"k": K, "b": weights(4)}),
    "dilation": (IMAGE, [("CONV_2D", "x k b",
        "y", options("Conv2DOptions", **CONV | {"dilationWFactor": 2}, padding=1))], {"k": K, "b": weights(4)}),
    "depthwise": (IMAGE, [("DEPTHWISE_CONV_2D", "x k b",
        "y", options("DepthwiseConv2DOptions", **CONV, depthMultiplier=2, fusedActivationFunction=3))],
                  {"k": D, "b": weights(6)}),
    "transposed": ((1, 4, 5, 3), [("TRANSPOSE_CONV", "s k x",
        "y", options("TransposeConvOptions", strideH=2, strideW=2))],
                   {"s": I([1, 8, 10, 4]), "k": K}),
    "transposed, valid": ((1, 4, 5, 3), [("TRANSPOSE_CONV", "s k x",
        "y", options("TransposeConvOptions", strideH=2, strideW=2, padding=1))],
                          {"s": I([1, 9, 11, 4]), "k": K}),
    "dense": (VECTOR, [("FULLY_CONNECTED", "x k b", "y", options("FullyConnectedOptions", fusedActivationFunction=1))],
        {"k": weights(3, 6), "b": weights(3)}),
    "dense without a bias": (VECTOR, [("FULLY_CONNECTED", "x k ", "y", options("FullyConnectedOptions"))],
        {"k": weights(3, 6)}),
    "dense on tokens": (TOKENS, [("FULLY_CONNECTED", "x k ", "y", options("FullyConnectedOptions", keepNumDims=True))],
        {"k": weights(3, 8)}),
    "dense on a flat image": (IMAGE, [("RESHAPE", "x s", "f", None), ("FULLY_CONNECTED", "f k ",
        "y", options("FullyConnectedOptions"))],
                              {"s": I([1, 216]), "k": weights(2, 216)}),
    "max pooling": (IMAGE, [("MAX_POOL_2D", "x", "y", options("Pool2DOptions", **POOL))], {}),
    "average pooling": (IMAGE, [("AVERAGE_POOL_2D", "x", "y", options("Pool2DOptions", **POOL, padding=1))], {}),
    "average pooling with a border": (IMAGE, [("AVERAGE_POOL_2D", "x", "y", options("Pool2DOptions", **POOL))], {}),
    "mean": (IMAGE, [("MEAN", "x a", "y", options("ReducerOptions"))], {"a": I([1, 2])}),
    "mean kept": (IMAGE, [("MEAN", "x a", "y", options("ReducerOptions", keepDims=True))], {"a": I([1, 2])}),
    "sum and maximum": (IMAGE, [("SUM", "x a", "s", options("ReducerOptions")), ("REDUCE_MAX", "x a",
        "m", options("ReducerOptions")),
                                ("ADD", "s m", "y", options("AddOptions"))], {"a": I([1, 2])}),
    "arithmetic": (IMAGE, [("MUL", "x s", "a", options("MulOptions")), ("SUB", "a o",
        "b", options("SubOptions", fusedActivationFunction=1)),
                           ("DIV", "b d", "c", options("DivOptions")), ("ADD", "c x",
            "y", options("AddOptions", fusedActivationFunction=3))],
                   {"s": weights(3), "o": np.float32(0.1), "d": np.float32(0.5)}),
    "squeeze and excite": (IMAGE, [("MEAN", "x a", "m", options("ReducerOptions", keepDims=True)), ("LOGISTIC", "m",
        "s", None),
                                   ("MUL", "x s", "y", options("MulOptions"))], {"a": I([1, 2])}),
    "activations": (IMAGE, [
        ("HARD_SWISH", "x", "a", None), ("LEAKY_RELU", "a", "b", options("LeakyReluOptions", alpha=0.2)), ("ELU", "b",
            "c", None),
        ("TANH", "c", "d", None), ("EXP", "d", "e", None), ("SQRT", "e", "f", None), ("RSQRT", "f", "g", None),
            ("SQUARE", "g", "h", None),
        ("NEG", "h", "i", None), ("ABS", "i", "j", None), ("PRELU", "j s", "k", None), ("RELU6", "k", "l", None),
            ("RELU", "l", "m", None),
        ("RELU_N1_TO_1", "m", "n", None), ("MAXIMUM", "n o", "p", None), ("MINIMUM", "p q", "r", None), ("GELU", "r",
            "y", options("GeluOptions"))],
        {"s": weights(3), "o": np.float32(-0.5), "q": np.float32(0.9)}),
    "a pad and a convolution": (IMAGE, [("PAD", "x p", "h", None), ("CONV_2D", "h k b",
        "y", options("Conv2DOptions", **CONV, padding=1))],
                                {"p": I([[0, 0], [1, 0], [2, 1], [0, 0]]), "k": K, "b": weights(4)}),
    "a mirror": (IMAGE, [("MIRROR_PAD", "x p", "y", options("MirrorPadOptions"))], {"p": I([[0, 0], [1, 0], [2, 1],
        [0, 0]])}),
    "parts": (IMAGE, [("SPLIT", "a x", "b c d", options("SplitOptions", numSplits=3)), ("CONCATENATION", "d b",
        "e", options("ConcatenationOptions", axis=3)),
                      ("STRIDED_SLICE", "e s t u", "y", options("StridedSliceOptions", beginMask=9, endMask=9))],
              {"a": I(3), "s": I([0, 1, 0, 0]), "t": I([0, 7, 8, 0]), "u": I([1, 2, 1, 1])}),
    "a slice": (IMAGE, [("SLICE", "x s t", "y", None)], {"s": I([0, 1, 2, 0]), "t": I([-1, 4, -1, 2])}),
    "one place": (TOKENS, [("STRIDED_SLICE", "x s t u",
        "y", options("StridedSliceOptions", beginMask=5, endMask=5, shrinkAxisMask=2))],
                  {"s": I([0, 2, 0]), "t": I([0, 3, 0]), "u": I([1, 1, 1])}),
    "transposed axes": (IMAGE, [("TRANSPOSE", "x p", "y", None)], {"p": I([0, 2, 1, 3])}),
    "nearest": ((1, 4, 5, 3), [("RESIZE_NEAREST_NEIGHBOR", "x s", "y", options("ResizeNearestNeighborOptions"))],
        {"s": I([8, 15])}),
    "bilinear": ((1, 4, 5, 3), [("RESIZE_BILINEAR", "x s",
        "y", options("ResizeBilinearOptions", halfPixelCenters=True))], {"s": I([8, 10])}),
    "bilinear from the first pixel": ((1, 4, 5, 3), [("RESIZE_BILINEAR", "x s", "y", options("ResizeBilinearOptions"))],
        {"s": I([12, 10])}),
    "dilation in parts": (IMAGE, [("SPACE_TO_BATCH_ND", "x b p", "s", None), ("CONV_2D", "s k c", "h",
        options("Conv2DOptions", **CONV, padding=1, fusedActivationFunction=1)),
                                  ("BATCH_TO_SPACE_ND", "h b r", "y", None)],
                          {"b": I([2, 2]), "p": I([[2, 2], [2, 3]]), "k": K, "c": weights(4),
                           "r": I([[0, 0], [0, 1]])}),
    "depth to space": ((1, 4, 5, 8), [("DEPTH_TO_SPACE", "x", "y", options("DepthToSpaceOptions", blockSize=2))], {}),
    "space to depth": ((1, 4, 6, 2), [("SPACE_TO_DEPTH", "x", "y", options("SpaceToDepthOptions", blockSize=2))], {}),
    "a shape worked out": (IMAGE, [("SHAPE", "x", "s", options("ShapeOptions", outType=2)), ("STRIDED_SLICE",
        "s a b c", "count", options("StridedSliceOptions", shrinkAxisMask=1)),
                                   ("PACK", "count r", "t", options("PackOptions", valuesCount=2)), ("RESHAPE", "x t",
            "y", None)],
                           {"a": I([0]), "b": I([1]), "c": I([1]), "r": I(216)}),
    "softmax": (VECTOR, [("SOFTMAX", "x", "y", options("SoftmaxOptions", beta=1.0))], {}),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_operations_of_tensorflow_lite(name, tmp_path):
    shape, operations, constants = MODELS[name]
    taken(model(operations, shape, constants), tmp_path)


def test_integers_are_taken_as_the_real_numbers_that_they_stand_for(tmp_path):
    kernel = np.rint(K / K.max() * 100).astype(np.int8)
    scale = np.linspace(0.001, 0.004, 4)
    content = model(
        [("DEQUANTIZE", "k", "r", None), ("CONV_2D", "x r b", "y", options("Conv2DOptions", **CONV))],
        IMAGE, {"k": kernel, "b": weights(4)}, {"k": (scale.tolist(), [0] * 4, 0)},
    )  # fmt: skip
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    net = spica.from_tflite(path)
    want = (kernel * scale[:, None, None, None]).transpose(1, 2, 3, 0)
    np.testing.assert_allclose(net.layers[1].kernel, want, rtol=1e-6)


def test_layers_are_those_that_devices_have(tmp_path):
    net = taken(model(*[MODELS["convolution"][i] for i in (1, 0, 2)]), tmp_path)
    assert [type(layer) for layer in net][1:] == [Conv2D, Activation] and net[net.layers[1].name].padding == "same"
    one = {"k": D[..., :3], "b": weights(3)}
    plain = [("DEPTHWISE_CONV_2D", "x k b", "y", options("DepthwiseConv2DOptions", **CONV, depthMultiplier=1))]
    assert isinstance(taken(model(plain, IMAGE, one), tmp_path).layers[1], DepthwiseConv2D)


def test_files_that_are_no_models_are_refused(tmp_path):
    whole, path = model(*[MODELS["convolution"][i] for i in (1, 0, 2)]), tmp_path / "bad.tflite"
    for content in (b"", b"no model", whole[:100], whole[: len(whole) // 2], b"\0\0\0\0TFL3" + bytes(40)):
        path.write_bytes(content)
        with pytest.raises(spica.SpicaError, match=r"bad\.tflite|y:|x:"):
            spica.from_tflite(path)
    with pytest.raises(spica.SpicaError, match="cannot be read"):
        spica.from_tflite(tmp_path / "nowhere.tflite")


@pytest.mark.parametrize(
    ("operations", "constants", "message"),
    [
        ([("CUMSUM", "x a", "y", options("CumsumOptions"))], {"a": I(1)}, "y: the operation CUMSUM is not supported"),
        ([("RESIZE_BILINEAR", "x s", "y", options("ResizeBilinearOptions"))], {"s": I([17, 18])}, "whole factors"),
        ([("TRANSPOSE", "x p", "y", None)], {"p": I([1, 0, 2, 3])}, "batch"),
        ([("CONV_2D", "x x b", "y", options("Conv2DOptions", **CONV))], {"b": weights(4)}, "input 1 computed"),
    ],
)
def test_what_cannot_be_taken_is_named(operations, constants, message, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(model(operations, IMAGE, constants))
    with pytest.raises(spica.SpicaError, match=message):
        spica.from_tflite(path)
