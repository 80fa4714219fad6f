"""Integer networks to quantised Keras files that quantizeml loads and runs with the same outputs.

Such a file holds float weights and ranges from which the reference computes its integers. The writer chooses floats
that lead to the network's own integers, reads its file back, and refuses the network if a number came out different.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError
from spica.frontends.quantizeml import from_quantizeml
from spica.layers import (
    Activation,
    Add,
    BufferTempConv,
    Concatenate,
    Conv2D,
    ConvTranspose2D,
    Dense,
    DepthwiseBufferTempConv,
    DepthwiseConv2D,
    DepthwiseConvTranspose2D,
    Dequantize,
    Flatten,
    GlobalAverage,
    GlobalAveragePooling2D,
    Input,
    LookUp,
    MaxPool,
    MaxPool2D,
    Permute,
    ReLU,
    Requantize,
    Rescaling,
    Reshape,
    SeparableConv2D,
    Take,
    WeightedLayer,
)
from spica.network import Layer, Network, TensorType
from spica.network.layer import infer
from spica.util.files import write_atomically

KERAS_VERSION = "2.19.0"
BIAS_VALUE_BITS = 7
BOUND_BITS = 8


def to_quantizeml(net: Network, path: str | PathLike[str]) -> None:
    """Write an integer network as a quantised Keras ``.h5`` file, for the owners of hardware and their tools.

    Args:
        net: an integer network, imported or made by ``spica.quantize``.
        path: the ``.h5`` file to write.

    Raises:
        SpicaError: naming the layer that such a file cannot hold exactly, and why; no file is written then.
    """
    if not net.is_integer:
        raise SpicaError(f"{net.name}: is a float network; quantise it first with spica.quantize")
    data = to_bytes(net)
    check_equal(net, from_quantizeml(io.BytesIO(data)))
    write_atomically(path, data)


def to_bytes(net: Network) -> bytes:
    """The file's content."""
    try:
        import h5py
    except ImportError:
        raise SpicaError("writing .h5 files needs h5py; run: pip install 'spica[quantizeml]'") from None
    model = _File(net)
    for layer in net:
        writer = next((w for kind, w in WRITERS.items() if isinstance(layer, kind)), None)
        if writer is None:
            raise SpicaError(f"{layer.name}: a {type(layer).__name__} has no place in a quantizeml file")
        writer(model, layer)
    config = {
        "name": net.name,
        "trainable": True,
        "layers": model.entries,
        "input_layers": [[layer.name, 0, 0] for layer in net.inputs],
        "output_layers": [[model.last[name], 0, 0] for name in net.outputs],
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["backend"], file.attrs["keras_version"] = "tensorflow", KERAS_VERSION
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        groups = file.create_group("model_weights")
        groups.attrs["layer_names"] = [entry["config"]["name"] for entry in model.entries]
        groups.attrs["backend"], groups.attrs["keras_version"] = "tensorflow", KERAS_VERSION
        for entry in model.entries:
            name = entry["config"]["name"]
            group, weights = groups.require_group(name), model.weights.get(name, {})
            group.attrs["weight_names"] = [f"{name}/{weight}:0" for weight in weights]
            for weight, values in weights.items():
                group.create_dataset(f"{name}/{weight}:0", data=np.asarray(values, np.float32))
    return buffer.getvalue()


def check_equal(net: Network, read: Network) -> None:
    """Refuse unless every number of every layer came back as it was."""
    theirs = {layer.name: layer for layer in read}
    for layer in net:
        if isinstance(layer, Input | Rescaling | Dequantize):
            continue
        other = theirs.get(layer.name)
        if type(other) is not type(layer):
            raise SpicaError(f"{layer.name}: would come back as another kind of layer; it cannot be written exactly")
        for f in fields(layer):
            if f.name == "weight_scale" and getattr(layer, "requantize", None) is not None:
                continue  # only the output stage uses it, and its integers are compared
            if f.name != "inputs" and not _same(getattr(layer, f.name), getattr(other, f.name)):
                raise SpicaError(
                    f"{layer.name}: its {f.name} cannot be written exactly, because the file's own rules lead to other "
                    "integers; quantise with spica.quantize, or import from such a file"
                )


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Requantize | ReLU | MaxPool | GlobalAverage):
        return type(a) is type(b) and all(_same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        both = np.broadcast_arrays(a, b)
        return bool((both[0] == both[1]).all())
    return a is b if a is None or b is None else bool(np.all(a == b))


# -- one writer for each kind of layer ------------------------------------------------------------------------------


@dataclass
class _File:
    """Entries of the configuration and weights so far; ``last`` is the entry that writes each of the net's tensors."""

    net: Network
    entries: list[dict] = field(default_factory=list)
    weights: dict[str, dict[str, NDArray]] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)

    def add(self, kind: str, name: str, sources: list[str], quantizers: dict | None = None, **config: Any) -> str:
        """Append an entry that reads ``sources``; gives its name."""
        body = {"name": name, "trainable": True, "dtype": "float32", **config}
        if quantizers is not None:
            body["quant_config"] = quantizers
        nodes = [[[source, 0, 0, {}] for source in sources]] if sources else []
        self.entries.append({"class_name": kind, "config": body, "name": name, "inbound_nodes": nodes})
        return name

    def sources(self, layer: Layer) -> list[str]:
        return [self.last[i] for i in layer.inputs]

    def output_quantizer(self, name: str, out: Requantize | None, x: TensorType, fixed_point: bool = False) -> dict:
        """Settings of the output stage of an accumulator ``x``; its range and rate go to the weights of ``name``."""
        if out is None:
            return {}
        value_bits = out.bits - out.signed
        if (out.frac_bits > value_bits).any():
            raise SpicaError(
                f"{name}: {out.frac_bits.max()} fractional bits of {value_bits} are more than a file holds"
            )
        if out.buffer_bits != 32:
            raise SpicaError(f"{name}: has a buffer of {out.buffer_bits} bits; files are written for 32")
        # Any range between two powers of two gives the same bits; the middle is safe from rounding.
        ranges = np.ldexp(0.75, value_bits - out.frac_bits.astype(int))
        rate = np.ones_like(ranges) if fixed_point else equalisation(out, x)
        self.weights.setdefault(name, {}).update(
            {"output_quantizer/range_max": ranges, "output_quantizer/rescaling_rate": rate}
        )
        axis = "per-axis" if out.frac_bits.ndim else "per-tensor"
        settings = {"bitwidth": out.bits, "signed": out.signed, "axis": axis, "buffer_bitwidth": out.buffer_bits}
        return {"output_quantizer": settings}


def equalisation(out: Requantize, x: TensorType) -> NDArray:
    """Factors that turn the accumulator's scale into the output stage's multiplier, one or one a channel.

    They are one where the scale alone gives it. A multiplier of 128 is half of a power of two, and a value just above
    it is safe where that value itself is not; hence the quarter.
    """
    exponent = out.shift - x.frac_bits + out.frac_bits
    low, high = (np.ldexp((out.multiplier + d) / x.scale, -exponent.astype(int)) for d in (-0.499, 0.499))
    if (low <= 1).all() and (high >= 1).all():
        return np.full(np.shape(out.frac_bits), 1 + 2.0**-10 * (out.multiplier == 128).any())
    if out.frac_bits.ndim:
        return np.broadcast_to(np.ldexp((out.multiplier + 0.25) / x.scale, -exponent.astype(int)), out.frac_bits.shape)
    return np.asarray((low.max() + high.min()) / 2)


def on_grid(integers: NDArray, value_bits: int, step: NDArray) -> NDArray[np.float64]:
    """Real numbers that the reference rounds to these integers, which it keeps in ``value_bits``, shifted.

    A power of two is the end of one range and the start of the next, so each is moved out by a quarter of its unit.
    """
    magnitudes = np.abs(integers).astype(np.int64)
    lengths = np.floor(np.log2(np.maximum(magnitudes, 1))).astype(int) + 1
    unit = np.exp2(np.maximum(lengths - value_bits, 0))
    return np.sign(integers) * (magnitudes + np.where(magnitudes > 0, 0.25 * unit, 0)) * step


def _input(file: _File, layer: Input) -> None:
    shape, kind = [None, *layer.shape], file.net.types[layer.name]
    file.entries.append({
        "class_name": "InputLayer",
        "config": {"batch_input_shape": shape, "dtype": str(kind.dtype), "sparse": False, "ragged": False,
                   "name": layer.name},
        "name": layer.name,
        "inbound_nodes": [],
    })  # fmt: skip
    padded = any(getattr(reader, "padding_value", None) is not None for reader in file.net.consumers[layer.name])
    file.last[layer.name] = layer.name
    if kind.scale != 1 or padded:  # the reference pads with other values than zero only behind a rescaling
        name = f"{layer.name}/rescaling"
        file.last[layer.name] = _rescale(file, name, [layer.name], float(kind.scale))


def _rescale(file: _File, name: str, sources: list[str], scale: float) -> str:
    return file.add("Custom>QuantizedRescaling", name, sources, scale=scale, offset=0.0)


def _rescaling(file: _File, layer: Rescaling) -> None:
    if layer.scale.ndim:
        raise SpicaError(f"{layer.name}: has a scale for each channel; a file's rescaling has one")
    file.last[layer.name] = _rescale(file, layer.name, file.sources(layer), float(layer.scale))


def exact_weights(name: str, integers: NDArray, scale: NDArray, bits: int, axes: tuple[int, ...] | None) -> NDArray:
    """Float weights that the reference rounds to ``integers`` on a grid of exactly ``scale``.

    Its scale follows from the largest weight of a filter, so that weight must be the largest integer there is.
    """
    high = (1 << (bits - 1)) - 1
    largest = np.abs(integers.astype(int)).max(axis=axes)
    if bits == 1 or ((largest != high) & (largest != 0)).any():
        raise SpicaError(
            f"{name}: the largest weight of every filter must be {high or 1}, or a file leads to another grid; "
            "quantise with 2, 4 or 8 bits by spica.quantize, or import from such a file"
        )
    reciprocal = np.float32(1) / np.float32(high)
    top = np.asarray(scale, np.float32) * np.float32(high)
    units = np.spacing(top)
    for nudge in (1, -1, 2, -2, 3, -3):  # the product's rounding may miss the scale by a few units
        moved = (top + nudge * units).astype(np.float32)
        top = np.where((top * reciprocal != scale) & (moved * reciprocal == scale), moved, top)
    spread = top if axes is None or np.ndim(top) == 0 else np.expand_dims(top, axes)
    step = np.asarray(spread, np.float64) / high
    return np.where(np.abs(integers) == high, np.sign(integers) * spread, integers * step).astype(np.float32)


def _neural(kind: str, describe: Callable[[Any, TensorType], tuple[dict, dict, dict]]) -> Callable[[_File, Any], None]:
    """Writer of a layer with weights; ``describe`` gives its configuration, its weight quantizers and its weights."""

    def write(file: _File, layer: WeightedLayer) -> None:
        (x,) = file.net.input_types(layer)
        config, quantizers, weights = describe(layer, x)
        sources, name, out = file.sources(layer), layer.name, layer.requantize
        acc = infer(replace(layer, bias=None, pool=None, activation=None, requantize=None), [x])
        file.weights[name] = weights
        config["use_bias"] = layer.bias is not None
        if layer.bias is not None:
            step = np.ldexp(acc.scale.astype(np.float64), -acc.frac_bits.astype(int))
            weights["bias"] = on_grid(layer.bias, BIAS_VALUE_BITS, step).astype(np.float32)
        at_end = out if layer.activation is None and not isinstance(layer.pool, GlobalAverage) else None
        quantizers |= file.output_quantizer(name, at_end, acc)
        quantizers["buffer_bitwidth"] = layer.accumulator_bits + 1
        last = file.add(f"Custom>{kind}", name, sources, quantizers, **config)
        if isinstance(layer.pool, MaxPool):
            last = _add_max_pool(file, f"{name}/pool", [last], layer.pool)
        if layer.activation is not None:
            own = out if not isinstance(layer.pool, GlobalAverage) else None
            last = _add_relu(file, f"{name}/relu", [last], layer.activation, own, acc)
        if isinstance(layer.pool, GlobalAverage):
            total = infer(replace(layer, requantize=None), [x])
            last = _add_global_average(file, f"{name}/average", [last], out, total)
        file.last[name] = last

    return write


def _add_max_pool(file: _File, name: str, sources: list[str], pool: MaxPool) -> str:
    if not isinstance(pool.padding, str):
        raise SpicaError(f"{name}: a file's pooling is padded 'same' or 'valid' only")
    return file.add("Custom>QuantizedMaxPool2D", name, sources, pool_size=list(pool.size), strides=list(pool.strides),
                    padding=pool.padding, data_format="channels_last")  # fmt: skip


def _add_relu(file: _File, name: str, sources: list[str], relu: ReLU, out: Requantize | None, x: TensorType) -> str:
    bound = None
    if relu.max_value is not None:
        bound = _shared_bound(relu.max_value, np.ldexp(x.scale.astype(np.float64), -x.frac_bits.astype(int)))
    settings = file.output_quantizer(name, out, x) | {"buffer_bitwidth": 32}
    return file.add("Custom>QuantizedReLU", name, sources, settings, max_value=bound)


def _shared_bound(integers: NDArray, step: NDArray) -> float:
    """The one real bound behind every channel's integer: the shortest decimal that rounds to all of them."""
    lengths = np.floor(np.log2(np.maximum(integers, 1))).astype(int) + 1
    half = np.exp2(np.maximum(lengths - BOUND_BITS, 0)) / 2
    low, high = ((integers - half) * step).max(), ((integers + half) * step).min()
    middle = (low + high) / 2
    return next((v for digits in range(1, 9) if low < (v := float(f"{middle:.{digits}g}")) < high), middle)


def _add_global_average(file: _File, name: str, sources: list[str], out: Requantize | None, x: TensorType) -> str:
    settings = file.output_quantizer(name, out, x) | {"buffer_bitwidth": 32}
    return file.add("Custom>QuantizedGlobalAveragePooling2D", name, sources, settings, data_format="channels_last",
                    keepdims=False)  # fmt: skip


def _window(layer: Any, kernel: NDArray) -> dict[str, Any]:
    if not isinstance(layer.padding, str):
        raise SpicaError(f"{layer.name}: a file's convolution is padded 'same' or 'valid' only, not {layer.padding}")
    return {"kernel_size": list(kernel.shape[:2]), "strides": list(layer.strides), "padding": layer.padding,
            "data_format": "channels_last", "dilation_rate": [1, 1]}  # fmt: skip


def _describe_conv2d(layer: Conv2D, x: TensorType) -> tuple[dict, dict, dict]:
    weights = exact_weights(layer.name, layer.kernel, layer.weight_scale, layer.weight_bits, (0, 1, 2))  # type: ignore
    config = _window(layer, layer.kernel) | {"filters": layer.kernel.shape[3], "groups": 1}
    if layer.padding_value is not None:
        assert layer.weight_bits is not None  # a padding value is kept in as many bits as a weight
        config["padding_value"] = on_grid(layer.padding_value, layer.weight_bits - 1, x.scale).tolist()
    return config, _weight_quantizer(layer), {"kernel": weights}


def _weight_quantizer(layer: WeightedLayer, **settings: Any) -> dict[str, Any]:
    return {"weight_quantizer": {"bitwidth": layer.weight_bits, **settings}}


def _describe_depthwise(layer: DepthwiseConv2D, x: TensorType) -> tuple[dict, dict, dict]:
    weights = exact_weights(layer.name, layer.kernel, layer.weight_scale, layer.weight_bits, (0, 1))  # type: ignore
    config = _window(layer, layer.kernel) | {"depth_multiplier": 1}
    return config, _weight_quantizer(layer, axis=-2), {"depthwise_kernel": weights[..., None]}


def _describe_separable(layer: SeparableConv2D, x: TensorType) -> tuple[dict, dict, dict]:
    bits, scale = layer.weight_bits, layer.weight_scale
    assert bits is not None and scale is not None
    # Only the product of both kernels' scales counts: the depthwise one takes a power of two, and loses nothing.
    inner = exact_weights(layer.name, layer.depthwise_kernel, np.array(0.0625, np.float32), bits, None)
    outer = exact_weights(layer.name, layer.kernel, scale * np.float32(16), bits, (0,))
    config = _window(layer, layer.depthwise_kernel) | {"filters": layer.kernel.shape[1], "depth_multiplier": 1}
    quantizers = {"dw_weight_quantizer": {"bitwidth": bits, "axis": None}, "pw_weight_quantizer": {"bitwidth": bits}}
    return config, quantizers, {"depthwise_kernel": inner[..., None], "pointwise_kernel": outer[None, None]}


def _describe_dense(layer: Dense, x: TensorType) -> tuple[dict, dict, dict]:
    weights = exact_weights(layer.name, layer.kernel, layer.weight_scale, layer.weight_bits, (0,))  # type: ignore
    return {"units": layer.kernel.shape[1]}, _weight_quantizer(layer), {"kernel": weights}


def _describe_transposed(layer: ConvTranspose2D, x: TensorType) -> tuple[dict, dict, dict]:
    weights = exact_weights(layer.name, layer.kernel, layer.weight_scale, layer.weight_bits, (0, 1, 2))  # type: ignore
    config = _window(layer, layer.kernel) | {"filters": layer.kernel.shape[3], "output_padding": None}
    return config, _weight_quantizer(layer), {"kernel": weights.transpose(0, 1, 3, 2)}


def _describe_depthwise_transposed(layer: DepthwiseConvTranspose2D, x: TensorType) -> tuple[dict, dict, dict]:
    assert layer.weight_scale is not None and layer.weight_bits is not None
    weights = exact_weights(layer.name, layer.kernel, layer.weight_scale[0], layer.weight_bits, None)
    config = _window(layer, layer.kernel) | {"depth_multiplier": 1}
    return config, _weight_quantizer(layer, axis=None), {"depthwise_kernel": weights[..., None]}


def _describe_temporal(layer: BufferTempConv, x: TensorType) -> tuple[dict, dict, dict]:
    depth, channels, filters = layer.kernel.shape
    weights = exact_weights(layer.name, layer.kernel, layer.weight_scale, layer.weight_bits, (0, 1))  # type: ignore
    config = {"kernel_size": depth, "filters": filters}
    return config, _weight_quantizer(layer), {"kernel": weights.reshape(1, 1, depth * channels, filters)}


def _describe_depthwise_temporal(layer: DepthwiseBufferTempConv, x: TensorType) -> tuple[dict, dict, dict]:
    weights = exact_weights(layer.name, layer.kernel, layer.weight_scale, layer.weight_bits, (0,))  # type: ignore
    return {"kernel_size": len(layer.kernel)}, _weight_quantizer(layer), {"kernel": weights}


def _activation(file: _File, layer: Activation) -> None:
    (x,) = file.net.input_types(layer)
    file.last[layer.name] = _add_relu(file, layer.name, file.sources(layer), layer.function, layer.requantize, x)


def _lookup(file: _File, layer: LookUp) -> None:
    entries = infer(replace(layer, requantize=None), file.net.input_types(layer))
    settings = file.output_quantizer(layer.name, layer.requantize, entries) | {"lut_bitwidth": layer.table_bits}
    file.last[layer.name] = file.add("Custom>QuantizedActivation", layer.name, file.sources(layer), settings,
                                     activation=layer.function, alpha=0.2)  # fmt: skip


def _add(file: _File, layer: Add) -> None:
    out = layer.requantize if layer.activation is None else None
    total = infer(replace(layer, activation=None, requantize=None), file.net.input_types(layer))
    settings = file.output_quantizer(layer.name, out, total, fixed_point=True) | {"buffer_bitwidth": 32}
    last = file.add("Custom>QuantizedAdd", layer.name, file.sources(layer), settings, average=layer.average)
    if layer.activation is not None:
        last = _add_relu(file, f"{layer.name}/relu", [last], layer.activation, layer.requantize, total)
    file.last[layer.name] = last


def _global_average(file: _File, layer: GlobalAveragePooling2D) -> None:
    total = infer(replace(layer, requantize=None), file.net.input_types(layer))
    file.last[layer.name] = _add_global_average(file, layer.name, file.sources(layer), layer.requantize, total)


def _max_pool(file: _File, layer: MaxPool2D) -> None:
    file.last[layer.name] = _add_max_pool(file, layer.name, file.sources(layer), layer.pool)


def _plain(kind: str, describe: Callable[[Any], dict]) -> Callable[[_File, Any], None]:
    """Writer of a layer without numbers; ``describe`` gives its configuration."""

    def write(file: _File, layer: Layer) -> None:
        file.last[layer.name] = file.add(f"Custom>{kind}", layer.name, file.sources(layer), **describe(layer))

    return write


def _take(layer: Take) -> dict:
    if layer.keep_axis:
        raise SpicaError(f"{layer.name}: a file can take one position of an axis, and drops the axis")
    return {"token": layer.start, "axis": layer.axis + 1}


WRITERS: dict[type, Callable[[_File, Any], None]] = {
    Input: _input,
    Rescaling: _rescaling,
    Conv2D: _neural("QuantizedConv2D", _describe_conv2d),
    DepthwiseConv2D: _neural("QuantizedDepthwiseConv2D", _describe_depthwise),
    SeparableConv2D: _neural("QuantizedSeparableConv2D", _describe_separable),
    Dense: _neural("QuantizedDense", _describe_dense),
    ConvTranspose2D: _neural("QuantizedConv2DTranspose", _describe_transposed),
    DepthwiseConvTranspose2D: _neural("QuantizedDepthwiseConv2DTranspose", _describe_depthwise_transposed),
    BufferTempConv: _neural("QuantizedBufferTempConv", _describe_temporal),
    DepthwiseBufferTempConv: _neural("QuantizedDepthwiseBufferTempConv", _describe_depthwise_temporal),
    Activation: _activation,
    LookUp: _lookup,
    Add: _add,
    Concatenate: _plain("QuantizedConcatenate", lambda layer: {"axis": -1}),
    GlobalAveragePooling2D: _global_average,
    MaxPool2D: _max_pool,
    Flatten: _plain("QuantizedFlatten", lambda layer: {"data_format": "channels_last"}),
    Reshape: _plain("QuantizedReshape", lambda layer: {"target_shape": list(layer.shape)}),
    Permute: _plain("QuantizedPermute", lambda layer: {"dims": [axis + 1 for axis in layer.axes]}),
    Take: _plain("QuantizedExtractToken", _take),
    Dequantize: _plain("Dequantizer", lambda layer: {}),
}
