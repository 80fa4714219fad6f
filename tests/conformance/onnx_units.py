"""Generate golden vectors of the quantised ONNX form that quantizeml writes.

Runs in the environment of generate.py, with onnxruntime and onnxruntime_extensions beside quantizeml:

    PYTHONHASHSEED=0 OMP_NUM_THREADS=1 python onnx_units.py golden_onnx [--seed N]

Each case leaves NAME.onnx, the quantised model, and NAME.npz with ``input_I``, ``output_I`` and ``NODE:values``, the
integers that each quantised node puts out, all of them channels last. Weights are random. A temporal network sees its
frames one at a time from a cleared state, and the arrays are stacked in that order.
"""

import argparse
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnxruntime_extensions import get_library_path
from quantizeml.layers import QuantizationParams
from quantizeml.models import quantize
from quantizeml.onnx_support.layers import btc_function, dwbtc_function, reset_buffers

OPSET, DOMAIN = 21, "com.brainchip"


@dataclass
class Graph:
    """A float graph in the making: each method appends a node and gives the name of its output."""

    name: str
    random: np.random.Generator
    nodes: list = field(default_factory=list)
    weights: list = field(default_factory=list)

    def node(self, kind: str, inputs: list[str], **attributes) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        domain = DOMAIN if "Buffer" in kind else ""
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_out"], name, domain=domain, **attributes))
        return f"{name}_out"

    def weight(self, *shape: int, scale: float = 1.0) -> str:
        values = self.random.normal(0, scale, shape).astype(np.float32)
        return self.constant(values)

    def constant(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def conv(self, x: str, c: int, f: int, k: int = 3, bias=True, pads=(1, 1, 1, 1), strides=(1, 1), group=1) -> str:
        inputs = [x, self.weight(f, c // group, k, k, scale=(k * k * c / group) ** -0.5)]
        inputs += [self.weight(f, scale=0.3)] if bias else []
        return self.node("Conv", inputs, kernel_shape=[k, k], pads=list(pads), strides=list(strides), group=group)

    def transposed(self, x: str, c: int, f: int, k: int, pads, strides=(2, 2), group=1) -> str:
        inputs = [x, self.weight(c, f // group, k, k, scale=0.3), self.weight(f, scale=0.3)]
        return self.node(
            "ConvTranspose", inputs, kernel_shape=[k, k], pads=list(pads), strides=list(strides), group=group
        )

    def relu(self, x: str, bound: float | None = None) -> str:
        if bound is None:
            return self.node("Relu", [x])
        return self.node("Clip", [x, self.constant(np.float32(0)), self.constant(np.float32(bound))])

    def pool(self, x: str, k=2, strides=(2, 2), pads=(0, 0, 0, 0)) -> str:
        return self.node("MaxPool", [x], kernel_shape=[k, k], strides=list(strides), pads=list(pads))

    def dense(self, x: str, c: int, f: int, bias=True) -> str:
        inputs = [x, self.weight(f, c, scale=c**-0.5)] + ([self.weight(f, scale=0.3)] if bias else [])
        return self.node("Gemm", inputs, transB=1)

    def gelu(self, x: str) -> str:
        scaled = self.node("Div", [x, self.constant(np.float32(np.sqrt(2)))])
        half = self.node("Add", [self.node("Erf", [scaled]), self.constant(np.float32(1))])
        return self.node("Mul", [self.node("Mul", [x, half]), self.constant(np.float32(0.5))])

    def swish(self, x: str) -> str:
        return self.node("Mul", [x, self.node("Sigmoid", [x])])

    def normalise(self, x: str) -> str:
        """Images as torchvision's networks see them: the border is then filled with the mean."""
        mean, deviation = (np.array(v, np.float32).reshape(1, 3, 1, 1) for v in ((124, 116, 104), (58, 57, 57)))
        return self.node("Div", [self.node("Sub", [x, self.constant(mean)]), self.constant(deviation)])

    def temporal(self, x: str, c: int, f: int, depth: int) -> str:
        inputs = [x, self.weight(f, c * depth, 1, 1, scale=(c * depth) ** -0.5), self.weight(f, scale=0.3)]
        return self.node("BufferTempConv", inputs, fifo_name=f"f{len(self.nodes)}", fifo_size=depth, model_id=self.name)

    def depthwise_temporal(self, x: str, c: int, depth: int) -> str:
        inputs = [x, self.weight(c, depth, 1, 1, scale=depth**-0.5), self.weight(c, 1, 1, scale=0.3)]
        return self.node(
            "DepthwiseBufferTempConv", inputs, fifo_name=f"f{len(self.nodes)}", fifo_size=depth, model_id=self.name
        )


@dataclass
class Case:
    """Builds the graph after its input ``x`` and gives the outputs' names."""

    name: str
    build: Callable
    shape: tuple[int, ...] = (3, 9, 8)
    dtype: str = "uint8"
    samples: int = 3
    frames: int = 0
    qparams: dict = field(default_factory=dict)
    channels_last: bool = False


def plain(*steps: Callable) -> Callable:
    """A chain: each step takes the graph and a tensor and gives the next."""

    def build(g: Graph, x: str) -> list[str]:
        for step in steps:
            x = step(g, x)
        return [x]

    return build


def first(g: Graph, x: str) -> str:
    """An input convolution to 8 channels."""
    return g.relu(g.conv(x, 3, 8))


def head(g: Graph, x: str) -> str:
    return g.dense(g.node("Flatten", [x]), 8 * 9 * 8, 5)


def residual(g: Graph, x: str) -> list[str]:
    x = first(g, x)
    return [head(g, g.node("Add", [g.conv(x, 8, 8), g.conv(x, 8, 8, k=1, pads=(0, 0, 0, 0))]))]


def sum_last(g: Graph, x: str) -> list[str]:
    x = first(g, x)
    return [g.node("Add", [g.conv(x, 8, 8), x])]


def concatenated(g: Graph, x: str) -> list[str]:
    x = first(g, x)
    joined = g.node("Concat", [g.relu(g.conv(x, 8, 4)), g.conv(x, 8, 6)], axis=1)
    return [g.conv(joined, 10, 4)]


def two_outputs(g: Graph, x: str) -> list[str]:
    x = first(g, x)
    return [head(g, x), g.conv(x, 8, 3, k=1, pads=(0, 0, 0, 0))]


def gap(g: Graph, x: str) -> str:
    return g.node("GlobalAveragePool", [x])


def wide(g: Graph, x: str) -> str:
    return g.conv(x, 8, 12)


def last(g: Graph, x: str) -> str:
    return g.conv(x, 12, 4)


def point(g: Graph, x: str) -> str:
    return g.conv(x, 12, 4, k=1, pads=(0, 0, 0, 0))


def classify(g: Graph, x: str) -> str:
    return g.dense(g.node("Flatten", [x]), 12, 4)


def depthwise(**options) -> Callable:
    return lambda g, x: g.conv(x, 8, 8, group=8, **options)


def separable(g: Graph, x: str) -> str:
    x = g.relu(g.conv(x, 8, 8, group=8))
    return g.relu(g.conv(x, 8, 12, k=1, pads=(0, 0, 0, 0)))


PER_TENSOR = {"per_tensor_activations": True}

CASES = [
    Case("input_conv", plain(first)),
    Case("input_conv_no_bias", plain(lambda g, x: g.conv(x, 3, 8, bias=False))),
    Case("input_conv_valid_stride", plain(lambda g, x: g.relu(g.conv(x, 3, 8, pads=(0, 0, 0, 0), strides=(2, 2))))),
    Case("input_conv_pool", plain(lambda g, x: g.relu(g.pool(g.conv(x, 3, 8))))),
    Case("input_conv_clip", plain(lambda g, x: g.relu(g.conv(x, 3, 8), 1.5))),
    Case("input_conv_gelu", plain(lambda g, x: g.gelu(g.conv(x, 3, 8)))),
    Case("input_rescaled", plain(lambda g, x: g.relu(g.conv(g.normalise(x), 3, 8)), head)),
    Case("input_rescaled_pool", plain(lambda g, x: g.relu(g.pool(g.conv(g.normalise(x), 3, 8)), 2.0))),
    Case("input_float", plain(first, head), dtype="float32"),
    Case("input_float_per_tensor", plain(first, head), dtype="float32", qparams=PER_TENSOR),
    Case("input_float_signed", plain(first, head), dtype="float32", qparams={"input_dtype": "int8"}),
    Case("input_float_positive", plain(first, head), dtype="float01"),
    Case("input_int8", plain(first, head), dtype="int8", qparams={"input_dtype": "int8"}),
    Case("conv", plain(first, wide, lambda g, x: g.conv(x, 12, 4, bias=False))),
    Case("conv_relu", plain(first, lambda g, x: g.relu(wide(g, x)), last)),
    Case("conv_clip", plain(first, lambda g, x: g.relu(wide(g, x), 0.7), last)),
    Case("conv_pool", plain(first, lambda g, x: g.relu(g.pool(wide(g, x))), last)),
    Case("conv_pool_padded", plain(first, lambda g, x: g.relu(g.pool(wide(g, x), 3, (2, 2), (1, 1, 1, 1))), last)),
    Case("conv_gap", plain(first, lambda g, x: g.relu(wide(g, x)), gap)),
    Case("conv_gap_dense", plain(first, lambda g, x: gap(g, wide(g, x)), classify)),
    Case("conv_gap_conv", plain(first, lambda g, x: gap(g, g.relu(wide(g, x), 2.0)), point)),
    Case("conv_swish", plain(first, lambda g, x: g.swish(wide(g, x)), last)),
    Case("conv_gelu_gap", plain(first, lambda g, x: gap(g, g.gelu(wide(g, x))))),
    Case("conv_leaky", plain(first, lambda g, x: g.node("LeakyRelu", [wide(g, x)], alpha=0.1), last)),
    Case("conv_hard_swish", plain(first, lambda g, x: g.node("HardSwish", [wide(g, x)]), last)),
    Case("conv_large_kernel", plain(first, lambda g, x: g.conv(x, 8, 6, k=5, pads=(2, 2, 2, 2), strides=(2, 2)))),
    Case("conv_per_tensor", plain(first, lambda g, x: g.relu(wide(g, x)), last), qparams=PER_TENSOR),
    Case("conv_last_bits", plain(first, wide), qparams={"last_output_bits": 8}),
    Case("depthwise", plain(first, depthwise(), depthwise(bias=False))),
    Case("depthwise_relu", plain(first, lambda g, x: g.relu(depthwise(strides=(2, 2))(g, x)))),
    Case("depthwise_clip", plain(first, lambda g, x: g.relu(depthwise()(g, x), 0.5))),
    Case("depthwise_pool", plain(first, lambda g, x: g.relu(g.pool(depthwise()(g, x))))),
    Case("depthwise_gap", plain(first, lambda g, x: gap(g, g.relu(depthwise()(g, x))))),
    Case("depthwise_swish", plain(first, lambda g, x: g.swish(depthwise()(g, x)))),
    Case("separable", plain(first, separable)),
    Case("transposed", plain(first, lambda g, x: g.relu(g.transposed(x, 8, 6, 3, (1, 1, 1, 1))))),
    Case("transposed_even", plain(first, lambda g, x: g.transposed(x, 8, 6, 4, (1, 1, 1, 1)))),
    Case("transposed_whole", plain(first, lambda g, x: g.relu(g.transposed(x, 8, 6, 3, (0, 0, 0, 0)), 1.0))),
    Case("transposed_gelu", plain(first, lambda g, x: g.gelu(g.transposed(x, 8, 6, 2, (0, 0, 0, 0))))),
    Case("transposed_depthwise", plain(first, lambda g, x: g.relu(g.transposed(x, 8, 8, 3, (1, 1, 1, 1), group=8)))),
    Case("dense", plain(first, head)),
    Case("dense_relu", plain(first, lambda g, x: g.relu(head(g, x)), lambda g, x: g.dense(x, 5, 7, bias=False))),
    Case("dense_clip", plain(first, lambda g, x: g.relu(head(g, x), 0.8), lambda g, x: g.relu(g.dense(x, 5, 7)))),
    Case("dense_last_bits", plain(first, head), qparams={"last_output_bits": 8}),
    Case("add", residual),
    Case("add_last", sum_last),
    Case("add_per_tensor", residual, qparams=PER_TENSOR),
    Case("concatenate", concatenated),
    Case("two_outputs", two_outputs),
    Case("temporal", plain(first, lambda g, x: g.relu(g.temporal(x, 8, 6, 4)), lambda g, x: g.conv(x, 6, 4)), frames=7),
    Case("temporal_depthwise", plain(first, lambda g, x: g.relu(g.depthwise_temporal(x, 8, 3))), frames=6),
    Case("temporal_last", plain(first, lambda g, x: g.temporal(x, 8, 5, 2)), frames=6),
    Case("channels_last_input", plain(first, head), channels_last=True),
]  # fmt: skip


def rank(tensor: str, graph: Graph) -> int:
    """2 behind a dense layer, 4 elsewhere."""
    writer = next(n for n in graph.nodes if tensor in n.output)
    dense = writer.op_type == "Gemm" or (writer.op_type in ("Relu", "Clip") and writer.input[0].startswith("gemm"))
    return 2 if dense else 4


def float_model(case: Case, random: np.random.Generator) -> onnx.ModelProto:
    graph = Graph(case.name, random)
    dtype = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8}.get(case.dtype, TensorProto.FLOAT)
    c, h, w = case.shape
    shape = [1 if case.frames else "batch", *((h, w, c) if case.channels_last else (c, h, w))]
    x = "input"
    if dtype != TensorProto.FLOAT:
        x = graph.node("Cast", [x], to=TensorProto.FLOAT)
    if case.channels_last:
        x = graph.node("Transpose", [x], perm=[0, 3, 1, 2])
    outputs = case.build(graph, x)
    proto = helper.make_graph(
        graph.nodes,
        case.name,
        [helper.make_tensor_value_info("input", dtype, shape)],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, [None] * rank(o, graph)) for o in outputs],
        graph.weights,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    functions = [btc_function, dwbtc_function] if case.frames else []
    return helper.make_model(proto, opset_imports=opsets, ir_version=10, functions=functions)


def draw(case: Case, random: np.random.Generator, count: int) -> np.ndarray:
    c, h, w = case.shape
    shape = (count, *((h, w, c) if case.channels_last else (c, h, w)))
    if case.dtype in ("uint8", "int8"):
        limits = np.iinfo(case.dtype)
        return random.integers(limits.min, limits.max, shape, case.dtype, endpoint=True)
    x = random.normal(0, 1, shape) if case.dtype == "float32" else random.uniform(0.1, 1, shape)
    return x.astype(np.float32)


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


def write(case: Case, folder: Path, seed: int) -> None:
    random = np.random.default_rng([seed, zlib.crc32(case.name.encode())])
    model = float_model(case, random)
    qparams = QuantizationParams(
        activation_bits=8, weight_bits=8, input_weight_bits=8, output_bits=8, **{"input_dtype": "uint8"} | case.qparams
    )
    calibration = draw(case, random, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a part that is left in float
        quantised = quantize(model, qparams=qparams, samples=calibration, num_samples=16, batch_size=1)
    path = folder / case.name
    onnx.save(quantised, f"{path}.onnx")
    reset_buffers(quantised)
    nodes = [n for n in quantised.graph.node if n.op_type.startswith("Quantized")]
    watched = onnx.ModelProto.FromString(quantised.SerializeToString())
    known = {o.name for o in watched.graph.output}
    infos = {v.name: v for v in watched.graph.value_info}
    watched.graph.output.extend(infos[n.output[0]] for n in nodes if n.output[0] not in known)
    options = ort.SessionOptions()
    options.register_custom_ops_library(get_library_path())
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(watched.SerializeToString(), options)
    x = draw(case, random, case.frames or case.samples)
    names = [o.name for o in session.get_outputs()]
    (source,) = (i.name for i in session.get_inputs())
    rows = [session.run(names, {source: frame[None]}) for frame in x]
    found = {name: np.concatenate([row[i] for row in rows]) for i, name in enumerate(names)}
    arrays = {"input_0": x if case.channels_last else channels_last(x)}
    arrays |= {f"output_{i}": channels_last(found[o.name]) for i, o in enumerate(quantised.graph.output)}
    for n in nodes:
        values = channels_last(found[n.output[0]])
        arrays[f"{n.name}:values"] = values[:, 0, 0] if "GlobalAvgPool" in n.op_type else values
    np.savez_compressed(f"{path}.npz", **arrays)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for case in CASES:
        if options.only not in case.name:
            continue
        try:
            write(case, options.folder, options.seed)
        except Exception as error:
            print(f"failed   {case.name}: {error!r:.300}")


if __name__ == "__main__":
    main()
