"""Layers, one file a family: the record, its shape rule, and its float and integer semantics."""

from spica.layers.activation import Activation, LookUp, Softmax, TableActivation
from spica.layers.add import Add
from spica.layers.attention import Attention, LayerNormalization, MadNormalization, TokenEmbedding
from spica.layers.convolution import Conv2D, DepthwiseConv2D, SeparableConv2D
from spica.layers.dense import Dense
from spica.layers.epilogue import GlobalAverage, MaxPool, ReLU, Requantize
from spica.layers.grouped import GroupedConv2D
from spica.layers.host import GatedRecurrence, HostLayer, MatrixProduct
from spica.layers.input import Input
from spica.layers.learning import LearningDense
from spica.layers.normalization import Scale, ZeroPad
from spica.layers.pooling import GlobalAveragePooling2D, MaxPool2D
from spica.layers.product import Multiply
from spica.layers.quantizer import Dequantize, Quantize, QuantizeLinear, Rescaling
from spica.layers.recurrent import DiagonalRecurrence, StatefulRecurrent
from spica.layers.shape import Concatenate, Flatten, Gather, Moves, Permute, Reshape, Take
from spica.layers.temporal import BufferTempConv, DepthwiseBufferTempConv, Temporal
from spica.layers.transposed import ConvTranspose2D, DepthwiseConvTranspose2D, Transposed
from spica.layers.weighted import WeightedLayer, kernel_channels
from spica.network.layer import RECORDS, Layer
from spica.network.rules import not_applicable

WITHOUT_WEIGHTS = tuple(
    kind for kind in RECORDS.values() if issubclass(kind, Layer) and not issubclass(kind, WeightedLayer)
)
"""Layers without a kernel that training or quantisation could change."""

not_applicable(kernel_channels, "has no weights", *WITHOUT_WEIGHTS)

DEPTHWISE = (DepthwiseConv2D, DepthwiseConvTranspose2D, DepthwiseBufferTempConv)
"""The classes that ``weighted.is_depthwise`` is true of: a public name of version 0.1, kept until version 0.3."""

__all__ = [
    "DEPTHWISE", "WITHOUT_WEIGHTS", "Activation", "Add", "Attention", "BufferTempConv", "Concatenate", "Conv2D",
    "ConvTranspose2D", "Dense", "DepthwiseBufferTempConv", "DepthwiseConv2D", "DepthwiseConvTranspose2D",
    "Dequantize", "DiagonalRecurrence", "Flatten", "GatedRecurrence", "Gather", "GlobalAverage",
    "GlobalAveragePooling2D", "GroupedConv2D", "HostLayer", "Input", "LayerNormalization", "LearningDense",
    "LookUp", "MadNormalization", "MatrixProduct", "MaxPool", "MaxPool2D", "Moves", "Multiply", "Permute", "Quantize",
    "QuantizeLinear", "ReLU", "Requantize", "Rescaling", "Reshape", "Scale", "SeparableConv2D", "Softmax",
    "StatefulRecurrent", "TableActivation", "Take", "Temporal", "TokenEmbedding", "Transposed", "WeightedLayer",
    "ZeroPad",
]  # fmt: skip
