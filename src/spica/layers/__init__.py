"""Layers, one file a family: the record, its shape rule, and its float and integer semantics."""

from spica.layers.activation import Activation, Softmax
from spica.layers.add import Add
from spica.layers.attention import Attention, Gelu, LayerNormalization, MadNormalization, TokenEmbedding
from spica.layers.convolution import Conv2D
from spica.layers.dense import Dense
from spica.layers.depthwise import DepthwiseConv2D
from spica.layers.epilogue import GlobalAverage, MaxPool, ReLU, Requantize
from spica.layers.grouped import GroupedConv2D
from spica.layers.input import Input
from spica.layers.learning import LearningDense
from spica.layers.lookup import LookUp
from spica.layers.normalization import Scale, ZeroPad
from spica.layers.pooling import GlobalAveragePooling2D, MaxPool2D
from spica.layers.quantizer import Dequantize, Quantize, QuantizeLinear, Rescaling
from spica.layers.recurrent import DiagonalRecurrence, StatefulRecurrent
from spica.layers.separable import SeparableConv2D
from spica.layers.shape import Concatenate, Flatten, Permute, Reshape, Take
from spica.layers.temporal import BufferTempConv, DepthwiseBufferTempConv, Temporal
from spica.layers.transposed import ConvTranspose2D, DepthwiseConvTranspose2D
from spica.layers.weighted import WeightedLayer, kernel_channels
from spica.network.rules import not_applicable

DEPTHWISE = (DepthwiseConv2D, DepthwiseConvTranspose2D, DepthwiseBufferTempConv)
"""Layers whose filters each read one channel."""

WITHOUT_WEIGHTS = (
    Activation, Add, Attention, Concatenate, Dequantize, DiagonalRecurrence, Flatten, Gelu, GlobalAveragePooling2D,
    Input, LayerNormalization, LearningDense, LookUp, MaxPool2D, Permute, Quantize, QuantizeLinear, Rescaling, Reshape,
    Scale, Softmax, StatefulRecurrent, Take, TokenEmbedding, ZeroPad,
)  # fmt: skip
"""Layers without a kernel that training or quantisation could change."""

not_applicable(kernel_channels, "has no weights", *WITHOUT_WEIGHTS)

__all__ = [
    "DEPTHWISE",
    "WITHOUT_WEIGHTS",
    "Activation",
    "Add",
    "Attention",
    "BufferTempConv",
    "Concatenate",
    "Conv2D",
    "ConvTranspose2D",
    "Dense",
    "DepthwiseBufferTempConv",
    "DepthwiseConv2D",
    "DepthwiseConvTranspose2D",
    "Dequantize",
    "DiagonalRecurrence",
    "Flatten",
    "Gelu",
    "GlobalAverage",
    "GlobalAveragePooling2D",
    "GroupedConv2D",
    "Input",
    "LayerNormalization",
    "LearningDense",
    "LookUp",
    "MadNormalization",
    "MaxPool",
    "MaxPool2D",
    "Permute",
    "Quantize",
    "QuantizeLinear",
    "ReLU",
    "Requantize",
    "Rescaling",
    "Reshape",
    "Scale",
    "SeparableConv2D",
    "Softmax",
    "StatefulRecurrent",
    "Take",
    "Temporal",
    "TokenEmbedding",
    "WeightedLayer",
    "ZeroPad",
]
