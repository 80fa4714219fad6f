"""Write integer networks as quantised Keras files that quantizeml loads and runs with the same outputs.

Such a file holds float weights and ranges from which the reference computes its integers. The writer chooses floats
that lead to the network's own integers, reads its file back, and refuses the network if a number came out different.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import singledispatch
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spica import layers
from spica.errors import SpicaError
from spica.frontends.quantizeml import from_quantizeml, spellings
from spica.frontends.quantizeml.fixed_point import BIAS_BITS, BUFFER_BITS
from spica.layers import GlobalAverage, Input, MaxPool, ReLU, Requantize, WeightedLayer
from spica.layers.weighted import lowered
from spica.network import Layer, Network, TensorType
from spica.network.layer import infer
from spica.util.files import write_atomically

KERAS_VERSION = "2.19.0"
BUFFER = {"buffer_bitwidth": BUFFER_BITS}


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
    """Return the content of the ``.h5`` file of an integer network, which may not hold it exactly."""
    try:
        import h5py
    except ImportError:
        raise SpicaError("writing .h5 files needs h5py; run: pip install 'spica[quantizeml]'") from None
    model = _File(net)
    for layer in net:
        write(lowered(layer), model)
    config = {
        "name": net.name,
        "trainable": True,
        "layers": model.entries,
        "input_layers": [[layer.name, 0, 0] for layer in net.inputs],
        "output_layers": [[model.last[name], 0, 0] for name in net.outputs],
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        groups = file.create_group("model_weights")
        for group in (file, groups):
            group.attrs["backend"], group.attrs["keras_version"] = "tensorflow", KERAS_VERSION
        file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})
        groups.attrs["layer_names"] = [entry["name"] for entry in model.entries]
        for name in groups.attrs["layer_names"]:
            group, variables = groups.require_group(name), model.variables.get(name, {})
            group.attrs["weight_names"] = [f"{name}/{variable}:0" for variable in variables]
            for variable, values in variables.items():
                group.create_dataset(f"{name}/{variable}:0", data=np.asarray(values, np.float32))
    return buffer.getvalue()


def check_equal(net: Network, read: Network) -> None:
    """Check that every number of every layer of ``net`` is the same in ``read``.

    Raises:
        SpicaError: naming the first layer that differs, and its field.
    """
    theirs = {layer.name: layer for layer in read}
    for layer in net:
        if type(layer) in (Input, layers.Rescaling, layers.Dequantize):
            continue
        other = theirs.get(layer.name)
        if type(other) is not type(layer):
            raise SpicaError(f"{layer.name}: would come back as another kind of layer; it cannot be written exactly")
        for f in fields(layer):
            if f.name == "weight_scale" and getattr(layer, "requantize", None) is not None:
                continue  # only the requantization uses it, and its integers are compared
            if f.name != "inputs" and not _same(getattr(layer, f.name), getattr(other, f.name)):
                raise SpicaError(
                    f"{layer.name}: its {f.name} cannot be written exactly, because the file's own rules lead to other "
                    "integers; quantise with spica.quantize, or import from such a file"
                )


def _same(a: Any, b: Any) -> bool:
    if is_dataclass(a):
        return type(a) is type(b) and all(_same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return a is b if a is None or b is None else bool(np.all(a == b))


# -- one rule for each kind of layer --------------------------------------------------------------------------------


@dataclass
class _File:
    """Entries of a network that are written so far."""

    net: Network
    entries: list[dict] = field(default_factory=list)  # the file's layers, as its configuration lists them
    variables: dict[str, dict[str, NDArray]] = field(default_factory=dict)  # by names of entries and of variables
    last: dict[str, str] = field(default_factory=dict)  # the entry that writes the output of each layer

    def before_requantize(self, layer: Any, **changes: Any) -> TensorType:
        """Return the type of what ``requantize`` of ``layer`` reads, after ``changes`` to the layer's fields."""
        return infer(replace(layer, requantize=None, **changes), self.net.input_types(layer))

    def add(self, layer: Layer, kind: str, step: str = "", out: tuple = (None,), **config: Any) -> None:
        """Append an entry of class ``kind`` for ``layer``, or for a ``step`` of it that reads what came before.

        ``out`` holds arguments of ``output_quantizer``, for entries that have a ``quant_config``.
        """
        name = layer.name + step
        sources = [self.last[layer.name]] if step else [self.last[i] for i in layer.inputs]
        body = {"name": name, "trainable": True, "dtype": "float32", **config}
        if "quant_config" in config:
            body["quant_config"] = self.output_quantizer(name, *out) | config["quant_config"]
        nodes = [[[source, 0, 0, {}] for source in sources]] if sources else []
        self.entries.append({"class_name": f"Custom>{kind}", "config": body, "name": name, "inbound_nodes": nodes})
        self.last[layer.name] = name

    def output_quantizer(self, name: str, out: Requantize | None, x: Any = None, shift_only: bool = False) -> dict:
        """Return the settings for the requantization of an accumulator ``x``; the entry ``name`` gets its variables."""
        if out is None:
            return {}
        value_bits = out.bits - out.signed
        if (out.frac_bits > value_bits).any():
            raise SpicaError(f"{name}: a file holds {value_bits} fractional bits at most; got {out.frac_bits.max()}")
        if out.buffer_bits != BUFFER_BITS:
            raise SpicaError(f"{name}: has a buffer of {out.buffer_bits} bits; files are written for {BUFFER_BITS}")
        # Any range between two powers of two gives the same bits; the middle is safe from rounding.
        ranges = np.ldexp(0.75, value_bits - out.frac_bits.astype(int))
        rate = np.ones_like(ranges) if shift_only else rescaling_rate(out, x)
        variables = dict(zip(spellings.OUTPUT_VARIABLES, (ranges, rate)))
        self.variables.setdefault(name, {}).update({f"output_quantizer/{k}": v for k, v in variables.items()})
        axis = "per-axis" if out.frac_bits.ndim else "per-tensor"
        settings = {"bitwidth": out.bits, "signed": out.signed, "axis": axis, "buffer_bitwidth": out.buffer_bits}
        return {"output_quantizer": settings}


@singledispatch
def write(layer: Layer, file: _File) -> None:
    """Append to ``file`` the entries that ``layer`` becomes.

    Raises:
        SpicaError: naming the layer, where such a file has no place for it.
    """
    spelling = _spelling(spellings.PLAIN_BY_LAYER, layer)
    file.add(layer, spelling.keras[0], **spelling.write(layer))


def _spelling(table: dict[type, Any], layer: Layer) -> Any:
    if type(layer) not in table:
        raise SpicaError(f"{layer.name}: a {type(layer).__name__} has no place in a quantizeml file")
    return table[type(layer)]


@write.register
def _(layer: Input, file: _File) -> None:
    name, kind = layer.name, file.net.types[layer.name]
    shape = [None, *layer.shape]
    config = {"batch_input_shape": shape, "dtype": str(kind.dtype), "sparse": False, "ragged": False, "name": name}
    file.entries.append({"class_name": "InputLayer", "config": config, "name": name, "inbound_nodes": []})
    file.last[name] = name
    padded = any(getattr(reader, "padding_value", None) is not None for reader in file.net.consumers[name])
    if kind.scale != 1 or padded:  # the reference pads with other values than zero only behind a rescaling
        file.add(layer, "QuantizedRescaling", "/rescaling", **spellings.write_rescaling(kind))


@write.register(WeightedLayer)
def _weighted(layer: Any, file: _File) -> None:
    spelling = _spelling(spellings.WEIGHTED_BY_LAYER, layer)
    name, bits, out, pool = layer.name, layer.weight_bits, layer.requantize, layer.pool
    accumulator = file.before_requantize(layer, bias=None, pool=None, activation=None)
    quantizers: dict[str, Any] = {}
    variables = file.variables[name] = {}
    kernels = [(spelling, layer.kernel, layer.weight_scale)]
    if spelling.first is not None:
        # Only the product of both kernels' scales counts: the first one takes a power of two, and loses nothing.
        first_scale = np.full_like(layer.weight_scale, 0.0625)
        kernels = [(spelling.first, layer.depthwise_kernel, first_scale),
                   (spelling, layer.kernel, layer.weight_scale / first_scale)]  # fmt: skip
    for part, integers, scale in kernels:
        per_filter = part.axis is not None
        floats = exact_weights(name, integers, scale if per_filter else np.ravel(scale)[0], bits, per_filter)
        quantizers[part.quantizer] = {"bitwidth": bits} | ({} if part.axis == -1 else {"axis": part.axis})
        variables[part.variable] = part.to_keras(floats)
    config = spellings.write_weighted(spelling, layer)
    if (value := getattr(layer, "padding_value", None)) is not None:  # it is kept in as many bits as a weight
        config["padding_value"] = on_grid(value, bits - 1, file.net.input_types(layer)[0].scale).tolist()
    if layer.bias is not None:
        step = np.ldexp(accumulator.scale.astype(np.float64), -accumulator.frac_bits.astype(int))
        variables["bias"] = on_grid(layer.bias, BIAS_BITS - 1, step).astype(np.float32)
    averaged = isinstance(pool, GlobalAverage)
    own = out if layer.activation is None and not averaged else None
    quantizers["buffer_bitwidth"] = layer.accumulator_bits + 1
    file.add(layer, spelling.keras, "", (own, accumulator), quant_config=quantizers, **config)
    if isinstance(pool, MaxPool):
        file.add(layer, "QuantizedMaxPool2D", "/pool", **spellings.write_pool(f"{name}/pool", pool))
    if layer.activation is not None:
        _add_relu(file, layer, "/relu", layer.activation, None if averaged else out, accumulator)
    if averaged:
        _add_average(file, layer, "/average", file.before_requantize(layer))


@write.register
def _(layer: layers.Activation, file: _File) -> None:
    _add_relu(file, layer, "", layer.function, layer.requantize, *file.net.input_types(layer))


@write.register
def _(layer: layers.LookUp, file: _File) -> None:
    out, table = (layer.requantize, file.before_requantize(layer)), {"lut_bitwidth": layer.table_bits}
    file.add(layer, "QuantizedActivation", "", out, quant_config=table, activation=layer.function, alpha=0.2)


@write.register
def _(layer: layers.Add, file: _File) -> None:
    out = layer.requantize if layer.activation is None else None
    total = file.before_requantize(layer, activation=None)
    file.add(layer, "QuantizedAdd", "", (out, total, True), quant_config=BUFFER, average=layer.average)
    if layer.activation is not None:
        _add_relu(file, layer, "/relu", layer.activation, layer.requantize, total)


@write.register
def _(layer: layers.GlobalAveragePooling2D, file: _File) -> None:
    _add_average(file, layer, "", file.before_requantize(layer))


def _add_relu(file: _File, layer: Layer, step: str, relu: ReLU, out: Requantize | None, x: TensorType) -> None:
    """Append a rectifier of an accumulator ``x``."""
    bound = None
    if relu.max_value is not None:
        bound = shared_bound(relu.max_value, np.ldexp(x.scale.astype(np.float64), -x.frac_bits.astype(int)))
    file.add(layer, "QuantizedReLU", step, (out, x), quant_config=BUFFER, max_value=bound)


def _add_average(file: _File, layer: Any, step: str, total: TensorType) -> None:
    """Append a global average whose sums are of type ``total``, with the requantization of ``layer``."""
    kind, out = "QuantizedGlobalAveragePooling2D", (layer.requantize, total)
    file.add(layer, kind, step, out, quant_config=BUFFER, keepdims=False, **spellings.CHANNELS_LAST)


# -- floats that lead to given integers -----------------------------------------------------------------------------


def rescaling_rate(out: Requantize, x: TensorType) -> NDArray:
    """Return the factors that turn the scale of ``x`` into the requantization's multiplier, one or one a channel.

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
    """Return real numbers that the reference rounds to these integers, which it keeps in ``value_bits``, shifted.

    A power of two is the end of one range and the start of the next, so each is moved out by a quarter of its unit.
    """
    magnitudes = np.abs(integers).astype(np.int64)
    lengths = np.floor(np.log2(np.maximum(magnitudes, 1))).astype(int) + 1
    unit = np.exp2(np.maximum(lengths - value_bits, 0))
    return np.sign(integers) * (magnitudes + np.where(magnitudes > 0, 0.25 * unit, 0)) * step


def exact_weights(name: str, integers: NDArray, scale: NDArray, bits: int, per_filter: bool) -> NDArray[np.float32]:
    """Return float weights that the reference rounds to ``integers`` on a grid of exactly ``scale``.

    Its scale follows from the largest weight of a filter, so that weight must be the largest integer there is.

    Raises:
        SpicaError: naming the layer ``name``, where it is not.
    """
    high = (1 << (bits - 1)) - 1
    largest = np.abs(integers.astype(int)).max(axis=tuple(range(integers.ndim - 1)) if per_filter else None)
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
    step = np.asarray(top, np.float64) / high
    return np.where(np.abs(integers) == high, np.sign(integers) * top, integers * step).astype(np.float32)


def shared_bound(integers: NDArray, step: NDArray) -> float:
    """Return the one real bound behind every channel's integer: the shortest decimal that rounds to all of them."""
    lengths = np.floor(np.log2(np.maximum(integers, 1))).astype(int) + 1
    half = np.exp2(np.maximum(lengths - BIAS_BITS, 0)) / 2
    low, high = ((integers - half) * step).max(), ((integers + half) * step).min()
    middle = (low + high) / 2
    return next((v for digits in range(1, 9) if low < (v := float(f"{middle:.{digits}g}")) < high), middle)
