"""Post-training quantisation: a float network and some samples in, an integer network out.

The network goes once through the stages below, each a module of this package: preparation, calibration, equalisation,
scale alignment; then, layer by layer, rounding by the layer's rule, and bias correction.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spica.engine.inputs import check_frames
from spica.errors import SpicaError
from spica.layers import Conv2D, Dequantize, Input, Scale, WeightedLayer
from spica.layers.weighted import kernel_channels
from spica.network import Layer, Network, TensorType
from spica.network.graph import check_network
from spica.network.layer import infer
from spica.network.rules import applies, refusal
from spica.passes import prepare
from spica.quantization import rounding
from spica.quantization.bias_correction import correct_bias
from spica.quantization.calibration import calibrate
from spica.quantization.config import Bits, QuantizationConfig
from spica.quantization.layerwise import LayerwiseCalibration
from spica.quantization.rules import LayerContext, quantize_layer
from spica.quantization.scaling import align_scales, equalize
from spica.util.progress import progress as show

SAMPLES_AS_THEY_ARE = (np.uint8, np.int8, np.int16)


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
    breaks is repaired without labels; each repair is kept for the filters that it helps on samples held back, and can
    be turned off.

    Args:
        net: a float network with one input.
        samples: a few hundred typical inputs ``(N, H, W, C)`` or ``(N, C)``, as the float network reads them. Samples
            of type uint8, int8 or int16 (sound, say) are what the integer network will read; real ones are given an
            8-bit scale (``spica.to_input_integers`` applies it). For a network with memory: frames in order, or clips
            ``(S, T, ...)``.
        weights: bits of the weights, 1, 2, 4 or 8; or bits by layer name, with "*" for those that are not named (8
            without it).
        activations: bits of the activations between layers, 1, 2, 4 or 8, or bits by layer name in the same way. Below
            eight they are unsigned. A layer that only moves values names what it moves.
        first_layer_weights: bits of the weights that read the input, where these are not named.
        per_channel_activations: whether each channel has a step of its own (second generation only).
        ranges: how ranges are chosen from the samples: "mse", "max", "percentile", "average" or "entropy".
        equalization: whether channels of one tensor are scaled towards equal ranges, and the next weights back.
        reconstruction: whether weights are rounded so that a layer's sums, not each weight, change least.
        bias_correction: whether to take the mean error that rounding causes out of each bias.
        progress: whether to show progress bars; by default only in a terminal.

    Returns:
        An integer network; its last tensor is de-quantised to float32.

    Raises:
        SpicaError: where an option or a sample is bad, or a layer has no integer semantics.
    """
    check_network(net)
    config = QuantizationConfig(
        weights, activations, first_layer_weights, per_channel_activations,
        ranges, equalization, reconstruction, bias_correction,
    )  # fmt: skip
    return _run_stages(net, samples, config, progress)


def _run_stages(net: Network, samples: ArrayLike, config: QuantizationConfig, progress: bool | None) -> Network:
    """Return the integer network that every stage has worked on."""
    original, net = net, prepare(net)
    _check(original, net, config)
    source = net.inputs[0]
    real = check_frames(net, net.types[source.name], samples)
    integer_source = _quantize_input(source, samples, real, _borders(net, source.name))
    _warn_of_divided_samples(original, real)
    ranges = calibrate(net, real, config, progress)
    if config.equalization and not config.per_channel_activations:
        net, gains = equalize(net, ranges.reach())
        ranges = ranges.equalized(gains)
    net, steps = align_scales(net, ranges.steps())
    targets = {n: replace(ranges.formats[n], frac_bits=-np.log2(s).astype(np.int64)) for n, s in steps.items()}
    return _quantize_layers(net, integer_source, targets, real, config, progress)


def _quantize_layers(
    net: Network,
    source: Input,
    targets: dict[str, TensorType],
    real: NDArray[np.float32],
    config: QuantizationConfig,
    progress: bool | None,
) -> Network:
    """Return the integer network of an aligned float one, each layer made in view of what those before it give.

    ``source`` is the integer input, ``targets`` are the types of what is brought to the bits of activations.
    """
    types = {source.name: infer(source, [])}
    calibration = LayerwiseCalibration(
        net, real, types[source.name].from_float(real),
        reconstruction=config.reconstruction, bias_correction=config.bias_correction,
    )  # fmt: skip
    quantized: list[Layer] = [source]
    for layer in show(net.layers[1:], "quantising", progress):
        inputs = [types[i] for i in layer.inputs]
        context = LayerContext(inputs, targets.get(layer.name), config.weight_bits(layer, source.name), calibration)
        made = quantize_layer(layer, context)
        if config.bias_correction and applies(kernel_channels, layer):
            made = [correct_bias(layer, made[0], context)]
        if isinstance(made[0], WeightedLayer):
            _warn_of_bias(made[0], context)
        for part in made:
            types[part.name] = infer(part, [types[i] for i in part.inputs])
        calibration.advance(layer, [(part, [types[i] for i in part.inputs]) for part in made])
        quantized += made
    ends = [Dequantize(name=f"{name}/dequantize", inputs=(name,)) for name in net.outputs]
    return net.with_layers([*quantized, *ends], (end.name for end in ends))


def _warn_of_divided_samples(net: Network, real: NDArray[np.float32]) -> None:
    """Warn where a network divides its samples by 255 or so, and they look as if that had been done already."""
    first = [layer for layer in net if layer.inputs[:1] == (net.inputs[0].name,)]
    factors = [float(np.abs(layer.scale).max()) for layer in first if isinstance(layer, Scale)]
    if factors and max(factors) < 1 / 100 and np.abs(real).max() <= 1:
        warnings.warn(
            f"{first[0].name}: the network multiplies its samples by {max(factors):.2g}, but none is above "
            f"{np.abs(real).max():.2g}: give them as the network reads them, before any division",
            stacklevel=4,
        )


def _warn_of_bias(layer: WeightedLayer, context: LayerContext) -> None:
    """Warn where rounding the bias may move the output by more than two of its steps."""
    if layer.bias is None or context.target is None:
        return
    plain = replace(layer, pool=None, activation=None, requantize=None, bias=None)
    error = rounding.bias_error(layer.bias) * rounding.step_of(infer(plain, context.inputs))
    if (worst := float(np.max(error / rounding.step_of(context.target)))) > 2:
        warnings.warn(
            f"{layer.name}: its bias is so large that rounding it to 8 bits may move the output by {worst:.3g} steps; "
            "take the offset off the samples (x - mean), and out of the network, before quantising",
            stacklevel=5,
        )


def _check(original: Network, net: Network, config: QuantizationConfig) -> None:
    """Check that a network, as it was and as prepared, can be quantised as wished."""
    if original.is_integer:
        raise SpicaError(f"{original.name}: is already quantised; quantise the float network it came from")
    if len(net.inputs) != 1:
        raise SpicaError(f"{net.name}: has {len(net.inputs)} inputs; quantisation takes networks with one")
    config.check_names(net)
    for layer in net.layers[1:]:
        if reason := refusal(quantize_layer, type(layer)):
            raise SpicaError(f"{layer.name}: {reason}")


def _borders(net: Network, name: str) -> NDArray[np.float32]:
    """Return the values other than zero with which layers pad a tensor."""
    borders = [r.padding_value for r in net.consumers[name] if isinstance(r, Conv2D) and r.padding_value is not None]
    return np.concatenate([np.zeros(1, np.float32), *(np.ravel(border) for border in borders)])


def _quantize_input(layer: Any, samples: ArrayLike, real: NDArray[np.float32], borders: NDArray[np.float32]) -> Input:
    """Return the integer input that holds the samples' range and borders; integer samples are taken as they are."""
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
                stacklevel=4,
            )
        return replace(layer, bits=kind.bits, signed=kind.min < 0)
    signed = bool(min(real.min(), borders.min()) < 0)
    largest = float(max(np.abs(real).max(), np.abs(borders).max())) or 1.0
    return replace(layer, bits=8, signed=signed, scale=np.array(largest / (127 if signed else 255), np.float32))
