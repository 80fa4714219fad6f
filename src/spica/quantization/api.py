"""Post-training quantisation: a float network and some samples in, an integer network out."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.inputs import check_frames
from spica.errors import SpicaError
from spica.layers import (
    Activation,
    Add,
    Attention,
    Conv2D,
    Dequantize,
    DiagonalRecurrence,
    Gelu,
    GlobalAverage,
    GlobalAveragePooling2D,
    Input,
    LayerNormalization,
    Requantize,
    Reshape,
    Scale,
    SeparableConv2D,
    Softmax,
    StatefulRecurrent,
    Take,
    TokenEmbedding,
    WeightedLayer,
    ZeroPad,
)
from spica.layers.recurrent import BUFFER_BITS
from spica.layers.weighted import WEIGHT_RANGE
from spica.network import Layer, Network, TensorType
from spica.network.graph import check_network
from spica.network.layer import infer
from spica.passes import prepare
from spica.quantization import rounding
from spica.quantization.calibration import calibrate
from spica.quantization.equalize import equalize
from spica.quantization.gptq import round_weights
from spica.quantization.layerwise import Rehearsal
from spica.quantization.observers import METHODS
from spica.quantization.scale_alignment import align_ranges
from spica.quantization.transformer import quantize_attention, quantize_embedding, quantize_gelu, quantize_normalization
from spica.util.progress import progress as show

Transformer = TokenEmbedding | LayerNormalization | Attention
WEIGHT_BITS = (1, 2, 4, 8)
ACTIVATION_BITS = (1, 2, 4, 8)
LINEAR_BITS = 8
"""Width of activations that no rectifier makes positive; four signed bits would leave them three of magnitude."""

SAMPLES_AS_THEY_ARE = (np.uint8, np.int8, np.int16)

Bits = int | Mapping[str, int]


def quantize(
    net: Network,
    samples: ArrayLike,
    *,
    weights: Bits = 8,
    activations: Bits = 8,
    first_layer_weights: int = 8,
    per_channel_activations: bool = False,
    ranges: str = "mse",
    equalization: bool = True,
    reconstruction: bool = True,
    bias_correction: bool = True,
    progress: bool | None = None,
) -> Network:
    """Quantise a float network after training.

    The network is first prepared (``spica.passes``): batch normalisation folded, pooling and activations fused, a
    softmax at the end dropped. Weights get one step for each filter, activations a power-of-two step. What rounding
    breaks is repaired without labels; each repair can be turned off.

    Args:
        net: a float network with one input.
        samples: a few hundred typical inputs ``(N, H, W, C)`` or ``(N, C)``, as the float network reads them. Samples
            of type uint8, int8 or int16 (sound, say) are what the integer network will read; real ones are given an
            8-bit scale (``spica.to_input_integers`` applies it). For a network with memory: frames in order, or clips
            ``(S, T, ...)``.
        weights: bits of the weights, 1, 2, 4 or 8; or bits by layer name, 8 where a layer is not named.
        activations: bits of the activations between layers, 1, 2, 4 or 8, or bits by layer name. Below eight they are
            unsigned.
        first_layer_weights: bits of the weights that read the input, where ``weights`` is one number.
        per_channel_activations: whether each channel has a step of its own (second generation only).
        ranges: how ranges are chosen from the samples: "mse", "max", "percentile", "average" or "entropy".
        equalization: whether channels of one tensor are scaled towards equal ranges, and the next weights back.
        reconstruction: whether weights are rounded so that a layer's sums, not each weight, change least.
        bias_correction: whether to take the mean error that rounding causes out of each bias.
        progress: whether to show progress bars; by default only in a terminal.

    Returns:
        An integer network; its last tensor is de-quantised to float32.

    Raises:
        SpicaError: where an option or a sample is bad, or a layer has no integer meaning.
    """
    check_network(net)
    original, net = net, prepare(net)
    _check_options(original, net, weights, activations, first_layer_weights, ranges)
    _check_layers(net)
    source = net.inputs[0]
    real = check_frames(net, net.types[source.name], samples)
    reader = _input(source, samples, real)
    formats = _formats(net, activations)
    alike = "tensor" if not equalization else "equalized tensor"
    net, steps = _fit_ranges(net, real, formats, "channel" if per_channel_activations else alike, ranges, progress)
    rehearsal = None
    watched = any(isinstance(layer, DiagonalRecurrence | LayerNormalization) for layer in net)
    if reconstruction or bias_correction or watched:
        rehearsal = Rehearsal(net, source.name, real, infer(reader, []).from_float(real))

    types: dict[str, TensorType] = {source.name: infer(reader, [])}
    layers: list[Layer] = [reader]
    for twin in show(net.layers[1:], "quantising", progress):
        layer, inputs, target = twin, [types[i] for i in twin.inputs], None
        before: list[Layer] = []
        if twin.name in steps:
            frac_bits = -np.log2(steps[twin.name]).astype(np.int64)
            format = formats[twin.name]
            target = TensorType(net.types[twin.name].shape, format.bits, format.signed, frac_bits)
        if isinstance(twin, WeightedLayer):
            if isinstance(weights, Mapping):
                width = weights.get(twin.name, 8)
            else:
                width = first_layer_weights if twin.inputs[0] == source.name else weights
            moments = rehearsal.moments(twin, inputs[0]) if rehearsal and reconstruction else None
            layer = quantize_neural(twin, inputs[0], width, target, moments)
            if rehearsal and bias_correction:
                layer = rehearsal.corrected(layer, twin, inputs, target)
        elif isinstance(twin, Add | Activation | GlobalAveragePooling2D):
            layer = _quantize_join(twin, inputs, target)
        elif isinstance(twin, TokenEmbedding) and target is not None:
            layer = quantize_embedding(twin, inputs[0], target)
        elif isinstance(twin, LayerNormalization) and target is not None:
            assert rehearsal is not None
            layer = quantize_normalization(twin, inputs[0], target, rehearsal.floats[twin.inputs[0]])
        elif isinstance(twin, Attention) and target is not None:
            layer = quantize_attention(twin, inputs, target)
        elif isinstance(twin, Gelu):
            layer = quantize_gelu(twin, inputs[0])
        elif isinstance(twin, DiagonalRecurrence):
            assert rehearsal is not None
            state = quantize_recurrence(twin, inputs[0], rehearsal.largest_state(twin))
            before = [state]
            layer = Take(name=twin.name, inputs=(state.name,), axis=2, start=0, stop=1, keep_axis=False)
        for made in (*before, layer):
            layers.append(made)
            types[made.name] = infer(made, [types[i] for i in made.inputs])
        if rehearsal:
            rehearsal.advance([*before, layer], twin, types)
    outputs = []
    for name in net.outputs:
        layers.append(Dequantize(name=f"{name}/dequantize", inputs=(name,)))
        outputs.append(layers[-1].name)
    return Network(tuple(layers), tuple(outputs), net.name)


@dataclass(frozen=True)
class _Format:
    """Integers of a tensor between layers."""

    bits: int
    signed: bool

    @property
    def largest(self) -> int:
        return (1 << (self.bits - self.signed)) - 1


def _formats(net: Network, activations: Bits) -> dict[str, _Format]:
    """The format of every tensor that leaves an output stage."""
    formats = {}
    for layer in net:
        if _has_output_stage(net, layer):
            bits = activations if isinstance(activations, int) else activations.get(layer.name, 8)
            bits = bits if _is_rectified(layer) else max(bits, LINEAR_BITS)
            formats[layer.name] = _Format(bits, bits >= 8 or not _is_rectified(layer))
    return formats


def _fit_ranges(
    net: Network, real: NDArray[np.float32], formats: dict[str, _Format], each: str, ranges: str, progress: bool | None
) -> tuple[Network, dict[str, NDArray]]:
    """An equal network whose tensors fill power-of-two grids, and the steps of these.

    Args:
        net: a float network after the rewriting passes.
        real: samples that it reads.
        formats: of the tensors.
        each: what has a step of its own: a "tensor", an "equalized tensor", or each "channel" of an image.
        ranges: see ``quantize``.
        progress: whether to show a progress bar.
    """
    images = {name for name in formats if len(net.types[name].shape) == 3 and each != "tensor"}
    seen = calibrate(net, real, formats, images.__contains__, progress)
    if each == "equalized tensor":
        reach = {name: seen[name].step(formats[name].largest, ranges) * formats[name].largest for name in images}
        net, gains = equalize(net, reach)
        seen |= {name: seen[name].scaled(gain) for name, gain in gains.items()}
        seen |= {name: seen[name].merged() for name in images}
    steps = {name: histogram.step(formats[name].largest, ranges) for name, histogram in seen.items()}
    return align_ranges(net, {n: s if each == "channel" and n in images else s[0] for n, s in steps.items()})


def _check_options(original: Network, net: Network, weights: Bits, activations: Bits, first: int, ranges: str) -> None:
    if original.is_integer:
        raise SpicaError(f"{original.name}: is already quantised; quantise the float network it came from")
    if len(net.inputs) != 1:
        raise SpicaError(f"{net.name}: has {len(net.inputs)} inputs; quantisation takes networks with one")
    for option, values, allowed in (
        ("weights", weights, WEIGHT_BITS),
        ("first_layer_weights", first, WEIGHT_BITS),
        ("activations", activations, ACTIVATION_BITS),
    ):
        named = values if isinstance(values, Mapping) else {"": values}
        for name, value in named.items():
            if value not in allowed:
                where = f"{option}[{name!r}]" if name else option
                raise SpicaError(f"{where}={value!r}: choose from {', '.join(map(str, allowed))} bits")
            if name and name not in net.types:
                known = ", ".join(layer.name for layer in net if isinstance(layer, WeightedLayer))
                raise SpicaError(f"{option}: {net.name} has no layer {name!r} once prepared; it has {known}")
    if ranges not in METHODS:
        raise SpicaError(f"ranges={ranges!r}: choose {', '.join(map(repr, METHODS))}")


def _check_layers(net: Network) -> None:
    """Refuse what the passes could neither fold nor drop."""
    for layer in net:
        if isinstance(layer, Softmax | Scale | ZeroPad):
            kind = type(layer).__name__
            raise SpicaError(
                f"{layer.name}: a {kind} in this place has no integer meaning; a softmax must come last, "
                "a scale or zero padding next to a convolution or dense layer"
            )


def _input(layer: Layer, samples: ArrayLike, real: NDArray[np.float32]) -> Input:
    """The integer input that holds the samples' range; integer samples are taken as they are."""
    assert isinstance(layer, Input)
    dtype = np.asarray(samples).dtype
    if dtype in SAMPLES_AS_THEY_ARE:
        kind = np.iinfo(dtype)
        reach = int(np.abs(real).max())
        unused = kind.max.bit_length() - reach.bit_length()
        if unused > 1:
            warnings.warn(
                f"{layer.name}: the samples reach only {reach} of {kind.max:,}, so {unused} of the input's {kind.bits} "
                "bits are idle; give samples.astype('float32') for a scale that uses them all "
                "(spica.to_input_integers applies it)",
                stacklevel=3,
            )
        return replace(layer, bits=kind.bits, signed=kind.min < 0)
    signed = bool(real.min() < 0)
    largest = float(np.abs(real).max()) or 1.0
    return replace(layer, bits=8, signed=signed, scale=np.array(largest / (127 if signed else 255), np.float32))


def _has_output_stage(net: Network, layer: Layer) -> bool:
    """Whether a layer's accumulator must be brought down to activation bits: all but those only the caller reads."""
    readers = net.consumers[layer.name]
    if isinstance(layer, WeightedLayer) and all(_takes_accumulators(net, reader) for reader in readers):
        return False
    if isinstance(layer, Transformer):
        return True
    return isinstance(layer, WeightedLayer | Add | Activation | GlobalAveragePooling2D) and bool(readers)


def _takes_accumulators(net: Network, reader: Layer) -> bool:
    """Whether it is a recurrence, which takes accumulators up as they are, or only gives them one another shape."""
    if isinstance(reader, Reshape):
        return all(_takes_accumulators(net, other) for other in net.consumers[reader.name])
    return isinstance(reader, DiagonalRecurrence)


def _is_rectified(layer: Layer) -> bool:
    return isinstance(layer, Activation) or getattr(layer, "activation", None) is not None


def quantize_neural(
    layer: WeightedLayer,
    x: TensorType,
    bits: int,
    target: TensorType | None,
    moments: NDArray[np.float64] | None = None,
) -> WeightedLayer:
    """Integer form of a float layer.

    Args:
        layer: a float layer.
        x: type of its input.
        bits: width of its weights.
        target: type of its output; ``None`` leaves the accumulator unrounded.
        moments: second moments of what its weights read, to round them by; ``None`` rounds each to the nearest.
    """
    changes: dict = {"weight_bits": bits}
    outer = x.scale
    if isinstance(layer, SeparableConv2D):
        inner = rounding.weight_scale(layer.depthwise_kernel, bits, per_filter=False)
        changes["depthwise_kernel"] = rounding.quantize_weights(layer.depthwise_kernel, bits, inner)
        outer = x.scale * inner[0]
    kernel = layer.kernel  # type: ignore[attr-defined]
    average = 1
    if isinstance(layer.pool, GlobalAverage):
        height, width, _ = infer(replace(layer, pool=None), [TensorType(x.shape)]).shape
        average = height * width
    scale = rounding.weight_scale(kernel, bits)
    if target is not None:
        wide = rounding.multiplier_bits(scale * outer / average, x.frac_bits.max(), target)
        scale = rounding.representable(scale, outer / average, wide)
    if moments is None:
        changes["kernel"] = rounding.quantize_weights(kernel, bits, scale)
    else:
        changes["kernel"] = round_weights(kernel, scale, 0 if bits == 1 else WEIGHT_RANGE[bits][1], moments)
    scale = (scale * (outer / x.scale)).astype(np.float32)
    changes["weight_scale"] = scale
    if isinstance(layer, Conv2D) and layer.padding_value is not None:
        fill = np.rint(layer.padding_value / x.scale)
        if fill.min() < x.range[0] or fill.max() > x.range[1]:
            raise SpicaError(f"{layer.name}: pads with values that its input cannot hold; use 'valid' padding")
        changes["padding_value"] = fill.astype(np.int64)
    integer = replace(layer, **changes, bias=None, activation=None, pool=None)
    acc = infer(integer, [x])
    step = np.broadcast_to(np.ldexp(acc.scale.astype(np.float64), -acc.frac_bits), (acc.channels,))
    bias = None if layer.bias is None else rounding.quantize_bias(layer.bias, step)
    activation = None if layer.activation is None else rounding.quantize_relu(layer.activation, step, target)
    requantize = (
        None if target is None else rounding.output_stage(acc.scale / np.float32(average), acc.frac_bits, target)
    )
    return replace(integer, bias=bias, activation=activation, pool=layer.pool, requantize=requantize)


STATE_BITS = 16
FACTOR_BITS = 15
"""Value bits of the factors of a recurrence, all of them behind the point, as their magnitude is below 1."""

MOST_STATE_FRACTION = 60
STATE_MARGIN = 1.25
"""How much further than in the samples its states may go."""


def quantize_recurrence(layer: DiagonalRecurrence, x: TensorType, largest: float) -> StatefulRecurrent:
    """Integer form of a recurrence whose states reach ``largest``; it reads accumulators of type ``x``."""
    limit = (1 << FACTOR_BITS) - 1
    real, imaginary = (
        np.clip(np.rint(np.ldexp(a.astype(np.float64), FACTOR_BITS)), -limit, limit).astype(np.int64)
        for a in (layer.a_real, layer.a_imag)
    )
    frac_bits = STATE_BITS - 1
    if largest > 0:
        fitting = np.log2(((1 << STATE_BITS - 1) - 1) / (largest * STATE_MARGIN))
        frac_bits = min(int(np.floor(fitting)), MOST_STATE_FRACTION)
    multiplier, exponent = rounding.quantize_scale(x.scale)
    return StatefulRecurrent(
        name=f"{layer.name}/state",
        inputs=layer.inputs,
        a_real=real,
        a_imag=imaginary,
        a_frac_bits=(FACTOR_BITS, FACTOR_BITS),
        requantize=Requantize(
            multiplier=np.ones((), np.int64), shift=np.array(FACTOR_BITS), bits=STATE_BITS, signed=True,
            frac_bits=np.array(frac_bits),
        ),
        input_multiplier=np.asarray(multiplier, np.int64),
        input_shift=np.asarray(x.frac_bits + exponent - (frac_bits + FACTOR_BITS), np.int64),
        input_bits=BUFFER_BITS,
    )  # fmt: skip


def _quantize_join(
    layer: Add | Activation | GlobalAveragePooling2D, inputs: list[TensorType], target: TensorType | None
) -> Layer:
    """Integer form of a layer without weights."""
    plain = infer(layer, inputs)
    name = "function" if isinstance(layer, Activation) else "activation"
    changes: dict = {}
    if (relu := getattr(layer, name, None)) is not None:
        changes[name] = rounding.quantize_relu(relu, np.ldexp(plain.scale.astype(np.float64), -plain.frac_bits), target)
    if target is not None:
        changes["requantize"] = rounding.output_stage(plain.scale, plain.frac_bits, target)
    return replace(layer, **changes)
