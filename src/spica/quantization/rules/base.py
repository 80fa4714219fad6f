"""The transform that makes a float layer integer, and its rules for layers without arithmetic of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import singledispatch

from spica import layers
from spica.layers import WeightedLayer
from spica.network import Layer, Network, TensorType
from spica.network.layer import infer
from spica.network.rules import not_applicable, refuse
from spica.quantization import rounding
from spica.quantization.layerwise import LayerwiseCalibration


@singledispatch
def has_output_stage(layer: Layer, net: Network) -> bool:
    """Return whether the output of a layer is brought to the bits of activations; else it leaves as it is."""
    return False


@has_output_stage.register
def _(layer: WeightedLayer, net: Network) -> bool:
    return not all(_takes_accumulators(reader, net) for reader in net.consumers[layer.name])


@has_output_stage.register
def _(layer: layers.Add | layers.Multiply | layers.Activation | layers.GlobalAveragePooling2D, net: Network) -> bool:
    return bool(net.consumers[layer.name])


@has_output_stage.register
def _(layer: layers.TokenEmbedding | layers.LayerNormalization | layers.Attention, net: Network) -> bool:
    return True


@singledispatch
def _takes_accumulators(reader: Layer, net: Network) -> bool:
    """Return whether a layer reads accumulators as they are: a recurrence, directly or in another shape."""
    return False


@_takes_accumulators.register
def _(reader: layers.DiagonalRecurrence, net: Network) -> bool:
    return True


@_takes_accumulators.register
def _(reader: layers.Reshape, net: Network) -> bool:
    return all(_takes_accumulators(other, net) for other in net.consumers[reader.name])


@dataclass(frozen=True)
class LayerContext:
    """Facts that a rule may use when it quantises a layer.

    Attributes:
        inputs: types of the integers that the layer reads.
        target: type of the integers that it gives; ``None`` where the accumulator leaves unrounded.
        weight_bits: bits of its weights, if it has any.
        calibration: what both networks, float and integer, give up to this layer.
    """

    inputs: Sequence[TensorType]
    target: TensorType | None
    weight_bits: int
    calibration: LayerwiseCalibration


@singledispatch
def quantize_layer(layer: Layer, context: LayerContext) -> list[Layer]:
    """Return the integer form of a float layer; of several layers, the last has its name."""
    refuse(quantize_layer, layer)


_HOST = "spica.split(net, device, samples) quantises what is before it and leaves the rest to the host"

not_applicable(
    quantize_layer, f"in this place has no integer meaning; it must be the last layer, or {_HOST}", layers.Softmax
)
not_applicable(
    quantize_layer, f"stays on the host, in real numbers; {_HOST}", layers.GatedRecurrence, layers.MatrixProduct
)
not_applicable(
    quantize_layer,
    f"in this place has no integer meaning; put it next to a convolution or dense layer, which takes it up, or {_HOST}",
    layers.Scale,
    layers.ZeroPad,
)
not_applicable(quantize_layer, "is given its format by the samples", layers.Input)
not_applicable(quantize_layer, "is a layer of integer networks only",
    layers.Dequantize, layers.LearningDense, layers.LookUp, layers.MadNormalization, layers.Quantize,
    layers.QuantizeLinear, layers.StatefulRecurrent,
)  # fmt: skip


@quantize_layer.register
def _(layer: layers.Moves | layers.MaxPool2D | layers.Rescaling, context: LayerContext) -> list[Layer]:
    return [layer]


@quantize_layer.register
def _(
    layer: layers.Add | layers.Multiply | layers.GlobalAveragePooling2D | layers.Activation, context: LayerContext
) -> list[Layer]:
    plain, target = infer(layer, context.inputs), context.target
    field = "function" if hasattr(layer, "function") else "activation"
    changes: dict = {}
    if (relu := getattr(layer, field, None)) is not None:
        changes[field] = rounding.quantize_relu(relu, rounding.step_of(plain), target)
    return [replace(layer, requantize=rounding.output_stage(plain.scale, plain.frac_bits, target), **changes)]
